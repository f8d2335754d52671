"""Batches in pieces, so that no call of a store is a long one: functions of values only.

A piece lies in one part of the store (a node of a cluster), so that one that fails costs the others nothing. Each
is as long as the one before lets expect: about a twentieth of a second, whatever the store is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

PIECE_BYTES, PIECE_SECONDS = 1_000_000, 0.05
FIRST_ENTRIES, MOST_ENTRIES = 16, 256
_PAUSES = (0.25, 1.5)
"""Seconds after the first and the second failure in a row; a breaker stays open for less than the second."""


def by_part(keys: Sequence[bytes], part: Callable[[bytes], str]) -> dict[str, list[int]]:
    """Positions of keys, by the part of the store that holds them."""
    parts: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        parts.setdefault(part(key), []).append(position)
    return parts


def fitting(sizes: Sequence[int], most: int) -> int:
    """How many of the first entries of these sizes are a piece: one at least."""
    size_bytes = 0
    for count, one in enumerate(sizes[:most]):
        size_bytes += one
        if count and size_bytes > PIECE_BYTES:
            return count
    return min(len(sizes), most)


def next_length(length: int, size_bytes: int, seconds: float) -> int:
    """How many entries the next piece has, after so many of so many bytes took so long.

    Not fewer for the time alone than the first piece had: where a call takes long whatever it moves, short pieces
    take longest.
    """
    by_bytes = PIECE_BYTES * length // max(size_bytes, 1)
    by_time = max(int(length * PIECE_SECONDS / max(seconds, 1e-6)), FIRST_ENTRIES)
    return max(1, min(MOST_ENTRIES, 4 * length, by_bytes, by_time))


class Retry(NamedTuple):
    """How to go on after a piece failed.

    Attributes:
        length: how many entries the next piece has.
        pause: seconds before it.
    """

    length: int
    pause: float


def after_failure(start: int, length: int, failures: int) -> Retry | None:
    """How to go on after so many failures in a row at ``start``; ``None``: give the rest up.

    A store that took pieces before may have been slow for once, or twice; one that failed with the first is down.
    """
    if not start or failures > len(_PAUSES):
        return None
    return Retry(max(1, length // 4), _PAUSES[failures - 1])
