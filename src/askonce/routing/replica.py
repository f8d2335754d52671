"""The routing state, shared by all processes through a cache's store, and durable. No request waits for that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import msgspec

from askonce.changelog.follower import Follower
from askonce.changelog.journal import Journal
from askonce.concurrency.background import BackgroundWorker
from askonce.entries.codec import Codec
from askonce.entries.decodable import decodable
from askonce.errors import CodecError, StoreUnavailable
from askonce.routing.state import AnswerOutcome, RoutingDelta, RoutingSnapshot, RoutingState
from askonce.stores.base import Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.stores.fork import reset_after_fork

_SYNC_SECONDS, _IDLE_SECONDS = 1.0, 10.0
_SNAPSHOT_AFTER = 256
_CLOSE_SECONDS = 5.0
_OPEN_SECONDS = 30 * 86400.0
_ACTIVE_SECONDS = 60.0


@decodable
class OpenAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer on which the application may give feedback: the regression that learns it, and the features."""

    learner: str
    x: bytes


class SharedRouting:
    """The state of a router, with what this process adds to it on its way to the store. Thread-safe.

    Args:
        breaker: the store's; ``None`` for a state of this process alone.
        codec: seals what is shared.
        namespace: its log and its snapshot.

    Attributes:
        state: sums and regressions.
    """

    def __init__(self, breaker: CircuitBreaker | None, codec: Codec, namespace: str) -> None:
        self._breaker, self._codec, self._namespace = breaker, codec, namespace
        self._journal = Journal(codec, self._open_namespace)
        self.state = RoutingState()
        self._start()
        reset_after_fork(self)

    def _start(self) -> None:
        self._opened: dict[bytes, OpenAnswer] = {}  # not yet in the store
        self._has_begun = False
        self._follower: Follower[RoutingDelta, RoutingSnapshot] | None = None
        if self._breaker is not None:
            self.state = RoutingState()
            self._follower = Follower(
                self._breaker, self._codec, self._namespace, self.state, snapshot_after=_SNAPSHOT_AFTER
            )
        self._start_worker()

    def _start_worker(self) -> None:
        self._worker = BackgroundWorker("askonce-routing", self.sync, _IDLE_SECONDS, _SYNC_SECONDS)

    def after_fork(self) -> None:
        self.state.after_fork()
        self._start()  # what the parent has not published will come from there

    def begin(self) -> None:
        """Read what was learned before, in a process that begins or was forked."""
        if not self._has_begun:
            self.sync()

    @property
    def processes(self) -> int:
        """How many processes added something lately, this one included."""
        return 1 + (self._follower.active_sources(_ACTIVE_SECONDS) if self._follower is not None else 0)

    @property
    def is_current(self) -> bool:
        """Whether the last call to the store succeeded."""
        return self._follower is None or self._follower.is_current

    # -- adding ------------------------------------------------------------------------------------------------

    def add(self, sums: dict[str, float], outcomes: Iterable[AnswerOutcome] = ()) -> None:
        """Add amounts and outcomes, here at once and in the store soon."""
        self.state.add(sums, outcomes, shared=self._follower is not None)
        if self._follower is not None:
            self._worker.wake()

    def open(self, key: bytes, learner: str, x: bytes) -> None:
        """Store for 30 days what feedback on an answer needs."""
        with self.state.lock:
            self._opened[key] = OpenAnswer(learner, x)
        self._worker.wake()

    def close_open(self, key: bytes) -> OpenAnswer | None:
        """Take out what `open` stored; of all who try, in all processes, one gets it.

        Raises:
            StoreError: the store failed.
        """
        with self.state.lock:
            found = self._opened.pop(key, None)
        if found is not None or self._breaker is None:
            return found
        store, namespace = self._breaker.store, self._open_namespace
        try:
            data = self._breaker.call(store.get, namespace, key)
            if data is None or not self._breaker.call(store.delete, namespace, [key]):
                return None
            return self._journal.read(data, OpenAnswer, key)
        except StoreDown as error:
            raise StoreUnavailable(f"{store.url} is failing: the feedback was not learned; try again") from error
        except CodecError:
            return None

    @property
    def _open_namespace(self) -> str:
        return f"{self._namespace}/open"

    # -- with the store ----------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Publish what was added, and apply what others added. A store that fails is tried again later."""
        self._has_begun = True
        if self._follower is not None and self._follower.step():
            with contextlib.suppress(StoreDown):
                self._publish_opened()

    def _publish_opened(self) -> None:
        with self.state.lock:
            opened = dict(self._opened)
        if not opened or self._breaker is None:
            return
        store, ends = self._breaker.store, time.time() + _OPEN_SECONDS
        records = [Record(key, self._journal.write(one, key), expires_at=ends) for key, one in opened.items()]
        self._breaker.call(store.put, self._open_namespace, records)
        with self.state.lock:
            closed = [key for key in opened if self._opened.pop(key, None) is None]
        if closed:  # meanwhile, from here
            self._breaker.call(store.delete, self._open_namespace, closed)

    def close(self) -> None:
        """Publish what is left, and end the thread until there is more."""
        if self._follower is not None and (self.state.has_news or self._opened):
            self._worker.wake(now=True)
        self._worker.flush(_CLOSE_SECONDS)
        self._worker.close(_CLOSE_SECONDS)
        self._start_worker()
