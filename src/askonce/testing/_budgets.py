"""Budgets: which records are evicted."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from askonce.eviction.policy import AdmissionName, Budget, Policy
from askonce.stores.base import Record, Size, Store
from askonce.testing._fixtures import TIGHT, StoreFixtures
from askonce.testing.clock import FakeClock
from askonce.testing.driver import StoreDriver
from askonce.testing.model import StoreModel

Step = tuple[str, Any]


def steps() -> st.SearchStrategy[list[Step]]:
    """Random traces: few keys, so that they meet, and whole numbers, so that every store rounds alike."""
    keys = st.sampled_from([b"\0", b"a", b"aa", b"ab", b"b", b"\x7f", b"\x80\0", b"\xff", b"long" * 16])
    record = st.builds(
        lambda key, length, weight, ttl, tags, hits: (key, b"v" * length, weight, ttl, tuple(tags), hits),
        keys,
        st.integers(0, 45),
        st.integers(0, 6),
        st.none() | st.integers(1, 12),
        st.lists(st.sampled_from(["x", "xy"]), max_size=2),
        st.sampled_from([1, 1, 1, 2, 7]),
    )
    budget = st.builds(lambda entries, size: (size, entries), st.integers(1, 6), st.integers(1, 100))
    puts = st.tuples(st.just("put"), st.lists(record, min_size=1, max_size=3))
    return st.lists(
        puts
        | puts
        | st.tuples(st.just("touch"), st.dictionaries(keys, st.integers(1, 5), min_size=1, max_size=3))
        | st.tuples(st.just("delete"), st.lists(keys, max_size=2))
        | st.tuples(st.just("delete_tag"), st.sampled_from(["x", "xy"]))
        | st.tuples(st.just("advance"), st.integers(1, 5))
        | st.tuples(st.just("evict"), budget),
        min_size=8,
        max_size=40,
    )


class BudgetTests(StoreFixtures):
    """Limits hold, and the right entries are evicted."""

    # -- budgets ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("policy", Policy)
    def test_limits_hold_after_every_put(
        self, store: StoreDriver, space: str, clock: FakeClock, policy: Policy
    ) -> None:
        budget = Budget(TIGHT.max_bytes, TIGHT.max_entries, policy)
        dice = random.Random(7)
        for start in range(0, 600, 40):
            clock.advance(1)
            store.put(
                space,
                [
                    Record(b"key %d" % number, dice.randbytes(dice.randrange(200)), clock() + 500, dice.random())
                    for number in range(start, start + 40)
                ],
                budget,
            )
            size = store.size(space)
            assert not budget.exceeded_by(entries=size.entries, size_bytes=size.size_bytes)
        assert size.entries > 20
        rows = store.scan(space)
        assert size == Size(len(rows), sum(len(value) for _, value in rows))

    def test_a_value_larger_than_the_budget_deletes_the_old_one(self, store: StoreDriver, space: str) -> None:
        budget = Budget(max_bytes=64_000)
        store.put(space, [Record(b"k", b"old"), Record(b"other", b"v")], budget)
        assert store.put(space, [Record(b"k", b"x" * 64_001)], budget) == 0
        assert store.scan(space) == [(b"other", b"v")]
        assert store.size(space) == Size(1, 1)

    def test_evict_shrinks_a_namespace(self, store: StoreDriver, space: str) -> None:
        store.put(space, [Record(b"%d" % number, b"v" * 100, weight=number) for number in range(600)])
        evicted = store.evict(space, TIGHT)
        size = store.size(space)
        assert size.entries + evicted == 600
        assert not TIGHT.exceeded_by(entries=size.entries, size_bytes=size.size_bytes)
        assert store.evict(space, TIGHT) == 0

    def test_victims_have_the_lowest_priority_and_ties_the_smallest_key(
        self, store: StoreDriver, space: str
    ) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_bytes=5, policy=Policy.LEC)
        store.put(space, [Record(key, b"v", weight=2) for key in (b"b", b"aa", b"c", b"a")], budget)
        store.put(space, [Record(b"z", b"v", weight=1)], budget)
        store.touch(space, {b"a": 1, b"none": 1}, Policy.LEC)
        assert store.put(space, [Record(b"new", b"vv", weight=9)], budget) == 2
        assert {key for key, _ in store.scan(space)} == {b"a", b"b", b"c", b"new"}
        assert store.put(space, [Record(b"all", b"v" * 5, weight=0)], budget) == 4
        assert store.scan(space) == [(b"all", b"v" * 5)]

    @pytest.mark.parametrize(
        ("policy", "left"), [("gdsf", b"ade"), ("lec", b"ace"), ("lfu", b"ade"), ("lru", b"ade"), ("ttl", b"ace")]
    )
    def test_each_policy_has_its_victims(
        self, store: StoreDriver, space: str, clock: FakeClock, policy: str, left: bytes
    ) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_entries=3, policy=Policy(policy))

        def put(key: bytes, cost: float, ttl: float | None) -> None:
            clock.advance(1)
            weight = budget.policy.weight(cost=cost, size_bytes=1)
            store.put(space, [Record(key, b"v", None if ttl is None else clock() + ttl, weight)], budget)

        put(b"a", 1, 300)
        put(b"b", 2, 100)
        put(b"c", 3, None)
        clock.advance(1)
        store.touch(space, {b"a": 3}, budget.policy)
        put(b"d", 1, 200)
        assert store.get(space, b"b") is None
        put(b"e", 1, 250)
        assert b"".join(sorted(key for key, _ in store.scan(space))) == left

    def test_a_newcomer_is_admitted_by_cost(self, store: StoreDriver, space: str) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_bytes=4, policy=Policy.LEC, admission="cost")
        held = [Record(b"a", b"v", weight=1), Record(b"b", b"v", weight=5), Record(b"c", b"vv", weight=9)]
        assert store.put(space, held, budget) == 0
        refused = [Record(b"as much", b"v", weight=1), Record(b"large", b"vv", weight=4)]
        assert store.put(space, refused, budget) == 2
        assert store.scan(space) == [(record.key, record.value) for record in held]
        assert store.put(space, [Record(b"often", b"vv", weight=2, hits=3)], budget) == 2
        store.touch(space, {b"often": 1}, Policy.LEC)
        assert store.put(space, [Record(b"d", b"v", weight=8)], budget) == 1
        assert store.put(space, [Record(b"c", b"ccc", weight=0)], budget) == 1
        assert store.scan(space) == [(b"often", b"vv")]

    def test_refused_newcomers_raise_the_inflation(self, store: StoreDriver, space: str) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_entries=2, admission="cost")
        store.put(space, [Record(b"a", b"v", weight=10), Record(b"b", b"v", weight=10)], budget)
        tries = 0
        while store.get(space, b"a") is not None:
            tries += 1
            assert store.put(space, [Record(b"%d" % tries, b"v", weight=3)], budget) == 1
        assert tries == 6  # each raises L by 3 / 2; the sixth comes at 5 × 1.5 + 3 > 10

    def test_the_inflation_is_shared_and_outlives_the_store(
        self, store: StoreDriver, open: Callable[..., Store], clock: FakeClock, space: str
    ) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_entries=2)
        store.put(space, [Record(b"low", b"v", weight=50), Record(b"high", b"v", weight=52)], budget)
        store.put(space, [Record(b"new", b"v", weight=1)], budget)  # L is 50 now, and this one at 51
        store.close()
        other = open(clock=clock)
        other.put(space, [Record(b"newer", b"v", weight=3)], budget)
        assert {key for key, _ in other.scan(space)} == {b"high", b"newer"}  # L is 51, and "newer" at 54
        other.put(space, [Record(b"newest", b"v", weight=1)], budget)
        assert {key for key, _ in other.scan(space)} == {b"newer", b"newest"}
        other.close()

    def test_inflation_after_ten_years_of_evictions_is_still_exact_enough(
        self, store: StoreDriver, space: str
    ) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_entries=3)
        lifted = 1000.0 * 3600 * 24 * 3653  # evictions, each of an entry of weight 1
        store.put(space, [Record(b"lifts L", b"v", weight=lifted)])
        store.put(space, [Record(b"a", b"v", weight=0.001)], Budget(max_entries=1))
        store.put(space, [Record(key, b"v", weight=0.001) for key in (b"b", b"c")], budget)
        store.touch(space, {b"b": 2})
        store.put(space, [Record(b"d", b"v", weight=0.001)], budget)
        store.touch(space, {b"c": 1})
        store.put(space, [Record(b"e", b"v", weight=0.001)], budget)
        assert sorted(store.scan(space)) == [(b"b", b"v"), (b"c", b"v"), (b"e", b"v")]

    @pytest.mark.parametrize(
        ("policy", "admission"),
        [*((policy, "always") for policy in Policy), (Policy.GDSF, "cost"), (Policy.LEC, "cost")],
    )
    def test_random_traces_match_the_model(
        self, store: StoreDriver, clock: FakeClock, policy: Policy, admission: AdmissionName
    ) -> None:
        if not self.exact_eviction:
            pytest.skip("this store chooses its victims within shards")
        budget = Budget(max_bytes=100, max_entries=5, policy=policy, admission=admission)

        @settings(max_examples=self.trace_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(steps())
        def follow(trace: list[Step]) -> None:
            space, model = uuid.uuid4().hex, StoreModel(clock)
            for name, what in trace:
                if name == "advance":
                    clock.advance(what)
                    continue
                if name == "put":
                    records = [
                        Record(key, value, None if ttl is None else clock() + ttl, weight, tags, hits)
                        for key, value, weight, ttl, tags, hits in what
                    ]
                    args: tuple[Any, ...] = (records, budget)
                elif name == "touch":
                    args = (what, policy)
                else:
                    args = (Budget(what[0], what[1], policy),) if name == "evict" else (what,)
                assert getattr(store, name)(space, *args) == getattr(model, name)(*args)
                assert dict(store.scan(space)) == model.content()
            assert store.size(space) == model.size()
            store.clear(space)

        follow()
