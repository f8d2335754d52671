"""What is counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields
from typing import Literal

from askonce.entry import Hit


@dataclass(frozen=True, slots=True)
class Stats:
    """What a cache did in this process since it was made, and what its namespace holds now.

    Attributes:
        hits: requests answered without the model, stale and coalesced ones included.
        misses: requests that went to the model.
        coalesced: hits that waited for an identical request under way.
        stale: hits past their time to live.
        bypassed: requests that asked for no cache, or could not be named.
        stored: answers kept.
        not_stored: answers not kept, by rule (empty, truncated) or because they cannot be kept.
        corrupt: kept answers that could not be read, and were dropped.
        errors: calls to the store that failed.
        evicted: entries that this process's answers pushed out.
        saved_seconds: what the hits would have taken.
        saved_input_tokens: what the hits would have sent.
        saved_output_tokens: what the hits would have received.
        saved_usd: what the hits would have cost, as far as prices are known.
        spent_seconds: what the kept answers took.
        spent_usd: what the kept answers cost, as far as prices are known.
        entries: how many entries the namespace holds; ``None`` when the store does not say.
        size_bytes: the bytes of their values.
        store: ``up``, or ``down`` while the store is left alone after failures.
    """

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    stale: int = 0
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

    @property
    def saved_tokens(self) -> int:
        """Input and output tokens together."""
        return self.saved_input_tokens + self.saved_output_tokens

    @property
    def hit_rate(self) -> float:
        """Hits over hits and misses; 0 before the first request."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class Counters:
    """The growing part of `Stats`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, float] = {field.name: field.default for field in fields(Stats)}  # type: ignore[misc]

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
                values[hit.kind] += 1

    def snapshot(self) -> dict[str, float]:
        """All counters now."""
        with self._lock:
            return dict(self._values)
