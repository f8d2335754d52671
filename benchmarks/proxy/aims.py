"""What is aimed at, and whether it was seen; and the tables of all figures."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from benchmarks.measure import Ratio, markdown
from benchmarks.proxy.load import Point
from benchmarks.proxy.rounds import (
    DIRECT,
    F_TWO,
    FORWARDER,
    LOCAL,
    OURS,
    REDIS,
    THEIR_DISK,
    THEIR_LOCAL,
    THEIR_REDIS,
    TWO,
    F,
    Figures,
)


@dataclass(frozen=True)
class Aim:
    """A figure and its limits.

    Attributes:
        what: it is.
        measured: in each round; ``None``: not at all.
        must: the limit; ``None``: there is none.
        good: what is better; ``None``: nothing is named.
        at_least: the limits are lower ones.
    """

    what: str
    measured: Ratio | None
    must: float | None = None
    good: float | None = None
    at_least: bool = True

    def row(self) -> tuple[str, str, str, str, str]:
        """A row of the table."""
        sign = "≥" if self.at_least else "≤"
        limits = [f"{sign} {round(one, 3):g}" if one is not None else "" for one in (self.must, self.good)]
        if self.measured is None:
            return self.what, "not measured", *limits, ""
        return self.what, str(self.measured), *limits, self._reached()

    def _reached(self) -> str:
        if self.must is None:
            return ""
        if self.good is not None and self._holds(self.good):
            return "good"
        return "yes" if self._holds(self.must) else "**no**"

    def _holds(self, limit: float) -> bool:
        assert self.measured is not None
        return self.measured.median >= limit if self.at_least else self.measured.median <= limit


def aims(figures: Figures) -> list[Aim]:
    """All claims."""
    hit, streamed, one, sixty_four = Point(16), Point(16, True), Point(1), Point(64)
    ratio, slow, fast = figures.ratio, Point(16, prompts="new", delay=300), Point(16, prompts="new")
    p99s, p50s = (figures.of(OURS, sixty_four, share) for share in ("p99", "p50"))
    p99 = [late / middle for late, middle in zip(p99s, p50s, strict=True)]
    rates = zip(figures.of(OURS, streamed, "rate"), figures.of(OURS, hit, "rate"), strict=True)
    own = [as_stream / plain for as_stream, plain in rates]
    firsts = zip(figures.first_events[OURS], figures.first_events[DIRECT], strict=False)
    firsts_added = [mine - bare for mine, bare in firsts]
    return [
        Aim("SQLite hit, 16 connections, over F", ratio(OURS, F, hit), 0.35, 0.45),
        Aim("the same over LiteLLM on disk", ratio(OURS, THEIR_DISK, hit), 35),
        Aim("hit in the local cache over F", ratio(LOCAL, F, hit), 0.7, 0.95),
        Aim("the same over LiteLLM's local cache", ratio(LOCAL, THEIR_LOCAL, hit), 70),
        Aim("Redis hit over F", ratio(REDIS, F, hit), 0.3, 0.42),
        Aim("the same over LiteLLM on Redis", ratio(REDIS, THEIR_REDIS, hit), 40),
        Aim("p50 of a SQLite hit, 1 connection, over F's", ratio(OURS, F, one, "p50"), 2.5, 1.8, at_least=False),
        Aim("the same over LiteLLM's", ratio(OURS, THEIR_DISK, one, "p50"), 1 / 25, at_least=False),
        Aim("p99 over p50 of SQLite hits, 64 connections", _known(p99), 3, 1.6, at_least=False),
        Aim("streamed hit over the plain one", _known(own), 0.9, 0.97),
        Aim("streamed hit over LiteLLM's", ratio(OURS, THEIR_LOCAL, streamed), 600),
        Aim("CPU of a SQLite hit over F's", ratio(OURS, F, hit, "cpu"), 3, 2.2, at_least=False),
        Aim("the same over LiteLLM's", ratio(OURS, THEIR_DISK, hit, "cpu"), 1 / 35, at_least=False),
        Aim("CPU of a hit in the local cache over F's", ratio(LOCAL, F, hit, "cpu"), at_least=False),
        Aim("CPU of a Redis hit over F's", ratio(REDIS, F, hit, "cpu"), at_least=False),
        Aim("CPU of a miss over the forwarder's", ratio(OURS, FORWARDER, fast, "cpu"), at_least=False),
        Aim("ms added to a miss of 300 ms, 16 connections", figures.added(OURS, slow), 2, 1, at_least=False),
        Aim("ms added to the first event of a streamed miss", _known(firsts_added), 2, at_least=False),
        Aim("misses a second at 0 ms over the forwarder's", ratio(OURS, FORWARDER, fast), 2, 4),
        Aim("the same over LiteLLM on disk", ratio(OURS, THEIR_DISK, fast), 20),
        Aim("MB after the start", _known([figures.memory[OURS][0]]), 80, 60, at_least=False),
        Aim("seconds to start", _known(figures.starts[OURS]), 1, 0.5, at_least=False),
        Aim("hits of two workers over F with two", ratio(TWO, F_TWO, hit), 0.35, 0.45),
    ]


def _known(values: list[float]) -> Ratio | None:
    return Ratio(values) if values else None


def _median(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):,.{digits}f}" if values else ""


def tables(figures: Figures) -> list[str]:
    """All figures: medians over the rounds."""
    rows = []
    for (name, point), loads in sorted(figures.loads.items(), key=lambda item: (str(item[0][1]), item[0][0])):
        rates = [one.rate for one in loads]
        spread = f" ({min(rates):,.0f}–{max(rates):,.0f})"
        others = [_median(figures.of(name, point, what), 2) for what in ("p50", "p99")]
        cpu, wrk = (_median(figures.of(name, point, what), 0) for what in ("cpu", "wrk"))
        added = figures.added(name, point) if point.delay and name != DIRECT else None
        rows.append((str(point), name, _median(rates, 0) + spread, *others, cpu, wrk, str(added or "")))
    heads = ("what", "of", "a second (spread)", "p50 ms", "p99 ms", "CPU µs", "wrk's", "added ms")
    processes = [
        (name, _median(figures.starts[name], 2), f"{start:.0f}", f"{end:.0f}")
        for name, (start, end) in figures.memory.items()
    ]
    firsts = [(name, _median(values)) for name, values in figures.first_events.items()]
    return [
        markdown(heads, rows),
        markdown(("process", "seconds to start", "MB then", "MB at the end"), processes),
        markdown(("first event of a streamed miss", "ms"), firsts),
    ]
