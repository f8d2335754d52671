"""What a multiplexer did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoutingStats:
    """What was asked, paid and saved: of this process, and where a strategy learns, of all that share the store.

    Attributes:
        requests: answered requests.
        calls: how often each model was asked, by its name.
        answers: how many of its answers were given to the caller.
        failures: how often it raised.
        escalated: requests for which a cheap answer was paid for and not used: rejected, or failed.
        audits: cheap answers that the judge compared with the last model's.
        spent_usd: what all calls cost. Of a model whose price is unknown, a second counts as 0.001 dollars.
        always_last_usd: what the last model alone would have cost, by what its calls cost.
        quality: the estimated share of requests whose answer passes; ``None`` where nothing tells.
        quality_at_least: the share that is sure: with a judge, with the strategy's confidence at all times at once.
        store: ``up``, or ``down`` while what is learned cannot be shared; ``None`` where nothing is.
    """

    requests: int
    calls: dict[str, int]
    answers: dict[str, int]
    failures: dict[str, int]
    escalated: int
    audits: int
    spent_usd: float
    always_last_usd: float
    quality: float | None
    quality_at_least: float | None
    store: str | None = None

    @property
    def saved_usd(self) -> float:
        """What was saved against asking the last model always."""
        return self.always_last_usd - self.spent_usd
