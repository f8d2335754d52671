"""A simulation says what the store would have done, and no setting exceeds its bound."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest

from askonce import Cache, ConfigError
from askonce.entries.entry import Answer, Usage
from askonce.eviction.policy import AdmissionName, Budget, Policy
from askonce.keys.normal_form import NormalForm
from askonce.simulate import draw, simulate
from askonce.simulate.bound import upper_bound
from askonce.simulate.log import Trace, read_log
from askonce.simulate.replay import replay
from askonce.stores.base import Record
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock


def zipf(requests: int, keys: int, seed: int, alpha: float = 0.9) -> Trace:
    dice = np.random.default_rng(seed)
    chances = 1 / np.arange(1, keys + 1) ** alpha
    chosen = dice.choice(keys, requests, p=chances / chances.sum())
    sizes, costs = dice.integers(1, 60, keys), np.round(dice.lognormal(0, 1, keys), 2)
    return Trace.of(dice.permutation(keys)[chosen], sizes[chosen], costs[chosen], np.arange(requests, dtype=float))


@pytest.mark.parametrize("ttl", [None, 300.0])
@pytest.mark.parametrize(
    ("policy", "admission"),
    [*((policy, "always") for policy in Policy), (Policy.GDSF, "cost"), (Policy.LEC, "cost")],
)
def test_a_replay_matches_the_store(policy: Policy, admission: AdmissionName, ttl: float | None) -> None:
    trace = zipf(6000, 800, 5)
    for budget in (Budget(2000, None, policy, admission), Budget(None, 60, policy, admission)):
        clock = FakeClock(0.0)
        store, seen, hits, evicted = MemoryStore(clock=clock), dict[int, int](), 0, 0
        for key, size, cost, now in zip(trace.keys, trace.sizes, trace.costs, trace.times, strict=True):
            clock.now = float(now)
            name = int(key).to_bytes(8)
            seen[key] = seen.get(key, 0) + 1
            if store.get("", name) is not None:
                hits += 1
                store.touch("", {name: 1}, policy)
                continue
            weight = policy.weight(cost=float(cost), size_bytes=int(size))
            requests = seen[key] if budget.selects else 1
            expires_at = None if ttl is None else clock.now + ttl
            evicted += store.put("", [Record(name, bytes(size), expires_at, weight, (), requests)], budget)
        outcome = replay(trace, budget, ttl)
        assert (outcome.hits, outcome.evicted) == (hits, evicted)


def optimum(keys: list[int], savings: list[float], room: int) -> float:
    """The best that can be saved with equal sizes: every choice of what to hold is tried."""
    held_to_saved = {frozenset[int](): 0.0}
    for key, saving in zip(keys, savings, strict=True):
        after: dict[frozenset[int], float] = {}
        for held, saved in held_to_saved.items():
            total = saved + (saving if key in held else 0.0)
            for size in range(room + 1):
                for choice in itertools.combinations(held | {key}, size):
                    after[frozenset(choice)] = max(after.get(frozenset(choice), 0.0), total)
        held_to_saved = after
    return max(held_to_saved.values())


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_the_optimum_where_sizes_are_equal(seed: int) -> None:
    dice = random.Random(seed)
    keys = [dice.randrange(7) for _ in range(40)]
    costs = {key: dice.choice([1.0, 2.0, 10.0]) for key in range(7)}
    for savings in ([1.0] * 40, [costs[key] for key in keys]):
        best = optimum(keys, savings, 2)
        ones = np.ones(40, np.int64)
        bound = upper_bound(np.array(keys, np.uint64), ones, np.array(savings), 2.0, steps=4000)
        assert best <= bound + 1e-9
        assert bound <= best * 1.02


def test_no_setting_exceeds_the_bound_and_the_best_is_reported() -> None:
    report = simulate(zipf(4000, 500, 2), policies=["gdsf", "gdsf+cost", "lec", "lfu", "lru"], ttls=[None, 900.0])
    bounds = {bound.size: bound for bound in report.bounds}
    assert len(bounds) == 9
    assert len(report.points) == 9 * 5 * 2
    for point in report.points:
        assert point.hit_ratio <= bounds[point.size].hit_ratio
        assert point.saved_share <= bounds[point.size].saved_share
    most = max(point.saved_share for point in report.points)
    assert report.best.saved_share >= 0.95 * most
    assert all(
        point.saved_share < 0.95 * most or point.size >= report.best.size for point in report.points
    )  # nothing smaller is good enough
    assert report.best.policy in ("gdsf", "gdsf+cost", "lec")


def test_a_sample_approximates_the_whole() -> None:
    trace = zipf(40_000, 8_000, 4)
    sizes = [10_000, 60_000]
    whole = simulate(trace, sizes, ["gdsf", "lru"], sample=1.0)
    some = simulate(trace, sizes, ["gdsf", "lru"], sample=0.2)
    assert some.simulated_requests < 0.3 * whole.simulated_requests
    assert abs(some.keys / whole.keys - 1) < 0.05
    for one, other in zip(some.points, whole.points, strict=True):
        assert abs(one.hit_ratio - other.hit_ratio) < 0.03
        assert abs(one.saved_share - other.saved_share) < 0.05


def test_a_cache_logs_what_a_replay_needs(tmp_path: Path) -> None:
    log, dice, clock = tmp_path / "logs" / "accesses.log", random.Random(8), FakeClock()
    with Cache("memory://", max_bytes=6000, access_log=log, clock=clock) as cache:
        for _ in range(1500):
            clock.advance(1)
            question = min(int(dice.paretovariate(0.6)), 500)
            request = cache.engine.request("answer", lambda: NormalForm({"secret question": question}))  # noqa: B023
            assert request is not None
            usage = Usage(1000, 100 * (1 + question % 7))
            text = random.Random(question).randbytes(50 + question)
            cache.engine.answer(request, lambda: text, lambda made: Answer(made, usage, "gpt-4o"))  # noqa: B023
            cache.engine.flow.events.flush()
        stats = cache.stats()
    assert stats.evicted > 100 < stats.hits
    assert log.stat().st_mode & 0o777 == 0o600
    assert b"secret" not in log.read_bytes()

    trace = read_log(log)
    assert len(trace) == 1500
    assert trace.all_cost == pytest.approx(stats.spent_usd + stats.saved_usd)
    outcome = replay(trace, Budget(max_bytes=6000))
    assert outcome.hits == stats.hits
    assert outcome.saved == pytest.approx(stats.saved_usd)
    assert len(read_log(log, namespace="default")) == 1500
    with pytest.raises(ConfigError, match="no requests of namespace 'other'"):
        read_log(log, namespace="other")


def test_a_large_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.storage.access_log.ROTATE_BYTES", 480)
    log = tmp_path / "accesses.log"
    with Cache("memory://", access_log=log) as cache:
        for number in range(35):
            request = cache.engine.request("answer", lambda: NormalForm({"question": number}))  # noqa: B023
            assert request is not None
            cache.engine.answer(request, lambda: b"because", Answer)
            cache.engine.flow.events.flush()
    assert (tmp_path / "accesses.log.1").stat().st_size == 480
    assert len(read_log(log)) == 15  # 10 and 5; the 20 before are gone


def test_a_log_that_cannot_be_written_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with Cache("memory://", access_log=tmp_path / "file" / "accesses.log") as cache:
        for number in range(3):
            request = cache.engine.request("answer", lambda: NormalForm({"question": number}))  # noqa: B023
            assert request is not None
            assert cache.engine.answer(request, lambda: b"because", Answer) == b"because"
            cache.engine.flow.events.flush()
    assert caplog.text.count("cannot be written") == 1


def test_a_file_that_is_not_an_access_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no access log"):
        simulate(tmp_path / "none.log")
    (tmp_path / "text.log").write_text("GET / HTTP/1.1 200\n" * 10)
    with pytest.raises(ConfigError, match="is not an access log"):
        simulate(tmp_path / "text.log")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        simulate(tmp_path)
    trace = zipf(100, 10, 1)
    for wrong in (
        {"sizes": [0]},
        {"sizes": []},
        {"policies": ["best"]},
        {"policies": ["gdsf+worse"]},
        {"sample": 2.0},
        {"sizes": ["many"]},
        {"sizes": ["2GB"], "entries": True},
        {"ttls": [-1.0]},
        {"ttls": [math.nan]},
    ):
        with pytest.raises(ConfigError):
            simulate(trace, **wrong)  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    report = simulate(zipf(100, 10, 1), sizes=[100], policies=["gdsf"])
    for path in (tmp_path / "none" / "curves.png", tmp_path / "curves.txt"):
        with pytest.raises(ConfigError, match="cannot be drawn"):
            draw(report, path)


@pytest.mark.parametrize(("entries", "kind"), [(False, "bytes"), (True, "numbers of entries")])
def test_a_wrong_size_is_an_error_that_says_what_sizes_are(entries: bool, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"sizes are {kind}.*5XB"):
        simulate(zipf(100, 10, 1), ["5XB"], entries=entries)
