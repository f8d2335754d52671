"""How often each key was requested lately, cached or not: a count-min sketch with aging.

The store has no counter for what it does not hold, so a frequently requested answer that was evicted or refused
would return as if it were new. This sketch counts all keys in a fixed megabyte per
process (Cormode and Muthukrishnan 2005; halved as in TinyLFU: Einziger, Friedman and Manes, ACM TOS 2017).
"""

from __future__ import annotations

from array import array

_ROWS = 4
_WIDTH = 1 << 17
_MOST = 0xFFFF
_HALVE_AFTER = 8 * _WIDTH


class FrequencySketch:
    """Counts requests by key: never too low except by the halving, and seldom too high.

    After a million requests all counts are halved, so that former popularity fades. Concurrent threads may lose a
    count, which does not justify a lock.
    """

    def __init__(self) -> None:
        self._rows = [array("H", bytes(2 * _WIDTH)) for _ in range(_ROWS)]
        self._count = 0

    def add(self, key: bytes, times: int = 1) -> None:
        """Count requests of a key, which is a digest: its bytes are as good as random."""
        places = self._places(key)
        count = min(self._rows[row][place] for row, place in enumerate(places)) + times
        count = min(count, _MOST)
        for row, place in zip(self._rows, places, strict=True):
            if row[place] < count:  # a larger one is shared with another key
                row[place] = count
        self._count += times
        if self._count >= _HALVE_AFTER:
            self._halve()

    def __getitem__(self, key: bytes) -> int:
        """How often a key was requested; 0 for never."""
        return min(self._rows[row][place] for row, place in enumerate(self._places(key)))

    @staticmethod
    def _places(key: bytes) -> tuple[int, ...]:
        bits = int.from_bytes(key[: _ROWS * 4], "little")
        return tuple((bits >> 32 * row) % _WIDTH for row in range(_ROWS))

    def _halve(self) -> None:
        self._rows = [array("H", (count >> 1 for count in row)) for row in self._rows]
        self._count //= 2
