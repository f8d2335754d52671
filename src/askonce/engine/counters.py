"""Events, counted by kind of request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from askonce.engine.events import CacheEvent
from askonce.entries.entry import RequestKind
from askonce.stats import Counts, SemanticStats, Stats

_NAMES = tuple(name for name in Counts.__struct_fields__ if name != "not_stored_reasons")


class Counters:
    """Counts events, by kind of request. Whoever calls it takes turns."""

    def __init__(self) -> None:
        self._kinds: dict[RequestKind, dict[str, Any]] = {}

    def count(self, events: Sequence[CacheEvent]) -> None:
        """Take in events."""
        for event in events:
            counts = self._kinds.get(event.kind)
            if counts is None:
                counts = self._kinds[event.kind] = {**dict.fromkeys(_NAMES, 0), "not_stored_reasons": Counter()}
            _count(counts, event)

    def stats(
        self,
        *,
        errors: int,
        not_awaited: int,
        max_wait: float,
        entries: int | None,
        size_bytes: int | None,
        store: Literal["up", "down"],
        semantic: SemanticStats | None,
    ) -> Stats:
        """The counts until now, with what is known beside them."""
        kinds = {
            kind: Counts(**{**counts, "not_stored_reasons": dict(counts["not_stored_reasons"])})
            for kind, counts in self._kinds.copy().items()
        }
        total: dict[str, Any] = {name: sum(getattr(one, name) for one in kinds.values()) for name in _NAMES}
        reasons = sum((Counter(one.not_stored_reasons) for one in kinds.values()), Counter())
        total["not_stored_reasons"] = dict(reasons)
        return Stats(
            **total,
            kinds=kinds,
            errors=errors,
            not_awaited=not_awaited,
            max_wait=max_wait,
            entries=entries,
            size_bytes=size_bytes,
            store=store,
            semantic=semantic,
        )


def _count(counts: dict[str, Any], event: CacheEvent) -> None:
    entry = event.entry
    if event.type == "hit" and entry is not None:
        counts["hits"] += 1
        counts["misses"] -= event.instead_of_miss
        counts["saved_seconds"] += entry.cost_seconds
        counts["saved_input_tokens"] += entry.usage.input_tokens
        counts["saved_output_tokens"] += entry.usage.output_tokens
        counts["saved_usd"] += entry.cost_usd or 0.0
        if event.reason in ("coalesced", "stale"):
            counts[event.reason] += 1
        counts["semantic_hits"] += event.reason == "semantic"
    elif event.type == "miss":
        counts["misses"] += 1
        counts["corrupt"] += event.reason == "corrupt"
    elif event.type == "bypassed":
        counts["bypassed"] += 1
    elif event.type == "audited":
        counts["audited"] += 1
        counts["audited_wrong"] += event.reason == "different"
    elif event.type == "stored" and entry is not None:
        counts["stored"] += 1
        counts["evicted"] += event.evicted
        counts["spent_seconds"] += entry.cost_seconds
        counts["spent_usd"] += entry.cost_usd or 0.0
    elif event.type == "not_stored" and event.reason != "store down":  # that is an error of the store
        counts["not_stored"] += 1
        counts["not_stored_reasons"][event.reason] += 1
