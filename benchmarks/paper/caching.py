"""The experiments' cache: askonce's store, with its eviction, admission and counting of frequencies.

What is written here is the model's choice alone, as the paper has it. Which answers are stored is decided by
``MemoryStore.put`` under a ``Budget``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from askonce.eviction.frequency import FrequencySketch
from askonce.eviction.policy import Budget, Policy
from askonce.stores.base import Record
from askonce.stores.memory import MemoryStore
from benchmarks.paper.requests import Floats, Workload

SPACE = "paper"


def key_of(query: int) -> bytes:
    return blake2b(query.to_bytes(4, "big"), digest_size=32).digest()


def budget(policy: Policy, capacity: int) -> Budget:
    """The paper's rule: a newcomer is stored only if it is worth more than what would have to go."""
    return Budget(max_entries=capacity, policy=policy, admission="cost")


def offline(load: Workload, policy: Policy, costs: Floats) -> npt.NDArray[np.bool_]:
    """Which requests hit a cache that was filled once, knowing how often each will come and what it costs."""
    counts = np.bincount(load.queries, minlength=load.count)
    means = np.bincount(load.queries, costs, load.count) / np.maximum(counts, 1)
    store, limit = MemoryStore(), budget(policy, load.capacity)
    requested = [query for query in range(load.count) if counts[query]]
    weights = [policy.weight(cost=means[query], size_bytes=1) for query in requested]
    rows = zip(requested, weights, strict=True)
    store.put(SPACE, [Record(key_of(query), b"a", weight=w, hits=int(counts[query])) for query, w in rows], limit)
    stored = np.zeros(load.count, bool)
    for query, found in zip(requested, store.get_many(SPACE, [key_of(query) for query in requested]), strict=True):
        stored[query] = found is not None
    return stored[load.queries]


@dataclass
class Online:
    """An askonce store fed with requests one by one.

    Args:
        policy: what goes first.
        capacity: how many answers it holds.
    """

    policy: Policy
    capacity: int
    store: MemoryStore = field(default_factory=MemoryStore)
    sketch: FrequencySketch = field(default_factory=FrequencySketch)
    hits: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._budget = budget(self.policy, self.capacity)

    def look_up(self, key: bytes) -> bool:
        """Whether an answer is stored. Hits are collected, as by ``askonce.storage.hit_buffer``."""
        if self.store.get(SPACE, key) is None:
            return False
        self.hits[key] = self.hits.get(key, 0) + 1
        return True

    def store_answer(self, key: bytes, cost: float) -> None:
        """Offer a fresh answer to the store, after the hits that were collected."""
        if self.hits:
            for other, count in self.hits.items():
                self.sketch.add(other, count)
            self.store.touch(SPACE, self.hits, self.policy)
            self.hits = {}
        self.sketch.add(key)
        weight = self.policy.weight(cost=cost, size_bytes=1)
        self.store.put(SPACE, [Record(key, b"a", weight=weight, hits=self.sketch[key])], self._budget)


class Estimate:
    """What a model costs for each query, learned from what it cost before."""

    def __init__(self, count: int, *, optimistic: bool = False, floor: float = 0.0) -> None:
        self._sums, self._times = [0.0] * count, [0] * count
        self._count, self._optimistic, self._floor = count, optimistic, floor

    def learn(self, query: int, cost: float) -> None:
        self._sums[query] += cost
        self._times[query] += 1

    def __getitem__(self, query: int) -> float:
        """The mean; or, being optimistic, ``max(mean - sqrt(K / n), floor)``, and the floor for the unknown."""
        times = self._times[query]
        if not times:
            return self._floor if self._optimistic else math.inf
        mean = self._sums[query] / times
        return max(mean - math.sqrt(self._count / times), self._floor) if self._optimistic else mean


def online(load: Workload, policy: Policy, choice: str) -> tuple[float, npt.NDArray[np.bool_]]:
    """What all requests cost, and which of them missed.

    Args:
        load: the requests.
        policy: LFU or LEC.
        choice: ``large`` or ``small``: always that model; ``selector``: the cheaper by the means so far, the small
            one first, as in the authors' simulator; ``optimistic``: by lower confidence bounds, as in the paper,
            which learns only the costs of the called model.
    """
    cache = Online(policy, load.capacity)
    optimistic = choice == "optimistic"
    reports_both = load.reports_both and not optimistic
    small, large = (Estimate(load.count, optimistic=optimistic, floor=1.0 if optimistic else 0.0) for _ in "sl")
    worth = {"large": large, "small": small}.get(choice)
    keys = [key_of(query) for query in range(load.count)]
    paid, missed = 0.0, np.zeros(len(load.queries), bool)
    rows = zip(
        load.queries.tolist(), load.small.tolist(), load.large.tolist(), load.both_known.tolist(), strict=True
    )
    for position, (query, cost_small, cost_large, both_known) in enumerate(rows):
        if cache.look_up(keys[query]):
            continue
        missed[position] = True
        if optimistic:
            calls_small = small[query] < large[query]
        else:
            calls_small = choice == "small" or (choice == "selector" and not large[query] < small[query])
        paid += cost_small if calls_small else cost_large
        if calls_small or reports_both:
            small.learn(query, cost_small)
        if not calls_small or both_known or reports_both:
            large.learn(query, cost_large)
        cache.store_answer(keys[query], min(small[query], large[query]) if worth is None else worth[query])
    return paid, missed
