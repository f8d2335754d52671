"""Which vectors are no embeddings: what a server gives that is not ready, or is not of the model."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection

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
