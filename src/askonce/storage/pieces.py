"""Batches in pieces, so that no call of a store is a long one: functions of values only.

A piece lies in one part of the store (a node of a cluster), so that one that fails costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

PIECE_BYTES = 1_000_000
MOST_ENTRIES = 256
FIRST_ENTRIES = 16
"""How many are read first; by their lengths the next pieces are made."""


def by_part(keys: Sequence[bytes], part: Callable[[bytes], str]) -> dict[str, list[int]]:
    """Positions of keys, by the part of the store that holds them."""
    parts: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        parts.setdefault(part(key), []).append(position)
    return parts


def by_bytes(positions: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Positions in pieces of about `PIECE_BYTES`, one at least."""
    piece: list[int] = []
    size_bytes = 0
    for position in positions:
        if piece and (size_bytes + sizes[position] > PIECE_BYTES or len(piece) == MOST_ENTRIES):
            yield piece
            piece, size_bytes = [], 0
        piece.append(position)
        size_bytes += sizes[position]
    if piece:
        yield piece


def next_length(length: int, size_bytes: int) -> int:
    """How many entries to read next, after so many of so many bytes."""
    return max(1, min(MOST_ENTRIES, 4 * length, PIECE_BYTES * length // max(size_bytes, 1)))
