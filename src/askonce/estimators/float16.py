"""Vectors as they are stored: 16-bit floating point, little-endian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


def to_bytes(vector: Vector) -> bytes:
    """The bytes of a vector of any length ``d``: ``2 d`` bytes."""
    return vector.astype("<f2").tobytes()


def from_bytes(data: bytes) -> Vector:
    """The vector of unit length in ``data``, float32."""
    vector = np.frombuffer(data, "<f2").astype(np.float32)
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
