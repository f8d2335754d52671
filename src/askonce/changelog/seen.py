"""The deltas that were counted."""

from __future__ import annotations

_WINDOW = 1024
_SOURCES = 1000


class Seen:
    """Per process the highest number of its deltas and a window of those before it. Not thread-safe.

    A delta from before the window counts as seen (the anti-replay window of RFC 4303, section 3.4.3).

    Args:
        stored: as returned by `stored`.
    """

    def __init__(self, stored: dict[bytes, tuple[int, bytes]] | None = None) -> None:
        self._seen = {source: (highest, int.from_bytes(bits)) for source, (highest, bits) in (stored or {}).items()}

    def add(self, source: bytes, number: int) -> bool:
        """Count a delta; returns whether it is new."""
        highest, bits = self._seen.get(source, (number - 1, 0))
        behind = highest - number
        if behind >= _WINDOW or (behind >= 0 and bits >> behind & 1):
            return False
        if behind < 0:
            bits = bits << -behind & (1 << _WINDOW) - 1 | 1 if -behind < _WINDOW else 1
        else:
            bits |= 1 << behind
        self._seen.pop(source, None)  # the dictionary is in order of activity
        self._seen[source] = (max(highest, number), bits)
        if len(self._seen) > _SOURCES:
            del self._seen[next(iter(self._seen))]
        return True

    def stored(self) -> dict[bytes, tuple[int, bytes]]:
        """As in a snapshot."""
        return {
            source: (highest, bits.to_bytes((bits.bit_length() + 7) // 8))
            for source, (highest, bits) in self._seen.items()
        }
