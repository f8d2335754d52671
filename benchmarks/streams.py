"""Streams of labelled questions: what a semantic cache is measured on.

Two questions deserve the same answer when their labels are equal. The questions and their embeddings
(all-MiniLM-L6-v2) are read from the folder that ``ASKONCE_DATA`` names, by default ``../shared/data``: BANKING77
(77 intents of a bank's customers, CC BY 4.0) and classes of duplicates among Quora's questions, most of which
are alone. Everything else is made from these: other notions of 'the same', noise on labels or embeddings, repeated
phrasings, and streams that change on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(os.environ.get("ASKONCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
_LISTED = 160
"""For every question this many nearest others are listed beforehand; seldom must all be searched."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def available() -> bool:
    """Whether the data is there."""
    return all((DATA / name).exists() for name in ("banking77.npz", "qqp.npz"))


@dataclass(eq=False)
class Pool:
    """Questions from which streams are drawn: texts, unit vectors, labels; for each question the nearest others."""

    texts: list[str]
    vectors: Floats
    labels: Ints

    def __post_init__(self) -> None:
        count = len(self.texts)
        listed = min(_LISTED, count - 1)
        self.nearest = np.empty((count, listed), np.int32)
        self.similarities = np.empty((count, listed), np.float32)
        for start in range(0, count, 1000):
            block = self.vectors[start : start + 1000] @ self.vectors.T
            rows = np.arange(len(block))
            block[rows, start + rows] = -2
            found = np.argpartition(-block, listed - 1, axis=1)[:, :listed]
            values = np.take_along_axis(block, found, 1)
            order = np.argsort(-values, axis=1)
            self.nearest[start : start + 1000] = np.take_along_axis(found, order, 1)
            self.similarities[start : start + 1000] = np.take_along_axis(values, order, 1)


@dataclass(frozen=True)
class Stream:
    """Requests: positions in a pool, and the label that each has here."""

    pool: Pool
    order: Ints
    labels: Ints


class Searched:
    """The questions of a stream that are stored so far, searched exactly."""

    def __init__(self, pool: Pool, capacity: int) -> None:
        self._pool = pool
        self._place = np.full(len(pool.texts), -1, np.int64)
        self._vectors = np.empty((capacity, pool.vectors.shape[1]), np.float32)
        self._count = 0

    def add(self, question: int) -> None:
        self._place[question] = self._count
        self._vectors[self._count] = self._pool.vectors[question]
        self._count += 1

    def nearest(self, question: int, count: int = 10) -> list[tuple[int, float]]:
        """The nearest stored questions, as (how many were stored before it, similarity), nearest first."""
        places = self._place[self._pool.nearest[question]]
        known = np.flatnonzero(places >= 0)[:count]
        if len(known) >= min(count, self._count):
            return list(zip(places[known].tolist(), self._pool.similarities[question][known].tolist(), strict=True))
        all_ = self._vectors[: self._count] @ self._pool.vectors[question]
        best = np.argpartition(-all_, count - 1)[:count] if self._count > count else np.arange(self._count)
        best = best[np.argsort(-all_[best])]
        return list(zip(best.tolist(), all_[best].tolist(), strict=True))


def _unit(vectors: Floats) -> Floats:
    normal: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normal


def load(name: str) -> tuple[list[str], Floats, Ints]:
    """Texts, unit vectors and labels of a data set."""
    arrays = np.load(DATA / f"{name}.npz")
    _, labels = np.unique(arrays["label"].astype(str), return_inverse=True)
    return [str(text) for text in arrays["text"]], arrays["emb"].astype(np.float32), labels.astype(np.int64)


@cache
def banking() -> Pool:
    """BANKING77."""
    return Pool(*load("banking77"))


@cache
def quora() -> Pool:
    """Quora's question pairs, as classes of duplicates."""
    return Pool(*load("qqp"))


@cache
def both() -> Pool:
    """BANKING77 first, then Quora."""
    one, other = load("banking77"), load("qqp")
    return Pool(
        one[0] + other[0],
        np.concatenate([one[1], other[1]]),
        np.concatenate([one[2], other[2] + len(set(one[2].tolist()))]),
    )


@cache
def blurred() -> Pool:
    """BANKING77 with noise on the embeddings."""
    texts, vectors, labels = load("banking77")
    noise = np.random.default_rng(1).normal(0, 0.35 / vectors.shape[1] ** 0.5, vectors.shape)
    return Pool(texts, _unit(vectors + noise.astype(np.float32)), labels)


@cache
def many() -> Pool:
    """BANKING77 as 154 intents farther apart, with noise of any size: questions as unlike as CLINC150's."""
    texts, vectors, labels = load("banking77")
    parts = labels.copy()
    for intent in range(77):
        members = np.flatnonzero(labels == intent)
        parts[members] = 2 * intent + _clusters(vectors[members], 2, intent)
    random, size = np.random.default_rng(5), vectors.shape[1]
    apart = random.normal(0, 0.15 / size**0.5, (154, size))[parts]
    noise = random.normal(0, 1 / size**0.5, vectors.shape) * random.uniform(0, 0.7, (len(texts), 1))
    return Pool(texts, _unit(vectors + (apart + noise).astype(np.float32)), parts)


@cache
def repeated() -> Pool:
    """BANKING77's questions, repeated again and again (Zipf), each time with a slight change."""
    texts, vectors, labels = load("banking77")
    random = np.random.default_rng(2)
    weights = 1 / np.arange(1, len(texts) + 1)
    chosen = random.permutation(len(texts))[random.choice(len(texts), 20_000, p=weights / weights.sum())]
    noise = random.normal(0, 0.25 / vectors.shape[1] ** 0.5, (len(chosen), vectors.shape[1]))
    changed = []
    for position in chosen:
        words = texts[position].split()
        if len(words) > 4 and random.random() < 0.5:
            del words[random.integers(len(words))]
        changed.append(" ".join(words))
    return Pool(changed, _unit(vectors[chosen] + noise.astype(np.float32)), labels[chosen])


def _clusters(points: Floats, count: int, seed: int) -> Ints:
    """k-means on the sphere."""
    random = np.random.default_rng(seed)
    centres = points[random.choice(len(points), count, replace=False)]
    for _ in range(25):
        nearest = np.argmax(points @ centres.T, 1)
        centres = _unit(
            np.vstack(
                [
                    points[nearest == k].sum(0) if (nearest == k).any() else points[random.integers(len(points))]
                    for k in range(count)
                ]
            )
        )
    return nearest


@cache
def _coarse() -> Ints:
    """For each of BANKING77's intents one of 20 groups of similar ones."""
    pool = banking()
    centres = np.vstack([pool.vectors[pool.labels == intent].mean(0) for intent in range(77)])
    return _clusters(_unit(centres), 20, 0)


@cache
def _fine() -> Ints:
    """For each of BANKING77's questions one of six parts of its intent."""
    pool = banking()
    labels = np.empty_like(pool.labels)
    for intent in range(77):
        members = np.flatnonzero(pool.labels == intent)
        labels[members] = intent * 6 + _clusters(pool.vectors[members], 6, intent)
    return labels


_ALONE = 10**6
"""Labels from here on stand for questions without a partner."""


def _drawn(pool: Pool, random: np.random.Generator, count: int) -> Stream:
    order = random.permutation(len(pool.texts))[:count]
    return Stream(pool, order, pool.labels[order])


def _noisy(pool: Pool, random: np.random.Generator, count: int, share: float) -> Stream:
    stream = _drawn(pool, random, count)
    labels = stream.labels.copy()
    hit = random.random(count) < share
    labels[hit] = _ALONE + np.arange(hit.sum())
    return Stream(pool, stream.order, labels)


def _popular(pool: Pool, random: np.random.Generator, count: int) -> Stream:
    """No question twice; the intents' popularity follows Zipf's law until one has no questions left."""
    intents = random.permutation(int(pool.labels.max()) + 1)
    left = [random.permutation(np.flatnonzero(pool.labels == intent)).tolist() for intent in intents]
    order = []
    for chance in random.random(count):
        weights = np.cumsum([bool(some) / rank for rank, some in enumerate(left, start=1)])
        order.append(left[int(np.searchsorted(weights, chance * weights[-1], side="right"))].pop())
    return Stream(pool, np.array(order), pool.labels[order])


def _broken(random: np.random.Generator) -> Stream:
    order = random.permutation(len(banking().texts))[:8000]
    labels = _coarse()[banking().labels[order]].copy()
    labels[4000:] = _ALONE + np.arange(4000)
    return Stream(banking(), order, labels)


def _harder(random: np.random.Generator) -> Stream:
    order = random.permutation(len(banking().texts))[:12_000]
    labels = _coarse()[banking().labels[order]].copy()
    labels[6000:] = 1000 + _fine()[order[6000:]]
    return Stream(banking(), order, labels)


def _topics(random: np.random.Generator) -> Stream:
    intents = random.permutation(77)
    blocks = [
        random.permutation(np.flatnonzero(np.isin(banking().labels, intents[start : start + 11])))[:1200]
        for start in range(0, 77, 11)
    ]
    order = np.concatenate(blocks)
    return Stream(banking(), order, banking().labels[order])


def _one_then_other(random: np.random.Generator) -> Stream:
    count = len(banking().texts)
    first = random.permutation(count)[:8000]
    second = count + random.permutation(len(both().texts) - count)[:12_000]
    order = np.concatenate([first, second])
    return Stream(both(), order, both().labels[order])


def _relabelled(labels: Callable[[], Ints]) -> Callable[[np.random.Generator], Stream]:
    def drawn(random: np.random.Generator) -> Stream:
        order = random.permutation(len(banking().texts))[:8000]
        return Stream(banking(), order, labels()[order])

    return drawn


STREAMS: dict[str, tuple[str, Callable[[np.random.Generator], Stream]]] = {
    "banking": ("BANKING77, 8,000 requests", lambda random: _drawn(banking(), random, 8000)),
    "quora": ("Quora classes, 23,165 requests", lambda random: _drawn(quora(), random, len(quora().texts))),
    "many": ("154 intents as unlike as CLINC150's, 8,000", lambda random: _drawn(many(), random, 8000)),
    "zipf": ("BANKING77, intents by Zipf(1.0), 4,000", lambda random: _popular(banking(), random, 4000)),
    "zipf-many": ("154 intents by Zipf(1.0), 4,000", lambda random: _popular(many(), random, 4000)),
    "blurred": ("BANKING77, noise on the embeddings", lambda random: _drawn(blurred(), random, 8000)),
    "noise": ("BANKING77, 3% of the answers differ", lambda random: _noisy(banking(), random, 8000, 0.03)),
    "repeated": ("the same phrasings again and again", lambda random: _drawn(repeated(), random, 10_000)),
    "repeated-noise": (
        "the same, 3% of the answers differ",
        lambda random: _noisy(repeated(), random, 10_000, 0.03),
    ),
    "coarse": ("BANKING77, 20 groups of intents", _relabelled(lambda: _coarse()[banking().labels])),
    "fine": ("BANKING77, each intent in 6 parts", _relabelled(_fine)),
    "mixed": ("BANKING77 and Quora mixed, 16,000", lambda random: _drawn(both(), random, 16_000)),
    "one-then-other": ("BANKING77, then 12,000 of Quora", _one_then_other),
    "topics": ("new intents every 1,200 requests", _topics),
    "harder": ("coarse groups, from the middle on fine parts", _harder),
    "break": ("from the middle on no question has a partner", _broken),
    "alone": (
        "no question ever has a partner",
        lambda random: Stream(banking(), random.permutation(len(banking().texts))[:8000], np.arange(8000)),
    ),
}


def stream(name: str, seed: int) -> Stream:
    """One order of a stream."""
    return STREAMS[name][1](np.random.default_rng(1000 + seed))
