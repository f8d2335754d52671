"""Many settings over one trace, and the best of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from askonce.errors import ConfigError
from askonce.eviction.policy import AdmissionName, Budget, Policy, parse_bytes
from askonce.simulate.bound import upper_bound
from askonce.simulate.log import Trace, read_log
from askonce.simulate.replay import replay

POLICIES = ("gdsf", "gdsf+cost", "lec", "lfu", "lru")
_SAMPLED_REQUESTS = 50_000
_CURVE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_ENOUGH = 0.95


@dataclass(frozen=True, slots=True)
class Point:
    """One setting and its result.

    Attributes:
        size: how much the cache may hold, in bytes or entries.
        policy: as in ``Cache(eviction=…)``, with ``+cost`` for ``admission="cost"``.
        ttl_seconds: how long an answer may be used; ``None`` for ever.
        hit_ratio: the share of requests that found an answer.
        saved_usd: what they would have cost.
        saved_share: the same as a share of what all requests would have cost.
    """

    size: int
    policy: str
    ttl_seconds: float | None
    hit_ratio: float
    saved_usd: float
    saved_share: float

    @property
    def arguments(self) -> dict[str, Any]:
        """The setting as ``Cache`` takes it, without the size."""
        name, _, admission = self.policy.partition("+")
        found: dict[str, Any] = {"eviction": name}
        if admission:
            found["admission"] = admission
        if self.ttl_seconds is not None:
            found["ttl"] = self.ttl_seconds
        return found


@dataclass(frozen=True, slots=True)
class Bound:
    """What no cache of a size can exceed, even one that knows the future."""

    size: int
    hit_ratio: float
    saved_usd: float
    saved_share: float


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a simulation.

    Attributes:
        unit: of the sizes: ``bytes`` or ``entries``.
        requests: how many the log holds.
        simulated_requests: how many of them were replayed.
        keys: how many different requests there are (estimated, when not all were replayed).
        working_set_bytes: what all their answers take.
        cost_usd: what all requests would have cost without a cache.
        points: every setting.
        bounds: by size.
        best: the recommended setting: of the smallest size at which 95 % is saved of what the largest saves, the
            one that saves most.
    """

    unit: str
    requests: int
    simulated_requests: int
    keys: int
    working_set_bytes: int
    cost_usd: float
    points: tuple[Point, ...]
    bounds: tuple[Bound, ...]
    best: Point

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain lists and dictionaries, for JSON."""
        return asdict(self)


def simulate(
    log: str | os.PathLike[str] | Trace,
    sizes: Sequence[int | str] | None = None,
    policies: Sequence[str] = POLICIES,
    ttls: Sequence[float | None] = (None,),
    *,
    sample: float | None = None,
    entries: bool = False,
    namespace: str | None = None,
) -> Report:
    """Replay an access log against every combination of sizes, policies and times to live.

    Args:
        log: the file that ``Cache(access_log=…)`` wrote, or a trace.
        sizes: limits in bytes, as numbers or texts such as ``"2GB"``; by default nine, up to all there is.
        policies: as in ``Cache(eviction=…)``; ``+cost`` after one for ``admission="cost"``, which ``lec`` has
            anyway.
        ttls: seconds for which an answer may be used; ``None`` for ever.
        sample: the share of keys to replay, chosen by their hash, with sizes scaled likewise (SHARDS); by default
            as many as make about 50,000 requests. 1 for all of them.
        entries: sizes are numbers of entries.
        namespace: only the requests of this one; each namespace has a budget of its own.

    Raises:
        ConfigError: the log cannot be read, or a setting is invalid.
    """
    trace = log if isinstance(log, Trace) else read_log(log, namespace=namespace)
    if sample is not None and not 0 < sample <= 1:
        raise ConfigError(f"sample is a share of the keys, above 0 and at most 1; got {sample!r}")
    trace = trace.sampled(min(1.0, _SAMPLED_REQUESTS / len(trace)) if sample is None else sample)
    if not len(trace):
        raise ConfigError(f"a sample of {sample} leaves no request; take a larger one")
    keys, working_set_bytes = trace.working_set
    budgets = {name: _budget_of(name) for name in policies}
    limits = _limits(sizes, entries, keys if entries else working_set_bytes)
    if not all(ttl is None or ttl > 0 for ttl in ttls):
        raise ConfigError(f"times to live are positive, in seconds: {ttls!r}")
    if not (limits and budgets and ttls):
        raise ConfigError("at least one size, one policy and one time to live are needed")
    points = tuple(
        _point(trace, _with_limit(budget, limit, entries), limit, name, ttl)
        for limit in limits
        for name, budget in budgets.items()
        for ttl in ttls
    )
    return Report(
        unit="entries" if entries else "bytes",
        requests=trace.all_requests,
        simulated_requests=len(trace),
        keys=keys,
        working_set_bytes=working_set_bytes,
        cost_usd=trace.all_cost,
        points=points,
        bounds=tuple(_bound(trace, limit, entries) for limit in limits),
        best=_best(points),
    )


def _limits(sizes: Sequence[int | str] | None, entries: bool, everything: int) -> list[int]:
    if sizes is None:
        return sorted({max(round(share * everything), 1) for share in _CURVE})
    try:
        limits = [int(size) if entries else parse_bytes(size) for size in sizes]
    except ValueError as error:
        kind = "numbers of entries" if entries else "bytes, such as 2000000 or '500MB'"
        raise ConfigError(f"sizes are {kind}; got {list(sizes)!r}") from error
    if any(limit is None or limit < 1 for limit in limits):
        raise ConfigError(f"sizes are positive: {sizes!r}")
    return sorted({limit for limit in limits if limit is not None})


def _budget_of(name: str) -> Budget:
    policy, _, admission = name.partition("+")
    if policy not in [one.value for one in Policy]:
        raise ConfigError(f"a policy is one of gdsf, lec, lru, lfu, ttl, perhaps with +cost; got {name!r}")
    default: AdmissionName = "cost" if policy == "lec" else "always"
    return Budget(policy=Policy(policy), admission=admission or default)  # type: ignore[arg-type]


def _with_limit(budget: Budget, limit: int, entries: bool) -> Budget:
    return Budget(None if entries else limit, limit if entries else None, budget.policy, budget.admission)


def _point(trace: Trace, budget: Budget, limit: int, name: str, ttl: float | None) -> Point:
    outcome = replay(trace, budget, ttl)
    hit_ratio, saved_usd, saved_share = _scaled_up(trace, outcome.hits, outcome.saved)
    return Point(limit, name, ttl, hit_ratio, saved_usd, saved_share)


def _bound(trace: Trace, limit: int, entries: bool) -> Bound:
    sizes = np.ones(len(trace), np.int64) if entries else trace.sizes
    room = limit * trace.rate
    hits = upper_bound(trace.keys, sizes, np.ones(len(trace)), room)
    saved = upper_bound(trace.keys, sizes, trace.costs, room)
    return Bound(limit, *_scaled_up(trace, hits, saved))


def _scaled_up(trace: Trace, hits: float, saved: float) -> tuple[float, float, float]:
    """Hit ratio, money saved and its share, for all keys.

    A sample has some popular keys too many or too few. The difference from the expected number of requests counts
    as hits, as requests of popular keys are (SHARDS-adj).
    """
    requests, cost = trace.all_requests * trace.rate, trace.all_cost * trace.rate
    hit_ratio = (hits + requests - len(trace)) / requests
    saved_share = (saved + cost - float(trace.costs.sum())) / cost if cost else 0.0
    hit_ratio, saved_share = (min(max(share, 0.0), 1.0) for share in (hit_ratio, saved_share))
    return hit_ratio, saved_share * trace.all_cost, saved_share


def _best(points: Sequence[Point]) -> Point:
    enough = _ENOUGH * max(point.saved_share for point in points)
    smallest = min(point.size for point in points if point.saved_share >= enough)
    return max((point for point in points if point.size == smallest), key=lambda point: point.saved_share)
