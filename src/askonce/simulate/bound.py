"""A bound on every eviction policy, even one that knows the future.

Holding an answer from one request for it until the next saves the cost of the next, and takes its size for all
requests in between. The choice of these intervals, so that at no time more is held than there is room, is a linear
program; its optimum is that of Belady (1966) when all sizes and costs are equal, of offline caching with
costs when all sizes are equal, and an upper bound to it else (Berger, Beckmann and Harchol-Balter, SIGMETRICS 2018,
who call it FOO). Its dual gives each moment a rent λ per byte: for any rents,

    room x sum of all λ  +  sum over the intervals of  max(0, saving - size x rent of the interval)

is no less than the optimum, so the result is always a true bound. The search begins with the best rents that are
equal at all times, found by sorting, and then raises those of overbooked moments.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SEGMENTS = 512
_STEPS = 150


def upper_bound(
    keys: npt.NDArray[np.uint64],
    sizes: npt.NDArray[np.int64],
    savings: Floats,
    room: float,
    *,
    times: Floats | None = None,
    ttl_seconds: float | None = None,
    steps: int = _STEPS,
) -> float:
    """An upper bound to what any cache of that size can save on a trace.

    Args:
        keys: the requests, in order.
        sizes: what holding the answer to each request takes.
        savings: what a hit at each request saves: 1 to count hits.
        room: how much can be held, in the unit of ``sizes``.
        times: seconds since the epoch, with ``ttl_seconds``.
        ttl_seconds: no answer may be used for longer.
        steps: how often the rents are improved.

    Returns:
        the largest sum of ``savings`` that cannot be ruled out.
    """
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    first, last = order[again], order[again + 1]
    size, saving = sizes[first].astype(np.float64), savings[last]
    fits = size <= room
    if times is not None and ttl_seconds is not None:
        fits &= times[last] - times[first] < ttl_seconds
    first, last, size, saving = first[fits], last[fits], size[fits], saving[fits]
    if not len(first):
        return 0.0
    if size.sum() <= room:
        return float(saving.sum())
    return _dual(first, last, size, saving, room, len(keys), steps)


def _dual(
    first: npt.NDArray[np.intp],
    last: npt.NDArray[np.intp],
    size: Floats,
    saving: Floats,
    room: float,
    length: int,
    steps: int,
) -> float:
    segments = min(_SEGMENTS, length)
    edges = np.linspace(0, length, segments + 1)
    spans = np.diff(edges)
    # Where an interval begins and ends, counted in segments and parts of them.
    begin, end = np.interp(first, edges, np.arange(segments + 1)), np.interp(last, edges, np.arange(segments + 1))

    def at(places: Floats, sums: Floats) -> Floats:
        whole = np.minimum(places.astype(np.intp), segments - 1)
        found: Floats = sums[whole] + (places - whole) * (sums[whole + 1] - sums[whole])
        return found

    rents = np.full(segments, _equal_rent((last - first) * size, saving, room * length))
    best = np.inf
    for step in range(steps + 1):
        paid = np.concatenate([[0.0], np.cumsum(rents * spans)])
        surplus = saving - size * (at(end, paid) - at(begin, paid))
        best = min(best, room * paid[-1] + surplus[surplus > 0].sum())
        chosen = surplus > 0
        # What is held in each segment: an interval begins to count where it begins, and ends where it ends.
        held = _held(begin[chosen], size[chosen], segments) - _held(end[chosen], size[chosen], segments)
        rents = rents * np.exp((held / room - 1.0) * 0.5 / np.sqrt(1.0 + step))
    return float(min(best, saving.sum()))


def _equal_rent(areas: Floats, saving: Floats, whole: float) -> float:
    """The rent at which intervals of the largest saving per size and time fill the whole room for all time."""
    density = saving / areas
    order = np.argsort(-density)
    filled = np.searchsorted(np.cumsum(areas[order]), whole)
    return float(density[order][min(int(filled), len(order) - 1)])


def _held(places: Floats, size: Floats, segments: int) -> Floats:
    """How much of what starts at some places is held in each segment, on average."""
    whole = np.minimum(places.astype(np.intp), segments - 1)
    part = size * (1.0 - (places - whole))
    starts: Floats = np.bincount(whole, size, segments).astype(np.float64)
    held: Floats = np.cumsum(starts) - starts + np.bincount(whole, part, segments)
    return held
