"""What is known, shared by all processes through a store, and durable.

Each process appends what it adds to a change log, and takes in what the others appended. Now and then one of them
puts a snapshot beside the log, from which a new process begins. All of that is done by a thread: no request waits.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable

import msgspec

from askonce.errors import StoreError
from askonce.routing.state import Batch, Knowledge, Outcome, Snapshot
from askonce.stores.base import Record, Store

logger = logging.getLogger("askonce")

_SYNC_SECONDS, _IDLE_SECONDS = 1.0, 10.0
_SNAPSHOT_EVERY_EVENTS = 256
_LEASE_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
_OPEN_SECONDS = 30 * 86400.0
_ACTIVE_SECONDS = 60.0
_SNAPSHOT_KEY = b"snapshot"


class Open(msgspec.Struct, frozen=True, array_like=True):
    """An answer whose outcome the application may tell: the regression that learns it, and the features."""

    learner: str
    x: bytes


class Shared:
    """Knowledge, with what this process adds to it on its way to the store. Thread-safe.

    Args:
        store: where it is shared; ``None`` to keep it in this process.
        namespace: its log and its snapshot.

    Attributes:
        known: the knowledge; to be read and added to under ``lock``.
        lock: guards ``known``.
        up: whether the store did what it was last asked.
    """

    def __init__(self, store: Store | None, namespace: str) -> None:
        self._store, self._namespace = store, namespace
        self.known = Knowledge()
        self._start_afresh()
        if store is not None:
            self.sync()

    def _start_afresh(self) -> None:
        self.lock = threading.RLock()
        self._pid = os.getpid()
        self._writer, self._number = uuid.uuid4().hex, 0
        self._sums: dict[str, float] = {}
        self._outcomes: list[Outcome] = []
        self._sent: list[Batch] = []  # cut, and not known to be in the log
        self._opened: dict[bytes, Open] = {}  # not yet in the store
        self._seen: dict[str, float] = {}  # other writers, and when they last wrote
        self._snapshot_at = self.known.position
        self._syncing = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self.up = True

    def notice_fork(self) -> None:
        """In a forked child, go on without what the parent has under way."""
        if self._pid != os.getpid():
            if self._store is not None:
                self.known = Knowledge()  # what the parent has not published will come from there
            self._start_afresh()
            self.sync()

    @property
    def writers(self) -> int:
        """How many processes added something lately, this one included."""
        recent = time.monotonic() - _ACTIVE_SECONDS
        return 1 + sum(seen > recent for seen in self._seen.values())

    # -- adding ------------------------------------------------------------------------------------------------

    def add(self, sums: dict[str, float], outcomes: Iterable[Outcome] = ()) -> None:
        """Add amounts and outcomes, here at once and in the store soon."""
        learned = list(outcomes)
        with self.lock:
            self.known.add(sums, learned)
            if self._store is None:
                return
            for name, amount in sums.items():
                self._sums[name] = self._sums.get(name, 0.0) + amount
            self._outcomes += learned
            self._start_thread()

    def open(self, key: bytes, learner: str, x: bytes) -> None:
        """Keep for 30 days that the outcome of an answer may be told."""
        with self.lock:
            self._opened[key] = Open(learner, x)
            self._start_thread()

    def _start_thread(self) -> None:
        if self._store is not None and (self._thread is None or not self._thread.is_alive()):
            self._ending.clear()  # it may have been closed before
            self._thread = threading.Thread(target=self._run, name="askonce-routing", daemon=True)
            self._thread.start()
        self._wake.set()

    def flush(self, key: bytes) -> Open | None:
        """Take out what was kept by `open`; of all who try, in all processes, one gets it.

        Raises:
            StoreError: the store failed.
        """
        self.notice_fork()
        with self.lock:
            found = self._opened.pop(key, None)
        if found is not None or self._store is None:
            return found
        data = self._store.get(self._open_namespace, key)
        if data is None or not self._store.delete(self._open_namespace, [key]):
            return None
        return msgspec.msgpack.decode(data, type=Open)

    @property
    def _open_namespace(self) -> str:
        return f"{self._namespace}/open"

    # -- with the store ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            asked = self._wake.wait(timeout=_IDLE_SECONDS)
            self._wake.clear()
            ending = self._ending.is_set()
            self.sync()
            if ending:
                return
            if asked:
                self._ending.wait(_SYNC_SECONDS)

    def sync(self) -> None:
        """Publish what was added, and take in what others added. A store that fails is tried again later."""
        if self._store is None:
            return
        with self._syncing:
            try:
                if self.known.position - self._snapshot_at >= _SNAPSHOT_EVERY_EVENTS:
                    self._save(self._store)
                else:
                    self._publish(self._store)
                self._read(self._store)
                self.up = True
            except StoreError as error:
                if self.up:
                    logger.warning("askonce: what the multiplexer learns is not shared for now: %s", error)
                self.up = False

    def _publish(self, store: Store, *, with_snapshot: bool = False) -> Snapshot | None:
        """Append what was added; the snapshot is as of just that."""
        with self.lock:
            if self._sums or self._outcomes:
                self._number += 1
                batch = Batch(self._writer, self._number, self._sums, self._outcomes)
                self._sums, self._outcomes = {}, []
                self.known.mark(batch)
                self._sent.append(batch)
            opened = dict(self._opened)
            snapshot = self.known.snapshot() if with_snapshot else None
        while self._sent:
            store.log_append(self._namespace, msgspec.msgpack.encode(self._sent[0]))
            del self._sent[0]
        if opened:
            ends = time.time() + _OPEN_SECONDS
            store.put(
                self._open_namespace,
                [Record(key, msgspec.msgpack.encode(one), expires_at=ends) for key, one in opened.items()],
            )
            with self.lock:
                settled = [key for key in opened if self._opened.pop(key, None) is None]
            if settled:  # meanwhile, from here
                store.delete(self._open_namespace, settled)
        return snapshot

    def _read(self, store: Store) -> None:
        if self.known.position == 0:
            self._load(store)
        while True:
            page = store.log_read(self._namespace, self.known.position)
            if page.truncated:
                self._load(store)
            with self.lock:
                if (
                    page.head < self.known.position
                ):  # the log was lost: batches tell by themselves whether they are new
                    self.known.position = self._snapshot_at = 0
                    continue
                for sequence, event in page.events:
                    if sequence > self.known.position:
                        self._take(event)
                        self.known.position = sequence
                more = bool(page.events) and page.events[-1][0] < page.head
            if not more:
                return

    def _take(self, event: bytes) -> None:
        try:
            batch = msgspec.msgpack.decode(event, type=Batch)
        except msgspec.MsgspecError:
            logger.warning("askonce: an outcome of a multiplexer in another format is passed over")
            return
        if self.known.take(batch):
            self._seen[batch.writer] = time.monotonic()

    def _load(self, store: Store) -> None:
        """Begin from the snapshot, if it is ahead; what this process has not published stays added."""
        data = store.get(self._namespace, _SNAPSHOT_KEY)
        if data is None:
            return
        try:
            snapshot = msgspec.msgpack.decode(data, type=Snapshot)
        except msgspec.MsgspecError:
            logger.warning("askonce: what a multiplexer learned is in another format and is learned anew")
            return
        if snapshot.position <= self.known.position:
            return
        with self.lock:
            self.known = Knowledge.of(snapshot)
            for batch in self._sent:
                self.known.take(batch)
            self.known.add(self._sums, self._outcomes)
            self._snapshot_at = snapshot.position

    def _save(self, store: Store) -> None:
        leads = store.lease(self._namespace, _SNAPSHOT_KEY, self._writer, _LEASE_SECONDS)
        snapshot = self._publish(store, with_snapshot=leads)
        if snapshot is not None:
            store.put(self._namespace, [Record(_SNAPSHOT_KEY, msgspec.msgpack.encode(snapshot))])
            store.release(self._namespace, _SNAPSHOT_KEY, self._writer)
        self._snapshot_at = self.known.position

    def close(self) -> None:
        """Publish what is left, and end the thread.

        The thread does it: where the garbage collector calls this, a lock of the store may be held by whoever is
        interrupted.
        """
        if self._pid != os.getpid():
            return
        self._ending.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_SECONDS)
