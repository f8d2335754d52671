"""What is counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields
from typing import Any, Literal

from askonce.entries.entry import Hit


@dataclass(frozen=True, slots=True)
class SemanticStats:
    """What became of questions that were compared by their meaning, in all processes that share the store.

    Attributes:
        requests: questions that were compared.
        hits: those answered with the answer to another question.
        audits: those that could have been, and were sent to the model to learn how often that would be wrong.
        unjudged: audits without a verdict so far. Until it comes, each counts as a wrong answer in the bound: a
            judge that often cannot tell closes the cache.
        judged: answers that a judge, or the application, compared.
        wrong_found: audits that would have been wrong.
        told_wrong: hits that the application called wrong.
        estimated_error: the estimated share of ``requests`` answered wrongly.
        error_low: the lower end of its interval.
        error_high: its upper end. It holds at all moments at once with the confidence asked for.
        certified_error: what the share is at most, at all moments at once, with that confidence.
        max_error: the share that was asked for.
        questions: how many are known to this process; ``None`` if the server searches.
        aliases: how many this process found to have the answer of another one.
        saved_bytes: what this process did not keep twice.
        not_judged: fresh answers of this process that came too fast for the judge.
        judge_calls: how often this process's judge asked a model.
        judge_usd: what that cost, as far as prices are known.
    """

    requests: int
    hits: int
    audits: int
    unjudged: int
    judged: int
    wrong_found: int
    told_wrong: int
    estimated_error: float
    error_low: float
    error_high: float
    certified_error: float
    max_error: float
    questions: int | None = None
    aliases: int = 0
    saved_bytes: int = 0
    not_judged: int = 0
    judge_calls: int = 0
    judge_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What a cache did in this process since it was made, and what its namespace holds now.

    Attributes:
        hits: requests answered without the model, stale and coalesced ones included.
        misses: requests that went to the model.
        coalesced: hits that waited for an identical request under way.
        stale: hits past their time to live.
        semantic_hits: hits that answer another question which means the same.
        bypassed: requests that asked for no cache, or could not be named.
        stored: answers kept.
        not_stored: answers not kept, by rule (empty, truncated) or because they cannot be kept.
        corrupt: kept answers that could not be read, and were dropped.
        errors: calls to the store that failed.
        evicted: entries that this process's answers pushed out, and answers that were not worth it.
        saved_seconds: what the hits would have taken.
        saved_input_tokens: what the hits would have sent.
        saved_output_tokens: what the hits would have received.
        saved_usd: what the hits would have cost, as far as prices are known.
        spent_seconds: what the kept answers took.
        spent_usd: what the kept answers cost, as far as prices are known.
        entries: how many entries the namespace holds; ``None`` when the store does not say.
        size_bytes: the bytes of their values.
        store: ``up``, or ``down`` while the store is left alone after failures.
        semantic: what was learned of questions that mean the same; ``None`` if they are not compared.
    """

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    stale: int = 0
    semantic_hits: int = 0
    bypassed: int = 0
    stored: int = 0
    not_stored: int = 0
    corrupt: int = 0
    errors: int = 0
    evicted: int = 0
    saved_seconds: float = 0.0
    saved_input_tokens: int = 0
    saved_output_tokens: int = 0
    saved_usd: float = 0.0
    spent_seconds: float = 0.0
    spent_usd: float = 0.0
    entries: int | None = None
    size_bytes: int | None = None
    store: Literal["up", "down"] = "up"
    semantic: SemanticStats | None = None

    @property
    def saved_tokens(self) -> int:
        """Input and output tokens together."""
        return self.saved_input_tokens + self.saved_output_tokens

    @property
    def hit_rate(self) -> float:
        """Hits over hits and misses; 0 before the first request."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


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


class Counters:
    """The growing part of `Stats`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {field.name: field.default for field in fields(Stats)}

    def add(self, **amounts: float) -> None:
        """Add to counters, by their names in `Stats`."""
        with self._lock:
            for name, amount in amounts.items():
                self._values[name] += amount

    def hit(self, hit: Hit) -> None:
        """Count a hit and what it saved."""
        entry = hit.entry
        with self._lock:
            values = self._values
            values["hits"] += 1
            values["saved_seconds"] += entry.cost_seconds
            values["saved_input_tokens"] += entry.usage.input_tokens
            values["saved_output_tokens"] += entry.usage.output_tokens
            values["saved_usd"] += entry.cost_usd or 0.0
            if hit.kind != "exact":
                values["semantic_hits" if hit.kind == "semantic" else hit.kind] += 1

    def snapshot(self) -> dict[str, Any]:
        """All counters now."""
        with self._lock:
            return dict(self._values)
