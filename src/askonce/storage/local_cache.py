"""Entries found a moment ago, held in this process to save a read from the store."""

from __future__ import annotations

from askonce.entries.entry import Entry, Place


class LocalCache:
    """Holds decoded entries for a short time. Thread-safe.

    Args:
        seconds: for how long an entry is held after it was read from the store.
        entries: how many are held; the least recently used are evicted first.
    """

    def __init__(self, seconds: float, entries: int) -> None:
        import cachebox  # here: imported only where it is used

        self._seconds = seconds
        self._held: cachebox.LRUCache[Place, tuple[Entry, float]] = cachebox.LRUCache(entries)

    def get(self, place: Place, now: float) -> Entry | None:
        """The entry, if it is still held."""
        held = self._held.get(place)
        return held[0] if held is not None and now < held[1] else None

    def put(self, place: Place, entry: Entry, now: float) -> None:
        """Hold an entry that was read or written just now."""
        self._held[place] = (entry, now + self._seconds)

    def clear(self) -> None:
        """Drop all."""
        self._held.clear()
