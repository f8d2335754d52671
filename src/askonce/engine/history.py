"""What became of the requests of this process that were no hits, for whoever wants to know why."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Container, Sequence
from typing import Literal

import msgspec

from askonce.engine.events import CacheEvent
from askonce.entries.entry import EntryKind, Place, Source
from askonce.keys.normal_form import NormalForm
from askonce.stores.fork import reset_after_fork
from askonce.totals.buckets import name_digest

_UNDER_WAY_SECONDS = 600.0
_MOST_TAGS, _MOST_OF_ALL = 10_000, 100
_MOST_PLACES, _MOST_DELETIONS, _MOST_FORMS = 10_000, 1_000, 20


class PastOutcome(msgspec.Struct, frozen=True):
    """Something that became of a request.

    Attributes:
        type: ``miss``, ``stored`` or ``not_stored``.
        reason: of a miss, or of an answer that was not stored.
        at: seconds since the epoch.
        fresh_until: of a stored answer, the end of its time to live; ``None`` for never.
        tags: of a stored answer.
        sources: of a stored answer, the documents that it was made from.
    """

    type: Literal["miss", "stored", "not_stored"]
    reason: str | None
    at: float
    fresh_until: float | None = None
    tags: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()


class StoredForm(msgspec.Struct, frozen=True):
    """Which request an answer was stored for.

    Attributes:
        place: where.
        kind: what was requested.
        make: makes its normal form; another one than then if what it is made from has changed.
    """

    place: Place
    kind: EntryKind
    make: Callable[[], NormalForm]

    def made(self) -> NormalForm | None:
        """Its normal form as it is made now; ``None`` if it cannot be."""
        try:
            return self.make()
        except Exception:
            return None


class Deletion(msgspec.Struct, frozen=True):
    """Entries that this process deleted.

    Attributes:
        namespace: of the entries.
        at: seconds since the epoch.
        tag: by which they were found; ``None``: not by a tag.
        key: of the one entry; ``None``: not one.
        within: of the namespaces within that one, too; which of their entries is not known.
        names: of an erasure, the digests of the names that were erased, if it was of a tag, a source or a tenant.
        moment: when, on the monotonic clock.
    """

    namespace: str
    at: float
    tag: str | None = None
    key: bytes | None = None
    within: bool = False
    names: tuple[bytes, ...] = ()
    moment: float = msgspec.field(default_factory=time.monotonic)

    def concerns(self, place: Place, tags: Container[str]) -> bool:
        """Whether an entry with these tags was deleted, if it was there."""
        inner = (f"{self.namespace}/", f"{self.namespace}:")
        if place.namespace != self.namespace and not (self.within and place.namespace.startswith(inner)):
            return False
        return self.key == place.key if self.key is not None else self.tag is None or self.tag in tags

    def names_one_of(self, tags: Collection[str]) -> bool:
        """Whether it is an erasure of one of these tags."""
        return bool(self.names) and any(name_digest("tag", tag) in self.names for tag in tags)

    def may_be_of(self, place: Place) -> bool:
        """Whether it may be of all, of a text, or of the tenant of a place."""
        return not self.names or "/" in place.namespace


class RequestHistory:
    """Remembers the newest outcomes of each place, in bounded memory. Thread-safe."""

    def __init__(self) -> None:
        self._places: OrderedDict[bytes, list[PastOutcome]] = OrderedDict()
        self._deletions: deque[Deletion] = deque(maxlen=_MOST_DELETIONS)
        self._by_tag: OrderedDict[tuple[str, str], float] = OrderedDict()  # the newest of each
        self._older_tags_at = float("-inf")
        self._of_all: deque[Deletion] = deque(maxlen=_MOST_OF_ALL)
        self._evicted_at: OrderedDict[str, float] = OrderedDict()
        self._forms: deque[StoredForm] = deque(maxlen=_MOST_FORMS)
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def take(self, events: Sequence[CacheEvent]) -> None:
        """Take in events."""
        with self._lock:
            for event in events:
                if event.type in ("miss", "stored", "not_stored") and event.place is not None:
                    self._add(event, event.place)

    def _add(self, event: CacheEvent, place: Place) -> None:
        entry = event.entry if event.type == "stored" else None
        outcome = PastOutcome(
            event.type,  # type: ignore[arg-type]
            event.reason,
            event.at,
            None if entry is None else entry.fresh_until,
            () if entry is None else entry.tags,
            () if entry is None else entry.sources,
        )
        before = self._places.pop(place.key, [])
        # The newest of each type.
        self._places[place.key] = [*(one for one in before if one.type != outcome.type), outcome]
        if len(self._places) > _MOST_PLACES:
            self._places.popitem(last=False)
        if entry is not None and event.form is not None and not event.is_large:
            self._forms.append(StoredForm(place, entry.kind, event.form))
        if event.evicted:
            self._evicted_at.pop(place.namespace, None)
            self._evicted_at[place.namespace] = event.at
            if len(self._evicted_at) > _MOST_DELETIONS:
                self._evicted_at.popitem(last=False)

    def deleted(self, deletion: Deletion) -> None:
        """This process deleted entries."""
        with self._lock:
            self._deletions.append(deletion)
            if deletion.tag is not None:
                name = deletion.namespace, deletion.tag
                self._by_tag.pop(name, None)
                self._by_tag[name] = deletion.moment
                if len(self._by_tag) > _MOST_TAGS:
                    _, self._older_tags_at = self._by_tag.popitem(last=False)
            elif deletion.key is None:
                self._of_all.append(deletion)

    def of(self, place: Place) -> list[PastOutcome]:
        """The newest miss, the newest that was stored and the newest that was not, oldest first."""
        with self._lock:
            return list(self._places.get(place.key, ()))

    def deletion_of(self, place: Place, stored: PastOutcome) -> Deletion | None:
        """How this process deleted an answer after it was stored."""
        with self._lock:
            after = [one for one in self._deletions if one.at >= stored.at and one.concerns(place, stored.tags)]
        return min(after, key=lambda one: one.within, default=None)

    def was_deleted(self, place: Place, tags: Container[str], since: float) -> bool:
        """Whether an entry with these tags would have been deleted since a moment of the monotonic clock."""
        if not self._deletions:
            return False
        with self._lock:
            newest_first = reversed(self._deletions)
            for one in newest_first:
                if one.moment < since:
                    return False
                if one.concerns(place, tags):
                    return True
            return len(self._deletions) == _MOST_DELETIONS  # older ones are forgotten

    def was_document_deleted(self, place: Place, tags: Collection[str], since: float) -> bool:
        """Whether a document with these tags was deleted since it was found, at a moment of the monotonic clock.

        By a tag of its own that is so whenever it was. What may concern all of a namespace (`clear`, an erasure of
        a text) counts for a while only, as long as answers that it concerns may be under way: a text that is found
        once, when a program starts, is of use after that.
        """
        if not self._deletions:
            return False
        lately = time.monotonic() - _UNDER_WAY_SECONDS
        with self._lock:
            by_tag = (self._by_tag.get((place.namespace, tag), float("-inf")) for tag in tags)
            if any(moment >= since for moment in by_tag) or self._older_tags_at >= max(since, lately):
                return True
            return any(
                one.names_one_of(tags) or (one.moment >= lately and one.may_be_of(place))
                for one in self._of_all
                if one.moment >= since and one.concerns(place, tags)
            )

    def evicted_since(self, namespace: str, at: float) -> bool:
        """Whether entries of a namespace were evicted for an answer of this process since then."""
        return self._evicted_at.get(namespace, float("-inf")) >= at

    def forms(self) -> list[StoredForm]:
        """The requests of the newest answers that were stored, newest first, without large ones."""
        with self._lock:
            return list(reversed(self._forms))
