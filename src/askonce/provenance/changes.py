"""What a process knows of the changes of a corpus, from its change log: values and decisions only.

Each change is an event in the log of the corpus: ``+`` (documents came, so that any retrieval may have another
result), ``~`` (the same, with their vectors, so that only what is near them may: see
``askonce.provenance.additions``), ``-`` with the ids of documents that are no longer what they were, or ``*`` (any
document may be another). What is kept carries the position in the log as of which it is true; it holds as long as
nothing after that position concerns it. A log begins with an ``*``, before anything is kept: no log, then, tells
that it was lost.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from askonce.entries.entry import Source
from askonce.provenance import additions
from askonce.provenance.additions import ADDED, Additions
from askonce.stores.base import LogPage

_MOST_IDS = 50_000
"""When more changed documents than this are known, the oldest changes are forgotten: what is as old is outdated."""

ANYTHING = b"*"
"""Documents were changed or deleted, and it is not known which."""


def changed(ids: Sequence[str]) -> bytes:
    """The event that tells of documents that were changed or deleted."""
    return b"-" + msgspec.msgpack.encode(list(ids))


class Changes:
    """The changes of one corpus, as far as its log was read. Thread-safe.

    Attributes:
        position: the sequence of the last event that is known; 0 when there is no log.
    """

    def __init__(self) -> None:
        self.position = 0
        self._lock = threading.Lock()
        self._head = 0
        self._known_from = 0  # what changed before is not known
        self._added_at = 0
        self._additions = Additions()
        self._changed_at: dict[str, int] = {}  # in the order of the sequences

    def learn(self, after: int, page: LogPage) -> bool:
        """Take in a page that was read after a position; returns whether there is more to read."""
        with self._lock:
            if page.head < after:  # the log was lost, and begins anew
                self.position = self._head = self._known_from = self._added_at = 0
                self._additions = Additions()
                self._changed_at.clear()
                return True
            self._head = max(self._head, page.head)
            if after == self.position and (page.truncated or not after):  # there may have been a log before
                self._known_from = page.events[0][0] - 1 if page.events else page.head
                self.position = max(self.position, self._known_from)
            for sequence, event in page.events:
                if sequence > self.position:  # another thread may have read on meanwhile
                    self._take_in(sequence, event)
                    self.position = sequence
            return bool(page.events) and page.events[-1][0] < page.head

    def _take_in(self, sequence: int, event: bytes) -> None:
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
        """Whether something that happened since concerns what was found in, or made from, these documents."""
        with self._lock:
            if self._head > self.position:
                return True  # an event is there that cannot be read yet: one before it is still being written
            if not self._known_from <= source.position <= self.position:
                return True  # from before what is known, or from beside a log that was lost
            if source.whole and self._added_at > source.position:
                return True
            if source.whole and self._additions.concern(source.near, source.position):
                return True
            if source.any_change and self.position > source.position:
                return True
            return any(self._changed_at.get(one, 0) > source.position for one in source.ids)
