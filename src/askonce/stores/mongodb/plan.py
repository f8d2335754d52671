"""The changes of a put or an eviction over MongoDB, computed before anything is written."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from askonce.eviction.policy import Budget

Document = dict[str, Any]
Seen = Mapping[str, Any]
"""Some fields of a stored document: ``_id`` and mark, which identify it, size, priority, expiry."""


def seen(row: Mapping[str, Any]) -> Seen:
    """Those fields as they were read. What is missing or no number is 0, the priority lower than any."""
    numbers = {name: number(row.get(name), lacking) for name, lacking in (("s", 0), ("p", -math.inf), ("x", 0.0))}
    return {"_id": row["_id"], "g": row.get("g"), **numbers}


def number(value: object, lacking: float) -> float:
    """The value of a field of a stored document, if it is a number."""
    return value if isinstance(value, (int, float)) else lacking


@dataclass(slots=True)
class NamespaceAccount:
    """The account of a namespace: records, the lengths of their values, and ``L`` of GDSF."""

    entries: int
    size_bytes: int
    inflation: float


class MoreNeeded(Exception):
    """More records of low priority must be read to find the next victim."""


class Plan:
    """Follows the contract of ``put`` and ``evict`` record by record, without a server.

    Args:
        space: what is stored.
        budget: the limits.
        now: seconds since the epoch.
        under: what is stored under the keys that will be put, by ``_id``.
        lowest: stored records from the lowest priority on.
        complete: whether ``lowest`` is all there is.

    Attributes:
        removed: stored documents to remove or replace, by ``_id``.
        added: documents to store, by ``_id``.
        inflation: the namespace's after all this.
        evicted: how many records were evicted.
        starved: nothing was left to evict although the account was over the budget, so it is too large.
    """

    def __init__(
        self,
        space: NamespaceAccount,
        budget: Budget,
        now: float,
        under: Mapping[str, Seen],
        lowest: Sequence[Seen],
        *,
        complete: bool,
    ) -> None:
        self._budget = budget
        self._now = now
        self._entries, self._size_bytes, self.inflation = space.entries, space.size_bytes, space.inflation
        self._stored: dict[str, Seen] = {**under, **{row["_id"]: row for row in lowest}}  # which was read later
        self._heap = [(row["p"], row["_id"]) for row in lowest]
        heapq.heapify(self._heap)
        self._candidates = {row["_id"] for row in lowest}
        self._complete = complete
        self.removed: dict[str, Seen] = {}
        self.added: dict[str, Document] = {}
        self.evicted = 0
        self.starved = False

    def put(self, document: Document) -> None:
        """Replace what is under the document's ``_id``, with room made for it; sets its priority."""
        name, size = document["_id"], document["s"]
        self._remove(name)
        if not self._budget.admits(size):
            return
        if self._budget.selects and self._refuses(document):
            self.evicted += 1
            return
        self.make_room(1, size)
        base = self._budget.policy.base(inflation=self.inflation, now=self._now, expires_at=document["x"])
        document["p"] = base + document["h"] * document["w"]
        self.added[name] = document
        self._entries += 1
        self._size_bytes += size
        heapq.heappush(self._heap, (document["p"], name))

    def _refuses(self, newcomer: Document) -> bool:
        """Whether a newcomer has no higher priority than one that it would evict; that raises the inflation."""
        gain, victims = newcomer["h"] * newcomer["w"], set[tuple[float, str]]()
        base = self._budget.policy.judged_base(inflation=self.inflation, expires_at=newcomer["x"])
        refused, entries, size_bytes = False, self._entries + 1, self._size_bytes + newcomer["s"]
        while self._heap and self._budget.exceeded_by(entries=entries, size_bytes=size_bytes):
            if not self._complete and not self._candidates - {name for _, name in victims}:
                raise MoreNeeded
            row = heapq.heappop(self._heap)
            held = self.added.get(row[1]) or self._stored.get(row[1])
            if held is None or held["p"] != row[0] or row in victims:
                self._candidates.discard(row[1])
                continue
            victims.add(row)
            if refused := row[0] >= base + gain:
                break
            entries, size_bytes = entries - 1, size_bytes - held["s"]
        for row in victims:
            heapq.heappush(self._heap, row)
        if refused and self._budget.policy.inflates:
            self.inflation += gain / self._entries
        return refused

    def make_room(self, entries: int, size_bytes: int) -> None:
        """Evict until so much more fits, or nothing is left.

        Raises:
            MoreNeeded: give more of ``lowest``, and plan anew.
        """
        while self._budget.exceeded_by(entries=self._entries + entries, size_bytes=self._size_bytes + size_bytes):
            if not self._complete and not self._candidates:
                raise MoreNeeded
            if not self._heap:
                self.starved = True
                return
            priority, name = heapq.heappop(self._heap)
            self._candidates.discard(name)
            held = self.added.get(name) or self._stored.get(name)
            if held is not None and held["p"] == priority:
                if self._budget.policy.inflates:
                    self.inflation = max(self.inflation, priority)
                self._remove(name)
                self.evicted += 1

    def _remove(self, name: str) -> None:
        held: Seen | None = self.added.pop(name, None)
        if held is None:
            held = self._stored.pop(name, None)
            if held is None:
                return
            self.removed[name] = held
        self._entries -= 1
        self._size_bytes -= held["s"]
