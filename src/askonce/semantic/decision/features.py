"""The evidence for and against answering a question with a neighbour's answer, as 23 numbers.

The candidate is the answer with the most weight among the nearest indexed questions, not simply that of the nearest
one. Similarity alone is weak evidence: how far away the next *other* answer is, how many of the neighbours agree,
and how often the candidate was right before are stronger. What embeddings miss - numbers, negations, names,
opposite words - is read from the texts (`askonce.semantic.decision.words`).

All features are of the order of one, so that one penalty fits them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from askonce.semantic.decision.words import opposed, overlap, read
from askonce.semantic.language.reading import in_other_language, language_of, reading
from askonce.semantic.types import IndexedQuery, Neighbour

Vector = NDArray[np.float64]

NEIGHBOURS = 10
"""How many of the nearest indexed questions are looked at."""

FEATURES = (
    "one",  # the constant
    "similarity",  # of the candidate's nearest question
    "very similar",  # the part of it above 0.93
    "margin",  # over the nearest question with another answer
    "soft share",  # the candidate's weight among the neighbours, log-odds
    "share",  # how many of the neighbours have its answer
    "equals",  # how many indexed questions have an answer of its group, logarithm
    "record",  # how often answers of its group were judged right and wrong
    "words",  # overlap of all words with the nearest question
    "best words",  # overlap of content words with the best of its three nearest
    "number",
    "negation",
    "names",
    "question word",
    "density",  # similarity of the last neighbour
    "three nearest",  # mean similarity of the candidate's three nearest questions
    "length",
    "unheard",  # share of words that no near question of the candidate has
    "foreign words",  # overlap with the best neighbour that has another answer
    "missing",  # words of the indexed question that the new one lacks
    "alone",  # no other question has an answer of its group
    "answers",  # how many different ones are near
    "opposite",
)
SIZE = len(FEATURES)
GUARDS = tuple(FEATURES.index(name) for name in ("number", "negation", "opposite"))
"""Where one of these is 1, the candidate is not served, whatever the others are."""

_PRIOR = {  # mean and precision of a coefficient before anything was learned; the others: 0 and 1
    "similarity": (1.0, 1.0),
    "soft share": (0.5, 1.0),
    "margin": (0.5, 1.0),
    "number": (-2.5, 3.0),
    "negation": (-2.0, 3.0),
    "names": (-1.0, 3.0),
    "opposite": (-2.5, 3.0),
}
PRIOR_MEAN: Vector = np.array([_PRIOR.get(name, (0.0, 1.0))[0] for name in FEATURES])
PRIOR_PRECISION: Vector = np.array([_PRIOR.get(name, (0.0, 1.0))[1] for name in FEATURES])
_TEMPERATURE = 0.04


@dataclass(frozen=True, slots=True)
class Candidate:
    """The answer that may be served.

    Attributes:
        query: the nearest indexed question that has it.
        similarity: the cosine to that question.
        second: the nearest question of the next best answer, if there is one.
        features: in the order of `FEATURES`.
    """

    query: IndexedQuery
    similarity: float
    second: IndexedQuery | None
    features: Vector

    @property
    def guarded(self) -> bool:
        """Whether a number, a negation or an opposite word forbids serving it."""
        return any(self.features[guard] >= 1.0 for guard in GUARDS)


class JudgedAnswers(Protocol):
    """What judges found about answers: `askonce.semantic.decision.state.RuleState`."""

    def group(self, query: IndexedQuery) -> bytes:
        """The group of a question's answer."""

    def equals(self, group: bytes) -> int:
        """How many further questions were found to have an answer of a group."""

    def record(self, group: bytes) -> tuple[int, int]:
        """How often answers of a group were judged right and wrong."""


def candidate(text: str, neighbours: Sequence[Neighbour], judged: JudgedAnswers) -> Candidate:
    """The most likely answer among the neighbours.

    Args:
        text: of the question.
        neighbours: the nearest indexed questions, at least one, nearest first.
        judged: what judges found about their answers.
    """
    neighbours = neighbours[:NEIGHBOURS]
    nearest = neighbours[0].similarity
    grouped = [(judged.group(neighbour.query), neighbour) for neighbour in neighbours]
    weights: dict[bytes, float] = {}
    for group, neighbour in grouped:
        weights[group] = weights.get(group, 0.0) + math.exp((neighbour.similarity - nearest) / _TEMPERATURE)
    best = max(weights, key=weights.__getitem__)
    mine = [neighbour for group, neighbour in grouped if group == best]
    others = [neighbour for group, neighbour in grouped if group != best]
    share, equals = weights[best] / sum(weights.values()), mine[0].aliases + judged.equals(best)
    around = _Around(mine, others, share, neighbours[-1].similarity, len(weights), equals)
    return Candidate(
        mine[0].query,
        mine[0].similarity,
        others[0].query if others else None,
        np.array(_features(text, around, judged.record(best))),
    )


@dataclass(frozen=True, slots=True)
class _Around:
    """The neighbours of a question, by whether they have an answer of the candidate's group."""

    mine: list[Neighbour]
    others: list[Neighbour]
    weight: float
    last: float
    answers: int
    equals: int


def _features(text: str, around: _Around, record: tuple[int, int]) -> tuple[float, ...]:
    mine, others, last = around.mine, around.others, around.last
    similarity, equals = mine[0].similarity, around.equals
    other = others[0].similarity if others else last - 0.05
    right, wrong = record
    texts = [neighbour.query.text for neighbour in mine]
    new, indexed = read(text), [read(one) for one in texts]
    language = language_of(text, *texts)
    new_reading, readings = reading(text, language), [reading(one, language) for one in texts]
    nearest = indexed[0]
    content = max(1, len(new.content))
    heard = frozenset().union(*(words.content for words in indexed))
    foreign = (overlap(new.content, read(neighbour.query.text).content) for neighbour in others)
    return (
        1.0,
        (similarity - 0.85) * 10,
        max(similarity - 0.93, 0.0) * 20,
        max(-1.5, min(3.0, (similarity - other) * 10)),
        0.5 * math.log((around.weight + 0.03) / (1.03 - around.weight)),
        len(mine) / (len(mine) + len(others)) * 2 - 1,
        0.5 * math.log(max(1, equals)),
        math.log((right + 1.5) / (wrong + 1.0)),
        2 * overlap(new.all, nearest.all),
        2 * max(overlap(new.content, words.content) for words in indexed[:3]),
        _other_numbers(new_reading.quantities, [one.quantities for one in readings]),
        float(new_reading.negations % 2 not in [one.negations % 2 for one in readings]),
        _differs(new.names, [words.names for words in indexed]),
        float(new.question != nearest.question),
        (last - 0.7) * 5,
        _three_nearest(mine),
        abs(math.log((new.length + 1) / (nearest.length + 1))),
        2 * len(new.content - heard) / content,
        2 * max(foreign, default=0.0),
        min(len(nearest.content - new.content), 4) / 2,
        float(equals <= 1),
        around.answers / 5,
        float(opposed(new_reading, readings) or all(in_other_language(text, one) for one in texts)),
    )


def _differs(new: frozenset[str], indexed: list[frozenset[str]]) -> float:
    """1 when no near question of the candidate has the same; less when these differ, so that it hardly matters."""
    return 0.0 if new in indexed else 0.4 if len({words for words in indexed if words}) > 1 else 1.0


def _other_numbers(new: frozenset[str], indexed: list[frozenset[str]]) -> float:
    """As `_differs`; 1 also when these differ, but all that have numbers share some that the new one lacks."""
    differs = _differs(new, indexed)
    with_numbers = [numbers for numbers in indexed if numbers]
    if differs and with_numbers and not frozenset.intersection(*with_numbers) <= new:
        return 1.0
    return differs


def _three_nearest(mine: list[Neighbour]) -> float:
    if len(mine) < 3:
        return (mine[-1].similarity - 0.85) * 10 - 0.5
    return (sum(neighbour.similarity for neighbour in mine[:3]) / 3 - 0.85) * 10
