"""Writes of documents that are under way: announced before and after, under a lease in between.

If the process is killed in a write, its lease runs out, and whoever reads the change log next takes that for a
change of any document. A thread renews the leases of open writes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from askonce.concurrency.background import BackgroundWorker
from askonce.errors import StoreError
from askonce.provenance.changes import Change, batches
from askonce.provenance.corpora import Corpora
from askonce.stores.base import Store
from askonce.stores.fork import reset_after_fork

WRITE_LEASE_SECONDS = 10.0
_ROUNDS_PER_LEASE = 4


class Call(Protocol):
    """Calls a method of the store by its name.

    Raises:
        StoreError: the store failed.
    """

    async def __call__(self, operation: str, *args: Any) -> Any: ...


class Write:
    """A write of documents.

    Args:
        corpus: the namespace of the change log.
        ids: the documents that will be changed or deleted; ``None``: any may be.

    Attributes:
        name: 16 random bytes, by which its begin, its end and its lease belong together.
    """

    def __init__(self, corpus: str, ids: Sequence[str] | None) -> None:
        self.corpus, self.ids = corpus, ids
        self.name = os.urandom(16)

    def begins(self) -> Iterator[Change]:
        """The changes that announce it."""
        first, *others = [None] if self.ids is None else batches(self.ids)
        yield Change(first, begins=self.name)
        yield from map(Change, others)


class Writes:
    """The open writes of this process through one cache.

    Args:
        store: where the change logs are.
        corpora: writes them.
        lease_seconds: how long a lease lasts without being renewed.
    """

    def __init__(self, store: Store, corpora: Corpora, lease_seconds: float) -> None:
        self._store, self._corpora, self._seconds = store, corpora, lease_seconds
        self._renewing = BackgroundWorker(
            "askonce-writes", self._renew_all, delay_seconds=lease_seconds / _ROUNDS_PER_LEASE
        )
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[int, Write] = {}  # those of the parent are the parent's to renew

    async def begin(self, call: Call, corpus: str, ids: Sequence[str] | None) -> Write:
        """Announce a write, before it is done.

        Args:
            call: of the store.
            corpus: the namespace of the change log.
            ids: the documents that will be changed or deleted; ``None``: any may be.

        Raises:
            StoreError: the store failed, so nothing may be written.
        """
        write = Write(corpus, ids)
        while True:
            began = time.monotonic()
            await call("lease", corpus, write.name, write.name.hex(), self._seconds)
            for change in write.begins():
                await call("log_append", corpus, self._corpora.event(corpus, change))
            if time.monotonic() - began < self._seconds / 2:
                break
            # The process was suspended, or the store is slow: what is found meanwhile is stored and outdated.
            if await call("lease", corpus, write.name, write.name.hex(), self._seconds):
                break
            write.name = os.urandom(16)
        with self._lock:
            self._open[id(write)] = write
        self._renewing.wake()
        return write

    async def end(self, call: Call, write: Write, change: Change) -> None:
        """Announce that a write has ended, also if it failed half way, and what it did.

        Raises:
            StoreError: the store failed. Then the lease runs out, as if the process had been killed.
        """
        self.drop(write)  # the name stays what it is from here on
        *others, last = [None] if change.ids is None else batches(change.ids)
        ended = Change(last, change.added, change.vectors, ends=write.name, states=change.states)
        for one in (*(Change(some) for some in others), ended):
            await call("log_append", write.corpus, self._corpora.event(write.corpus, one))

    def drop(self, write: Write) -> None:
        """Renew the lease of a write no longer."""
        with self._lock:
            self._open.pop(id(write), None)

    def close(self) -> None:
        """End the thread."""
        self._renewing.close(0.0)

    def _renew_all(self) -> None:
        with self._lock:
            writes = list(self._open.values())
        for write in writes:
            with contextlib.suppress(StoreError):
                self._renew(write)
        if self._open:
            self._renewing.wake()

    def _renew(self, write: Write) -> None:
        name = write.name
        if self._store.lease(write.corpus, name, name.hex(), self._seconds):
            return
        # It ran out, and readers have stored what they found since: begin again.
        again = Write(write.corpus, write.ids)
        self._store.lease(again.corpus, again.name, again.name.hex(), self._seconds)
        for change in again.begins():
            self._store.log_append(again.corpus, self._corpora.event(again.corpus, change))
        with self._lock:
            is_open = id(write) in self._open
            if is_open:
                write.name = again.name
        if not is_open:  # it ended meanwhile
            ended = Change(ends=again.name)
            self._store.log_append(again.corpus, self._corpora.event(again.corpus, ended))
