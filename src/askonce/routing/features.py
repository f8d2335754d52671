"""Features of a request, as a vector: what it says, and its circumstances."""

from __future__ import annotations

import functools
import itertools
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from askonce.errors import MissingExtraError
from askonce.routing.types import RoutingRequest

if TYPE_CHECKING:
    from askonce.estimators.regression import Vector

HASHED, CIRCUMSTANCES = 256, 16
WIDEST = 512
"""What is learned grows with the square of the features: 1536 of them would take 10 MB and 60 ms for an outcome."""
SCORE = -1
"""Where the verifier's score of the answer stands, among the circumstances."""
_CONTENT_WEIGHT = 3.0
_WORD = re.compile(r"\w+")


def numpy() -> Any:
    """NumPy, which is imported when a strategy learns.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise MissingExtraError("the strategy Learned", "multiplexer") from error
    return numpy


def features(request: RoutingRequest, tags: Sequence[str], embedding: Sequence[float] | None) -> Vector:
    """The vector of a request.

    Args:
        request: the request.
        tags: of the task, as in ``with cache_options(tags=[…])``.
        embedding: of the question; ``None`` to hash its words, pairs of words and runs of three letters. A longer
            one is folded into 512 numbers, which nearly keeps the angles (Weinberger et al. 2009).
    """
    np = numpy()
    content = np.zeros(HASHED, np.float32)
    if embedding is None:
        for gram in _grams(request.question):
            place = zlib.crc32(gram.encode())
            content[place % HASHED] += 1 if place >> 31 else -1
    else:
        content = np.asarray(embedding, np.float32)
        if len(content) > WIDEST:
            places, signs = _sketch(len(content))
            content = np.bincount(places, signs * content, WIDEST).astype(np.float32)
    length = float(np.linalg.norm(content))
    if length:
        content = content * (_CONTENT_WEIGHT / length)
    circumstances = np.zeros(CIRCUMSTANCES, np.float32)
    circumstances[:4] = 1.0, math.log1p(request.characters) / 10, math.log1p(request.messages) / 2, request.tools
    for tag in tags:
        circumstances[4 + zlib.crc32(tag.encode()) % (CIRCUMSTANCES - 5)] = 1.0
    found: Vector = np.concatenate([content, circumstances])
    return found


@functools.cache
def _sketch(length: int) -> tuple[Any, Any]:
    """Where each number of an embedding is added, and with which sign."""
    np = numpy()
    hashes = np.array([zlib.crc32(str(at).encode()) for at in range(length)], np.uint32)
    return (hashes % WIDEST).astype(np.intp), np.where(hashes >> 31, 1.0, -1.0)


def with_score(x: Vector, score: float | None) -> Vector:
    """The features once the answer is there, and what the verifier thinks of it."""
    if score is None:
        return x
    seen = x.copy()
    share = min(max(score, 1e-4), 1 - 1e-4)
    seen[SCORE] = math.log(share / (1 - share)) / 2
    return seen


def _grams(question: str) -> Iterator[str]:
    words = _WORD.findall(question.lower())
    yield from words
    for first, second in itertools.pairwise(words):
        yield f"{first} {second}"
    for word in words:
        padded = f"<{word}>"
        for at in range(len(padded) - 2):
            yield padded[at : at + 3]
