"""Added documents, as vectors: which cached retrievals they may affect.

A document belongs among the ``k`` nearest to a question if its cosine similarity to the question is at least that
of the last one found. So a retrieval is cached with the question's vector and that similarity (`Near`), an addition
is published with the vectors of its documents, and a retrieval stays valid if none of them is so near. This is
exact for an exact search; for an approximate index a margin compensates what it misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import msgspec

from askonce.entries.decodable import decodable
from askonce.entries.entry import Near
from askonce.errors import ConfigError, MissingExtraError

_EVENT_BYTES = 512_000
_HELD_BYTES = 8_000_000
_ROUNDING = 2**-11 + 2**-12
"""The error of a similarity: from numbers of 16 bits, and from lengths that are not quite one."""
_UNIT = 1e-4

Vectors = Sequence[Sequence[float]]


def _numpy() -> ModuleType:
    try:
        import numpy
    except ImportError as error:
        raise MissingExtraError("Matching additions by their embeddings", "semantic") from error
    return numpy


@decodable
class AddedVectors(msgspec.Struct, frozen=True, array_like=True):
    """The vectors of added documents, as a change log holds them.

    Attributes:
        length: of each.
        data: 16-bit floats, little-endian, each vector of length one.
    """

    length: int
    data: bytes


def added_vectors(embeddings: Vectors) -> AddedVectors | None:
    """Embeddings of added documents for a change log; ``None`` if they cannot or need not be compared: too many.

    Raises:
        ConfigError: they are not vectors of one length.
        MissingExtraError: numpy is not installed.
    """
    np = _numpy()
    try:
        rows = np.asarray(embeddings, np.float32)
    except (TypeError, ValueError) as error:
        raise ConfigError("embeddings is a list of vectors of one length, one for each document") from error
    if rows.ndim != 2 and rows.size:
        raise ConfigError("embeddings is a list of vectors of one length, one for each document")
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not rows.size or 2 * rows.size > _EVENT_BYTES or not (np.isfinite(lengths).all() and lengths.all()):
        return None
    return AddedVectors(rows.shape[1], (rows / lengths).astype("<f2").tobytes())


def rows_of(vectors: AddedVectors) -> Any:
    """Vectors as an array; ``None`` if they cannot be read here."""
    try:
        return _numpy().frombuffer(vectors.data, "<f2").reshape(-1, vectors.length).astype("f4")
    except (ValueError, MissingExtraError):
        return None


def similarity(question: Sequence[float], found: Vectors, *, cosine: bool) -> float | None:
    """The least cosine similarity of a question to what was found.

    Args:
        question: its vector.
        found: a vector for each document.
        cosine: the search was by cosine; otherwise all vectors must be of length one, where all measures
            agree.

    Returns:
        ``None`` if it does not limit what else would be found.
    """
    np = _numpy()
    target, rows = np.asarray(question, np.float32), np.asarray(found, np.float32)
    lengths = np.linalg.norm(rows, axis=-1) * np.linalg.norm(target)
    unit = abs(np.linalg.norm(target) - 1) < _UNIT and (abs(lengths - 1) < _UNIT).all()
    if rows.ndim != 2 or not rows.size or not (cosine or unit):
        return None
    return float((rows @ target / lengths).min())


def near(question: Sequence[float], least: float | None, margin: float) -> Near | None:
    """What is cached with a retrieval, so that not every addition invalidates it.

    Args:
        question: its vector.
        least: the cosine similarity of the last document that was found; ``None`` if that is not known.
        margin: how much less similar an added document may be and still count.
    """
    np = _numpy()
    target = np.asarray(question, np.float32)
    length = np.linalg.norm(target)
    if least is None or not np.isfinite(least) or not np.isfinite(length) or not length:
        return None
    return Near((target / length).astype("<f4").tobytes(), least - margin)


class Additions:
    """The vectors of documents that were added, in the order of the log. Not thread-safe.

    Attributes:
        known_from: what was added up to this sequence was dropped.
        last: the sequence of the last addition.
    """

    def __init__(self) -> None:
        self.known_from = self.last = 0
        self._count = 0
        self._sequences: Any = None
        self._rows: Any = None

    def add(self, sequence: int, rows: Any) -> None:
        """Add vectors; those of another length are dropped, and the older half when there are too many."""
        np = _numpy()
        self.last = sequence
        count, length = rows.shape
        if self._rows is None or self._rows.shape[1] != length:
            if self._count:
                self.known_from = int(self._sequences[self._count - 1])
            most = max(_HELD_BYTES // (4 * length), 2 * count)
            self._count, self._sequences = 0, np.empty(most, np.int64)
            self._rows = np.empty((most, length), np.float32)
        if self._count + count > len(self._rows):
            self._drop_first(self._count + count - len(self._rows) // 2)
        self._rows[self._count : self._count + count] = rows
        self._sequences[self._count : self._count + count] = sequence
        self._count += count

    def _drop_first(self, count: int) -> None:
        self.known_from = int(self._sequences[min(count, self._count) - 1])
        first = self._after(self.known_from)
        left = self._count - first
        self._rows[:left] = self._rows[first : self._count].copy()
        self._sequences[:left] = self._sequences[first : self._count].copy()
        self._count = left

    def _after(self, position: int) -> int:
        return int(self._sequences[: self._count].searchsorted(position, "right"))

    def concern(self, near: Near | None, position: int) -> bool:
        """Whether a document that was added after a position may be among the nearest to a question."""
        if self.known_from > position:
            return True
        first = 0 if self._rows is None else self._after(position)
        if first == self._count:
            return False
        if near is None or len(near.vector) != 4 * self._rows.shape[1]:
            return True
        target = _numpy().frombuffer(near.vector, "<f4")
        return not (self._rows[first : self._count] @ target).max() < near.least - _ROUNDING
