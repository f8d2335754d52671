"""What happens in a cache, as values, and how it reaches those who count, log and listen: off the hot path.

A request appends an event to a queue and goes on. A background thread takes the queue apart within a second: it
counts (`askonce.stats`), reports hits to the store, appends to the access log, and calls the application's
listener. Whoever needs the counts now (`Cache.stats`) takes it apart at once.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from askonce.concurrency.background import BackgroundWorker
from askonce.entries.entry import Entry, HitKind, MissReason, NotStoredReason, Place, RequestKind
from askonce.keys.normal_form import NormalForm
from askonce.stores.fork import reset_after_fork

logger = logging.getLogger("askonce")

EventType = Literal["hit", "miss", "bypassed", "stored", "not_stored", "audited"]
AuditOutcome = Literal["same", "different"]

_FLUSH_AT = 512
_FLUSH_SECONDS = 1.0


class CacheEvent(msgspec.Struct, frozen=True):
    """Something that happened to a request.

    Attributes:
        type: what happened: ``hit`` (answered from the cache), ``miss`` (the model is called), ``bypassed`` (not
            looked up, not stored), ``stored`` or ``not_stored`` (what became of a fresh answer), ``audited`` (a hit
            was compared with a new search).
        kind: what is requested, such as ``answer``.
        model: the model that was called, if known.
        at: seconds since the epoch.
        place: where the answer is stored (of a semantic hit, the other question's); ``None`` if it cannot be.
        reason: of a hit its kind, of a miss or an answer that was not stored the reason, of an audit its outcome,
            else ``None``.
        entry: the entry of the answer, where there is one; of an answer that was not stored what it would be.
        age_seconds: of a hit, how old the answer is.
        size_bytes: of an answer that was made, the size of its stored value.
        evicted: of a stored answer, how many entries were evicted for it.
        instead_of_miss: this hit answers a request that was reported as a miss: the model failed, and a stale
            answer stands in.
        form: makes the request's normal form; ``None`` if it has none.
        tenants: the names of the namespaces in effect, the outer one first.
        tags: the tags in effect.
        instead_of_hit: this miss is of a request that was reported as a hit of that kind: what was found does not
            go with the rest of its batch.
        is_large: of a stored answer, the form takes much time and memory.
    """

    type: EventType
    kind: RequestKind
    model: str | None
    at: float
    place: Place | None = None
    reason: HitKind | MissReason | NotStoredReason | AuditOutcome | None = None
    entry: Entry | None = None
    age_seconds: float = 0.0
    size_bytes: int | None = None
    evicted: int = 0
    instead_of_miss: bool = False
    form: Callable[[], NormalForm] | None = None
    tenants: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    instead_of_hit: HitKind | None = None
    is_large: bool = False


Consumer = Callable[[Sequence[CacheEvent]], None]
"""Takes in events, in order; fast, and without I/O."""


class EventQueue:
    """Events on their way to their listener.

    Args:
        consumers: take in each batch at once: whoever counts.
        flushes: called after a batch, on the background thread: what writes to the store and to files.
        listener: the application's; called on the background thread with one event at a time.
    """

    def __init__(
        self,
        consumers: Sequence[Consumer],
        flushes: Sequence[Callable[[], None]],
        listener: Callable[[CacheEvent], object] | None,
    ) -> None:
        self._consumers, self._flushes, self._listener = consumers, flushes, listener
        self._worker = BackgroundWorker("askonce-events", self._step, delay_seconds=_FLUSH_SECONDS)
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._events: deque[CacheEvent] = deque()  # what waited in the parent is the parent's
        self._heard: deque[CacheEvent] = deque()
        self._taking = threading.RLock()
        self._flushing = threading.RLock()  # the listener may flush or close its cache

    def emit(self, event: CacheEvent) -> None:
        """Append an event."""
        self._events.append(event)
        if not self._worker.pending:
            self._worker.wake()
        elif len(self._events) == _FLUSH_AT:
            self._worker.wake(now=True)

    def take(self) -> None:
        """Count what has happened until now."""
        with self._taking:
            batch = [self._events.popleft() for _ in range(len(self._events))]
            for consumer in self._consumers if batch else ():
                consumer(batch)
            if self._listener is not None:
                self._heard.extend(batch)

    def flush(self) -> None:
        """Count events, and pass them to the store, the log and the listener."""
        with self._flushing:
            self.take()
            for flush in self._flushes:
                flush()
            while self._listener is not None and self._heard:
                try:
                    self._listener(self._heard.popleft())
                except Exception:
                    logger.exception("askonce: the listener on_event raised an error")

    def close(self) -> None:
        """Flush, and end the thread."""
        self._worker.close(_FLUSH_SECONDS)
        self.flush()

    def _step(self) -> None:
        self.flush()
