"""One view of questions and of what was learned, for all processes that use a store.

Each process keeps its own index and its own rule. What it adds it tells the others through a change log, about once
a second, and takes in what they told. A process that begins, or that was away for too long, starts from the
snapshot of the rule and from the entries themselves.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from askonce.entries.codec import Codec
from askonce.entries.entry import Entry
from askonce.errors import CodecError
from askonce.estimators.float16 import from_bytes
from askonce.semantic.decision.rule import Rule
from askonce.semantic.index import snapshot as index_file
from askonce.semantic.index.index import Index
from askonce.semantic.index.journal import Journal, Note, Snapshot
from askonce.semantic.types import IndexedQuery
from askonce.stores.base import LogPage, Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

logger = logging.getLogger("askonce")

_SNAPSHOT = b"snapshot"
_SNAPSHOT_AFTER_NOTES = 200
_LEASE_SECONDS = 30.0
_AT_ONCE = 100
"""How many entries are read in one round trip."""
_CHECKED_EACH_TIME, _CHECKED_PER_NEW = 32, 2
"""Of the known questions: however quickly they come, about as many as are kept are known and gone, not more."""
_SAVE_INDEX_FROM, _SAVE_INDEX_SECONDS = 2000, 600.0
"""A smaller index is quickly built from the entries."""
_TRY_AGAIN_SECONDS = 5.0

Read = Callable[[str, bytes, bytes], "Entry | None"]
"""An entry from its namespace, key and bytes, if it can be used and its question can be known here."""


class Loading:
    """The questions of one namespace on their way into the index."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.done = False
        self.try_after = 0.0


class Sharing:
    """Keeps an index and a rule in step with those of other processes. `step` is called by one thread at a time.

    Args:
        guard: the store's.
        codec: seals what is told.
        log: the namespace of the change log.
        file: where a large index is saved, so that the next process need not build it anew; ``None`` for nowhere.
        index: this process's; ``None`` if it has none, since the server searches.
        rule: this process's.
        read: see `Read`.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        codec: Codec,
        log: str,
        file: Path | None,
        index: Index | None,
        rule: Rule,
        read: Read,
    ) -> None:
        owner = os.urandom(8).hex()
        self._breaker, self._codec, self._log, self._file = breaker, codec, log, file
        self._journal = Journal(codec, log)
        self._index, self._rule, self._read, self._owner = index, rule, read, owner
        self._lock = threading.Lock()
        self._new = Note(owner, [], [], [])
        self._unsent: bytes | None = None
        self._came = 0  # questions since the last check
        self._closed = False
        self._position = -1  # of the last note that was taken in; -1 before the first snapshot was looked for
        self._since_snapshot = 0
        self._save_index_after = time.monotonic() + _SAVE_INDEX_SECONDS
        self._loading: dict[str, Loading] = {}

    # -- told by this process ----------------------------------------------------------------------------------

    def announce(self, namespace: str, key: bytes) -> None:
        """Tell of an entry whose question became known, or that is an alias now."""
        with self._lock:
            self._new.added.append((namespace, key))

    def discard(self, namespace: str, keys: Sequence[bytes]) -> None:
        """Forget questions whose entries are gone, with all that these answered, and tell of it."""
        if keys:
            self._drop(keys)
            with self._lock:
                self._new.removed.extend((namespace, key) for key in keys)

    def _drop(self, keys: Sequence[bytes]) -> None:
        if self._index is not None:
            self._index.remove(keys)
            for key in keys:
                self._index.remove_answer(key)
        self._rule.forget(keys)

    def clear(self, namespace: str) -> None:
        """Tell that a namespace was cleared."""
        with self._lock:
            self._new.cleared.append(namespace)

    def loading(self, namespace: str) -> Loading:
        """How far the questions of a namespace are known; the first call has them loaded by the next `step`."""
        with self._lock:
            loading = self._loading.setdefault(namespace, Loading())
        if self._closed:
            loading.over.set()
        return loading

    # -- in step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Tell what is new, take in what others told, and load what is wanted."""
        try:
            if self._position < 0:
                self._begin()
            self._send()
            self._follow()
            self._load()
            self._check()
            if self._since_snapshot >= _SNAPSHOT_AFTER_NOTES:
                self.save()
            if time.monotonic() >= self._save_index_after:
                self._save_index()
        except StoreDown:
            pass  # it is counted, and the next step tries again
        finally:
            self._give_up_loading()

    def close(self) -> None:
        """Tell what is new, and leave a snapshot if there is something to be remembered."""
        self._closed = True
        self._give_up_loading()
        try:
            if self._position < 0 and self._new:
                self._begin()
            if self._position >= 0:
                self._send()
                self._follow()
                if self._since_snapshot:
                    self.save()
                self._save_index()
        except StoreDown:
            logger.warning(
                "askonce: what was learned of questions since the last second is lost: the store is down"
            )

    def _begin(self) -> None:
        data = self._breaker.call(self._breaker.store.get, self._log, _SNAPSHOT)
        position = 0
        if data is not None:
            try:
                snapshot = self._journal.snapshot(data)
                self._rule.restore(snapshot.rule)
                position = snapshot.position
            except CodecError as error:
                logger.warning("askonce: what was learned of questions cannot be read, and begins anew: %s", error)
        complete = self._load_index()
        self._position = position if complete is None else min(position, complete)

    def _load_index(self) -> int | None:
        """Begin with the index that a process before left; returns up to where in the log it is complete."""
        if self._file is None or self._index is None or len(self._index):
            return None
        complete = index_file.load(self._index, self._file, name=self._log, codec=self._codec)
        if complete is None:
            return None
        page: LogPage = self._breaker.call(self._breaker.store.log_read, self._log, complete)
        for namespace in self._index.namespaces():
            if page.truncated or page.head < complete:  # of a store that was lost, or too long ago
                self._index.remove_namespace(namespace)
            else:
                self._loading.setdefault(namespace, Loading()).done = True
        return complete if len(self._index) else None

    def _take_new(self) -> bytes | None:
        """What is new, as a note that is to be sent."""
        with self._lock:
            note, self._new = self._new, Note(self._owner, [], [], [])
        note = Note(self._owner, note.added, note.removed, note.cleared, self._rule.share())
        return self._journal.write(note) if note else None

    def _send(self) -> None:
        for _ in range(2):  # what could not be sent before, and what is new
            self._unsent = self._unsent or self._take_new()
            if self._unsent is not None:
                self._breaker.call(self._breaker.store.log_append, self._log, self._unsent)
                self._unsent = None

    def _follow(self) -> None:
        while True:
            page: LogPage = self._breaker.call(self._breaker.store.log_read, self._log, self._position)
            if (page.truncated and self._position > 0) or page.head < self._position:
                self._start_again(page)
                continue
            for sequence, event in page.events:
                self._take_in(event)
                self._position = sequence
                self._since_snapshot += 1
            if not page.events or page.events[-1][0] >= page.head:
                return

    def _start_again(self, page: LogPage) -> None:
        """Notes were missed: begin as a new process does."""
        self._begin()
        oldest = page.events[0][0] - 1 if page.events else page.head
        if self._position < oldest or self._position > page.head:
            self._position = oldest
        with self._lock:
            for loading in self._loading.values():
                loading.done, loading.try_after = False, 0.0

    def _take_in(self, event: bytes) -> None:
        try:
            note = self._journal.note(event)
            if note.learned is not None:
                self._rule.merge(note.learned)
        except CodecError as error:
            logger.info("askonce: a note of another process cannot be read: %s", error)
            return
        self._came += len(note.added)
        if note.source == self._owner:
            return  # and what it had learned changed nothing
        if self._index is not None:
            for namespace in note.cleared:
                self._index.remove_namespace(namespace)
        self._drop([key for _, key in note.removed])
        added: dict[str, list[bytes]] = {}
        for namespace, key in note.added:
            added.setdefault(namespace, []).append(key)
        for namespace, keys in added.items():
            if namespace in self._loading and self._loading[namespace].done:
                self._fetch(namespace, keys)

    # -- the questions themselves ------------------------------------------------------------------------------

    def _load(self) -> None:
        for namespace, loading in list(self._loading.items()):
            if not loading.done and time.monotonic() >= loading.try_after:
                loading.try_after = time.monotonic() + _TRY_AGAIN_SECONDS
                for key, data in self._scan(namespace) if self._index is not None else ():
                    self._know(namespace, key, data)
                loading.done = True
                loading.over.set()

    def _scan(self, namespace: str) -> list[tuple[bytes, bytes]]:
        return self._breaker.call(lambda: list(self._breaker.store.scan(namespace)))

    def _give_up_loading(self) -> None:
        """Those who wait go on without; a later step tries again."""
        for loading in list(self._loading.values()):
            loading.over.set()

    def _fetch(self, namespace: str, keys: Sequence[bytes]) -> None:
        for key, data in self._values(namespace, keys):
            if data is not None:
                self._know(namespace, key, data)

    def _values(self, namespace: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        for begin in range(0, len(keys), _AT_ONCE):
            some = keys[begin : begin + _AT_ONCE]
            values = self._breaker.call(self._breaker.store.get_many, namespace, some)
            yield from zip(some, values, strict=True)

    def _know(self, namespace: str, key: bytes, data: bytes) -> None:
        entry = self._read(namespace, key, data)
        if self._index is not None and entry is not None and entry.meaning is not None:
            meaning = entry.meaning
            known = IndexedQuery(
                key, meaning.answer or key, namespace, meaning.partition, meaning.text, entry.fresh_until
            )
            self._index.add(known, from_bytes(meaning.vector))

    def _check(self) -> None:
        """See whether some of the known questions, and their answers, are still kept: the others leave."""
        if self._index is None:
            return
        many, self._came = _CHECKED_EACH_TIME + _CHECKED_PER_NEW * self._came, 0
        by_namespace: dict[str, dict[bytes, None]] = {}
        for known in self._index.patrol(many):
            by_namespace.setdefault(known.namespace, {}).update({known.key: None, known.answer: None})
        for namespace, keys in by_namespace.items():
            self.discard(namespace, [key for key, data in self._values(namespace, list(keys)) if data is None])

    # -- the snapshot ------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Leave a snapshot of the rule for processes to come, unless another process is doing so."""
        store = self._breaker.store
        if not self._breaker.call(store.lease, self._log, _SNAPSHOT, self._owner, _LEASE_SECONDS):
            self._since_snapshot = 0
            return
        snapshot = Snapshot(self._position, self._rule.snapshot())
        self._breaker.call(store.put, self._log, [Record(_SNAPSHOT, self._journal.write(snapshot))])
        self._since_snapshot = 0
        self._breaker.call(store.release, self._log, _SNAPSHOT, self._owner)

    def _save_index(self) -> None:
        """Leave the index in a file, if it is large and knows all questions of its namespaces."""
        self._save_index_after = time.monotonic() + _SAVE_INDEX_SECONDS
        if self._file is None or self._index is None or len(self._index) < _SAVE_INDEX_FROM:
            return
        if all(loading.done for loading in list(self._loading.values())):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            index_file.save(self._index, self._file, name=self._log, position=self._position, codec=self._codec)
