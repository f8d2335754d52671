"""The requests, and what each model costs for them."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.paper.published import Row

ROUNDS = 10_000
PENALTY = 2.0
"""What the large model counts when it is called after the small one was wrong."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Workload:
    """Requests and their costs.

    Attributes:
        queries: the query of each request, of 0 … n - 1.
        small: what each request costs if the small model is called first (the large one after it if it is wrong).
        large: what it costs if the large one is.
        both_known: whether a call of the small one also shows what the large one costs, since it was called too.
        reports_both: whether a learner receives both costs, whichever model it called.
        capacity: how many answers the cache holds.
    """

    queries: npt.NDArray[np.int64]
    small: Floats
    large: Floats
    both_known: npt.NDArray[np.bool_]
    capacity: int
    reports_both: bool = False

    @property
    def count(self) -> int:
        return int(self.queries.max()) + 1


def workload(row: Row, seed: int) -> Workload:
    """One instance of a row's experiment."""
    dice = np.random.default_rng([seed, *row.table.encode()])  # the same for all rows of a table
    if row.table == "synthetic":
        return _synthetic(row, dice)
    small, large = _lambada(dice) if row.table == "LAMBADA" else _open_assistant(dice, row.ratio)
    wrong = dice.permutation(np.arange(100) < 50)
    queries = _arrivals(dice, row.alpha, 100)
    first = small + wrong * large * PENALTY
    return Workload(queries, first[queries], large[queries], wrong[queries], 40)


def _arrivals(dice: np.random.Generator, alpha: float, count: int) -> npt.NDArray[np.int64]:
    return (dice.power(alpha, ROUNDS) * count).astype(np.int64)


def _synthetic(row: Row, dice: np.random.Generator) -> Workload:
    """20 queries; each model's cost of a query is 1 or 1 + ratio, with noise at each request."""
    means = 1.0 + row.ratio * dice.integers(0, 2, (2, 20))
    queries = _arrivals(dice, row.alpha, 20)
    small, large = np.maximum(means[:, queries] + dice.normal(size=(2, ROUNDS)), 0.1)
    # As in the authors' simulator, which gives the learner more than a user would have.
    return Workload(queries, small, large, np.zeros(ROUNDS, bool), 8, reports_both=True)


def _lambada(dice: np.random.Generator) -> tuple[Floats, Floats]:
    """TFLOPs of OPT-1.3B and OPT-13B for 100 real passages."""
    tokens = dice.choice(passage_lengths(), 100, replace=False).astype(np.float64)
    return flops(tokens, 24, 2048, 8192) / 1e12, flops(tokens, 40, 5120, 20480) / 1e12


def flops(tokens: Floats, layers: int, width: int, feed_forward: int) -> Floats:
    """FLOPs of reading a prompt, by the authors' formula."""
    return layers * (8 * tokens * width**2 + 4 * tokens * width * feed_forward + 4 * tokens**2 * width)


@functools.cache
def passage_lengths() -> tuple[int, ...]:
    """Lengths in tokens of passages made as LAMBADA's are, from prose that every Python has.

    LAMBADA's text is not at hand; its passages are whole sentences of at least 50 tokens, and one more (Paperno et
    al. 2016). These are cut the same way from the documentation of the standard library. A token is a word or a
    mark.
    """
    lengths = []
    for text in _documentation():
        tokens = 0
        for sentence in re.split(r"(?<=[.!?:])\s+", text):
            here = len(re.findall(r"\w+|[^\w\s]", sentence))
            if tokens >= 50:
                lengths.append(tokens + here)
                tokens = 0
            else:
                tokens += here
    return tuple(length for length in lengths if length < 250)


def _documentation() -> list[str]:
    names = sorted(
        module.name
        for module in pkgutil.iter_modules()
        if module.name in sys.stdlib_module_names and not module.name.startswith(("_", "antigravity", "this"))
    )
    texts = dict[str, None]()
    for name in names[::3]:
        try:
            module = importlib.import_module(name)
        except ImportError:  # not on this platform
            continue
        for _, thing in [("", module), *inspect.getmembers(module, callable)]:
            if isinstance(text := inspect.getdoc(thing), str) and len(text) > 300:
                texts[text] = None
    return list(texts)


LATENCY_SECONDS, LONGEST_TOKENS = 5.2, 128


def _open_assistant(dice: np.random.Generator, ratio: float) -> tuple[Floats, Floats]:
    """Seconds of FastChat-T5-3B and Vicuna-13B for 100 queries.

    What was measured is not published. Answers were cut at 128 tokens, and a token takes a model about the same
    time. So here latency is the length of an answer, log-normal and cut: most of the large model's answers are cut
    (median 150 tokens, σ 0.6), few of the small one's (median 45, σ 1), and the two are independent. The means are
    5.2 s, about the published 28.34 thousand seconds over the requests that miss, and ``ratio`` times less.
    Medians and σ are guesses.
    """
    large, small = (
        _answer_lengths(dice, *shape, 100) / _answer_lengths(np.random.default_rng(0), *shape, 100_000).mean()
        for shape in ((150, 0.6), (45, 1.0))
    )
    return small * LATENCY_SECONDS / ratio, large * LATENCY_SECONDS


def _answer_lengths(dice: np.random.Generator, median: float, sigma: float, count: int) -> Floats:
    return np.minimum(dice.lognormal(np.log(median), sigma, count), LONGEST_TOKENS)


def figure(seed: int) -> tuple[Workload, Floats, Floats]:
    """The second synthetic experiment: the workload, the frequencies, and the mean cost of the cheaper model."""
    dice = np.random.default_rng([seed, *b"figure"])
    frequencies = dice.random(20)
    frequencies /= frequencies.sum()
    means = 1.0 + 100.0 * (dice.random((2, 20)) < np.array([[0.4], [0.5]]))
    queries = dice.choice(20, ROUNDS, p=frequencies)
    small, large = means[:, queries] + dice.normal(size=(2, ROUNDS))
    return Workload(queries, small, large, np.zeros(ROUNDS, bool), 10), frequencies, means.min(axis=0)
