"""How all benchmarks measure: rounds that interleave the subjects, medians of a round, ratios with their spread.

The machines are shared and noisy, so that an absolute time alone says little: what is compared runs in one
process, in turns, and the ratio is taken within each round.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Series:
    """The medians of one subject's rounds, in microseconds."""

    name: str
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def over(self, other: Series) -> Ratio:
        """How many times longer this takes than ``other``, round by round."""
        return Ratio([mine / theirs for mine, theirs in zip(self.rounds, other.rounds, strict=True)])


@dataclass
class Ratio:
    """A ratio's value in each round."""

    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.rounds):.2f}–{max(self.rounds):.2f})"


@dataclass
class Claim:
    """Something that ought to hold, and whether it was seen to."""

    what: str
    measured: Ratio
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.measured.median >= self.limit if self.at_least else self.measured.median <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        relation = "≥" if self.at_least else "≤"
        return self.what, str(self.measured), f"{relation} {self.limit:g}", "holds" if self.holds else "FALLS SHORT"


def one_by_one(calls: Sequence[Callable[[], object]]) -> float:
    """The median time of calls that are each made once, in microseconds."""
    clock = time.perf_counter_ns
    times = []
    gc.collect()
    gc.disable()
    try:
        for call in calls:
            started = clock()
            call()
            times.append(clock() - started)
    finally:
        gc.enable()
    return statistics.median(times) / 1000


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
