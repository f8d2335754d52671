"""How often each key was asked for lately, kept or not: a count-min sketch that forgets.

What is not in the store has no counter there, so that an answer which is asked for often, but was pushed out or
refused, would come back as if it were new. This sketch remembers its frequency in a fixed megabyte for each
process (Cormode and Muthukrishnan 2005; halved as in TinyLFU: Einziger, Friedman and Manes, ACM TOS 2017).
"""

from __future__ import annotations

from array import array

_ROWS = 4
_WIDTH = 1 << 17
_MOST = 0xFFFF
_HALVE_AFTER = 8 * _WIDTH


class FrequencySketch:
    """Counts how often keys were seen: never too low but for the halving, and seldom too high.

    After a million sightings all counts are halved, so that what was popular once is forgotten. Threads may meet:
    then a sighting may be lost, which is not worth a lock.
    """

    def __init__(self) -> None:
        self._rows = [array("H", bytes(2 * _WIDTH)) for _ in range(_ROWS)]
        self._seen = 0

    def add(self, key: bytes, times: int = 1) -> None:
        """Count sightings of a key, which is a digest: its bytes are as good as random."""
        places = self._places(key)
        count = min(self._rows[row][place] for row, place in enumerate(places)) + times
        count = min(count, _MOST)
        for row, place in zip(self._rows, places, strict=True):
            if row[place] < count:  # a larger one is shared with another key
                row[place] = count
        self._seen += times
        if self._seen >= _HALVE_AFTER:
            self._halve()

    def __getitem__(self, key: bytes) -> int:
        """How often a key was seen; 0 for never."""
        return min(self._rows[row][place] for row, place in enumerate(self._places(key)))

    @staticmethod
    def _places(key: bytes) -> tuple[int, ...]:
        bits = int.from_bytes(key[: _ROWS * 4], "little")
        return tuple((bits >> 32 * row) % _WIDTH for row in range(_ROWS))

    def _halve(self) -> None:
        self._rows = [array("H", (count >> 1 for count in row)) for row in self._rows]
        self._seen //= 2
