"""How all benchmarks measure: rounds that interleave the subjects, a round's fast calls, ratios with their spread.

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
    """The time of one subject in each round, in microseconds."""

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
    limit: float | None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        if self.limit is None:
            return True
        return self.measured.median >= self.limit if self.at_least else self.measured.median <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        if self.limit is None:
            return self.what, str(self.measured), "", ""
        relation = "≥" if self.at_least else "≤"
        return (
            self.what,
            str(self.measured),
            f"{relation} {self.limit:g}",
            "reached" if self.holds else "not reached",
        )


def one_by_one(calls: Sequence[Callable[[], object]]) -> float:
    """The time in microseconds that a tenth of the calls, each made once, stay below.

    Of the slower ones a shared machine makes most slower, not what is measured.
    """
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
    return sorted(times)[len(times) // 10] / 1000


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
