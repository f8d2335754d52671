"""Which vectors are no embeddings, or not of one model: a server was not ready, or has another by now."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Sized

NO_NUMBER = "the vector holds what is no number"


def oddity(numbers: array[float], lengths: Collection[int] = ()) -> str:
    """What is wrong with a vector; empty if nothing is known.

    Args:
        numbers: of the vector.
        lengths: those of all vectors of its batch.
    """
    if not math.isfinite(sum(numbers)):
        return NO_NUMBER
    if len(lengths) > 1:
        return "the vectors of one batch differ in length"
    return "" if not numbers or any(numbers) else "the vector is all zeros"


def lengths_of(vectors: Iterable[object]) -> set[int]:
    """The lengths of vectors; of what is none, or is empty, there is none."""
    return {length for one in vectors if isinstance(one, Sized) and (length := len(one))}


def are_mixed(stored: Iterable[int], fresh: Iterable[int] = ()) -> bool:
    """Whether stored vectors of a batch are of another model than its others: then all of it is requested anew.

    Args:
        stored: the lengths of those that were found.
        fresh: of those that the model gave.
    """
    found = set(stored)
    return bool(found) and len(found.union(fresh)) > 1
