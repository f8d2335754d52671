"""The changes of a corpus, from its change log: values and decisions only.

Each change is an event in the log of the corpus: ``+`` (documents were added, so any retrieval may have another
result), ``~`` (the same, with their vectors, so only what is near them may: see ``askonce.provenance.additions``),
``-`` with the ids of changed or deleted documents, or ``*`` (any document may have changed). An entry has the
position in the log up to which it is valid; it stays valid as long as no later event concerns it. A log begins with
an ``*``, before anything is cached: so a missing log means that it was lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from askonce.entries.entry import Source
from askonce.provenance import additions
from askonce.provenance.additions import ADDED, Additions
from askonce.stores.base import LogPage
from askonce.stores.fork import fork_lock

_MOST_IDS = 50_000
"""Beyond so many changed documents the oldest changes are dropped, and entries as old count as outdated."""

ANYTHING = b"*"
"""Documents were changed or deleted, without their ids."""


def changed(ids: Sequence[str]) -> bytes:
    """The event for documents that were changed or deleted."""
    return b"-" + msgspec.msgpack.encode(list(ids))


class Changes:
    """The changes of one corpus, as far as its log was read. Thread-safe.

    Attributes:
        position: the sequence of the last event that was read; 0 when there is no log.
    """

    def __init__(self) -> None:
        self.position = 0
        self._lock = fork_lock()
        self._head = 0
        self._known_from = 0  # earlier changes are not known
        self._added_at = 0
        self._additions = Additions()
        self._changed_at: dict[str, int] = {}  # in the order of the sequences

    def learn(self, after: int, page: LogPage) -> bool:
        """Add a page that was read after a position; returns whether there is more to read."""
        with self._lock:
            if page.head < after:  # the log was lost, and begins again
                self.position = self._head = self._known_from = self._added_at = 0
                self._additions = Additions()
                self._changed_at.clear()
                return True
            self._head = max(self._head, page.head)
            if after == self.position and (page.truncated or not after):  # there may have been an earlier log
                self._known_from = page.events[0][0] - 1 if page.events else page.head
                self.position = max(self.position, self._known_from)
            for sequence, event in page.events:
                if sequence > self.position:  # another thread may have read on meanwhile
                    self._apply(sequence, event)
                    self.position = sequence
            return bool(page.events) and page.events[-1][0] < page.head

    def _apply(self, sequence: int, event: bytes) -> None:
        if event == ADDED:
            self._added_at = sequence
            return
        if (rows := additions.vectors(event)) is not None:
            self._additions.add(sequence, rows)
            return
        try:
            if not event.startswith(b"-"):
                raise msgspec.ValidationError("any document, or an event of a newer kind")
            ids = msgspec.msgpack.decode(event[1:], type=list[str])
        except msgspec.MsgspecError:
            self._known_from = sequence  # it may concern anything
            return
        for one in ids:
            self._changed_at.pop(one, None)
            self._changed_at[one] = sequence
        while len(self._changed_at) > _MOST_IDS:
            self._known_from = self._changed_at.pop(next(iter(self._changed_at)))

    def concern(self, source: Source) -> bool:
        """Whether a later change concerns what was found in, or made from, these documents."""
        with self._lock:
            if self._head > self.position:
                return True  # an event cannot be read yet: an earlier one is still being written
            if not self._known_from <= source.position <= self.position:
                return True  # older than the known changes, or of a log that was lost
            if source.whole and self._added_at > source.position:
                return True
            if source.whole and self._additions.concern(source.near, source.position):
                return True
            if source.any_change and self.position > source.position:
                return True
            return any(self._changed_at.get(one, 0) > source.position for one in source.ids)
