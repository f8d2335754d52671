"""The changes of a corpus, from its change log: values and decisions only.

An entry has the position in the log up to which it is valid; it stays valid as long as no later `Change` concerns
it. A log begins with a change of any document, before anything is cached: so a missing log means that it was lost.

A write of documents is a pair of changes: one when it begins, one when it has ended. Its documents count as changed
at both. What is found between them is not served until the write has ended; a write whose lease ran out is ended by
a reader, as a change of any document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from askonce.entries.decodable import decodable
from askonce.entries.entry import Source
from askonce.provenance.additions import AddedVectors, Additions, rows_of
from askonce.stores.fork import fork_lock

_MOST_IDS = 50_000
"""Beyond so many changed documents the oldest changes are dropped, and entries as old count as outdated."""
_IDS_IN_A_CHANGE = 1000


@decodable
class Change(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An event in the change log of a corpus.

    Attributes:
        ids: documents that were changed or deleted; ``None``: any may have been.
        added: documents were added, so that any retrieval may have another result.
        vectors: with ``added``, the vectors of all added documents: only retrievals near them may.
        begins: the write that begins with it, 16 bytes.
        ends: the write that ends with it.
        states: what collections of documents hold since then, by their places: digests of 16 bytes.
    """

    ids: tuple[str, ...] | None = ()
    added: bool = False
    vectors: AddedVectors | None = None
    begins: bytes = b""
    ends: bytes = b""
    states: dict[bytes, bytes] = {}


ANYTHING = Change(ids=None)
"""Documents were changed or deleted, without their ids."""


def batches(ids: Sequence[str]) -> list[tuple[str, ...]]:
    """Ids, as many as one change holds; at least one batch."""
    return [tuple(ids[begin : begin + _IDS_IN_A_CHANGE]) for begin in range(0, len(ids) or 1, _IDS_IN_A_CHANGE)]


def _is_new_or_same(known: bytes | None, found: bytes) -> bool:
    return known is None or known == found


class ChangesPage(msgspec.Struct, frozen=True):
    """A page of a change log (`askonce.stores.base.LogPage`), with its changes; ``None``: one cannot be read."""

    changes: list[tuple[int, Change | None]] = msgspec.field(default_factory=list)
    head: int = 0
    truncated: bool = False


class Changes:
    """The changes of one corpus, as far as its log was read. Thread-safe.

    Attributes:
        position: the sequence of the last change that was read; 0 when there is no log.
    """

    def __init__(self) -> None:
        self._lock = fork_lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.position = 0
        self._head = 0
        self._known_from = 0  # earlier changes are not known
        self._added_at = 0
        self._some_changed_at = 0
        self._additions = Additions()
        self._changed_at: dict[str, int] = {}  # in the order of the sequences
        self._open: dict[bytes, int] = {}
        self._states: dict[bytes, bytes] = {}
        self._is_whole = False  # the log was read from its beginning, so that all states are known

    @property
    def open_writes(self) -> tuple[bytes, ...]:
        """The writes that have begun and not ended."""
        return tuple(self._open) if self._open else ()

    def since(self, states: Mapping[bytes, bytes]) -> Change | None:
        """The change that brought collections, by their places, into the states that they were found in.

        ``None``: they are in the states that the log says. Where it says another, anything was written in between.
        """
        with self._lock:
            known = [self._states.get(place) for place in states]
            if known == [*states.values()]:
                return None
            are_new = self._is_whole and all(map(_is_new_or_same, known, states.values()))
            return Change(() if are_new else None, states={**states})

    def learn(self, after: int, page: ChangesPage) -> bool:
        """Add a page that was read after a position; returns whether there is more to read."""
        with self._lock:
            if page.head < after:  # the log was lost, and begins again
                self._begin_anew()
                return True
            self._head = max(self._head, page.head)
            if after == self.position and (page.truncated or not after):  # there may have been an earlier log
                self._known_from = page.changes[0][0] - 1 if page.changes else page.head
                self._is_whole = not page.truncated
                self.position = max(self.position, self._known_from)
            for sequence, change in page.changes:
                if sequence > self.position:  # another thread may have read on meanwhile
                    self._apply(sequence, ANYTHING if change is None else change)
                    self.position = sequence
            return bool(page.changes) and page.changes[-1][0] < page.head

    def _apply(self, sequence: int, change: Change) -> None:
        if change.begins:
            self._open[change.begins] = sequence
        self._open.pop(change.ends, None)
        self._states.update(change.states)
        if change.added:
            rows = None if change.vectors is None else rows_of(change.vectors)
            if rows is None:
                self._added_at = sequence
            else:
                self._additions.add(sequence, rows)
        if change.ids is None:
            self._known_from = sequence
            return
        for one in change.ids:
            self._changed_at.pop(one, None)
            self._changed_at[one] = self._some_changed_at = sequence
        while len(self._changed_at) > _MOST_IDS:
            self._known_from = self._changed_at.pop(next(iter(self._changed_at)))

    def are_known_to_concern(self, source: Source) -> bool:
        """Whether `concern` says so because of a change that was read."""
        with self._lock:
            can_be_read = self._head <= self.position and source.position <= self.position
        return can_be_read and self.concern(source)

    def concern(self, source: Source) -> bool:
        """Whether a later change concerns what was found in, or made from, these documents."""
        with self._lock:
            if self._head > self.position:
                return True  # an event cannot be read yet: an earlier one is still being written
            if not self._known_from <= source.position <= self.position:
                return True  # older than the known changes, or of a log that was lost
            if self._open and any(begun <= source.position for begun in list(self._open.values())):
                return True  # found while documents were being written
            if source.any_change and self._some_changed_at > source.position:
                return True
            if source.whole and self._may_find_added(source):
                return True
            return any(self._changed_at.get(one, 0) > source.position for one in source.ids)

    def _may_find_added(self, source: Source) -> bool:
        last = max(self._added_at, self._additions.last)
        if self._added_at > source.position or (source.any_change and last > source.position):
            return True
        return self._additions.concern(source.near, source.position)
