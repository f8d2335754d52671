"""Events, counted by kind of request for this process, and by hour, model and tenant for the totals of all."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from askonce.engine.events import CacheEvent
from askonce.entries.entry import RequestKind
from askonce.stats import Counts, SemanticStats, Stats
from askonce.stores.fork import reset_after_fork
from askonce.totals.buckets import Amounts, add_to, tenant_of
from askonce.totals.counts import counts_of
from askonce.totals.writer import TotalsWriter

_MOST_GROUPS = 10_000

_Group = tuple[Any, ...]
"""Events that are counted together: type, reason, kind, model, tenants, tags, hour, and what it replaces."""


class Counters:
    """Counts events. Thread-safe.

    An event costs one look into a dictionary; what it means is worked out for many at once.

    Args:
        totals: the totals of all processes; ``None`` if they are not counted.
    """

    def __init__(self, totals: TotalsWriter | None = None) -> None:
        self._totals = totals
        self._kinds: dict[RequestKind, Amounts] = {}
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._groups: dict[_Group, list[float]] = {}

    def count(self, events: Sequence[CacheEvent]) -> None:
        """Take in events."""
        with self._lock:
            groups = self._groups
            for event in events:
                group = (
                    event.type, event.reason, event.kind, event.model, event.tenants, event.tags,
                    event.at // 3600, event.instead_of_miss, event.instead_of_hit,
                )  # fmt: skip
                sums = groups.get(group)
                if sums is None:
                    sums = groups[group] = [0, 0.0, 0, 0, 0.0, 0]
                sums[0] += 1
                entry = event.entry
                if entry is not None:
                    usage = entry.usage
                    sums[1] += entry.cost_seconds
                    sums[2] += usage.input_tokens
                    sums[3] += usage.output_tokens
                    sums[4] += entry.cost_usd or 0.0
                    sums[5] += event.evicted
            if len(groups) > _MOST_GROUPS:
                self.flush()

    def spent(
        self, kind: RequestKind, model: str, at: float, tenants: tuple[str, ...], seconds: float, usd: float
    ) -> None:
        """Count a call that is no request to the cache, such as a judge's."""
        amounts = {"spent_seconds": seconds, "spent_usd": usd}
        with self._lock:
            add_to(self._kinds.setdefault(kind, {}), amounts)
        if self._totals is not None:
            self._totals.add(int(at // 3600), (kind, model, tenant_of(tenants), ""), amounts)

    def flush(self) -> None:
        """Add up what was taken in, and give it to the totals."""
        with self._lock:
            groups, self._groups = self._groups, {}
            for group, sums in groups.items():
                _, _, kind, model, tenants, tags, hour, *_ = group
                amounts = _amounts(group, sums)
                add_to(self._kinds.setdefault(kind, {}), amounts)
                if self._totals is not None and amounts:
                    tenant = tenant_of(tenants)
                    self._totals.add(int(hour), (kind, model or "", tenant, ""), amounts)
                    for tag in tags:
                        self._totals.add(int(hour), ("", "", tenant, tag), amounts)

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
        with self._lock:
            self.flush()
            kinds = {kind: Counts(**counts_of(amounts)) for kind, amounts in self._kinds.items()}
            total: Amounts = {}
            for amounts in self._kinds.values():
                add_to(total, amounts)
        return Stats(
            **counts_of({**total, "errors": errors}),
            kinds=kinds,
            not_awaited=not_awaited,
            max_wait=max_wait,
            entries=entries,
            size_bytes=size_bytes,
            store=store,
            semantic=semantic,
        )


def _amounts(group: _Group, sums: Sequence[float]) -> Mapping[str, float]:
    """What events of one group add."""
    of_type, reason, *_, instead_of_miss, instead_of_hit = group
    number, seconds, input_tokens, output_tokens, usd, evicted = sums
    amounts: Amounts = {}
    if of_type == "hit":
        amounts = {f"hits.{reason}": number, **_cost("saved", seconds, input_tokens, output_tokens, usd)}
        if instead_of_miss:
            amounts["misses.expired"] = -number
    elif of_type == "miss":
        amounts = {f"misses.{reason}": number}
        if instead_of_hit:
            not_saved = _cost("saved", -seconds, -input_tokens, -output_tokens, -usd)
            amounts |= {f"hits.{instead_of_hit}": -number, **not_saved}
    elif of_type == "bypassed":
        amounts = {"bypassed": number}
    elif of_type == "audited":
        amounts = {"audited": number, "audited_wrong": number if reason == "different" else 0}
    elif of_type == "stored":
        amounts = {
            "stored": number,
            "evicted": evicted,
            **_cost("spent", seconds, input_tokens, output_tokens, usd),
        }
    elif of_type == "not_stored":
        amounts = _cost("spent", seconds, input_tokens, output_tokens, usd)
        if reason != "store down":  # that is an error of the store
            amounts[f"not_stored.{reason}"] = number
    return {name: amount for name, amount in amounts.items() if amount}


def _cost(what: str, seconds: float, input_tokens: float, output_tokens: float, usd: float) -> Amounts:
    return {
        f"{what}_seconds": seconds,
        f"{what}_input_tokens": input_tokens,
        f"{what}_output_tokens": output_tokens,
        f"{what}_usd": usd,
    }
