"""Single flight within a process: identical concurrent requests cause one call, and share its answer.

The first caller that joins a flight leads it. Waiters may be threads and tasks of any event loop. A flight is
resolved with an entry, which all waiters take, or with ``None`` when its leader failed; then the waiters join
again and one of them leads.

LangChain's ``BaseCache`` does not show the call itself, only the lookup before it and the update after it;
`SingleFlight` describes how it detects that such a leader has disappeared.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from askonce.concurrency.background import reset_after_fork
from askonce.entries.entry import Entry, Place

if TYPE_CHECKING:  # in the functions that need it: with it, an import takes twice as long
    import asyncio

_LOOK_EVERY_SECONDS = 0.5
"""How often a waiter checks whether the leader still exists."""
_IDLE_SECONDS = 5.0
"""How long others wait for a stream whose reader reads nothing."""
_LONGEST_CALL_SECONDS = 600.0
"""The longest wait for one call."""


def current_owner() -> threading.Thread | asyncio.Task[Any]:
    """The running task, or else the running thread."""
    if "asyncio" in sys.modules:  # else no task is running
        import asyncio

        with contextlib.suppress(RuntimeError):
            if (task := asyncio.current_task()) is not None:
                return task
    return threading.current_thread()


class Flight(msgspec.Struct, eq=False):
    """One request in progress.

    Attributes:
        place: where the answer will be stored.
        owner: the leader.
        started: when, on the monotonic clock.
        kind: how it is detected that its leader has disappeared; see `SingleFlight`.
        idle_since: since when the reader of a stream has read nothing, on the monotonic clock.
        dropped: its reader has closed the stream.
        call: the call on the leader's thread that will produce the answer: its frame's id, and its code.
        group: the leader's lookups with an equal group belong to one batch; see `SingleFlight.abandoned`.
        entry: the result.
        attempt: the semantic lookup of the question, for the caller that updates.
    """

    place: Place
    owner: threading.Thread | asyncio.Task[Any]
    started: float
    kind: Literal["call", "stream", "lookup"] = "call"
    idle_since: float | None = None
    dropped: bool = False
    call: tuple[int, CodeType] | None = None
    group: str | None = None
    entry: Entry | None = None
    resolved: bool = False
    attempt: Any = None
    wake: list[Callable[[], object]] = msgspec.field(default_factory=list)

    def elapsed_seconds(self) -> float:
        """How long it has been in progress."""
        return time.monotonic() - self.started

    def leader_is_gone(self, lookup_seconds: float) -> bool:
        """Whether its leader has disappeared and will not resolve it."""
        if self.dropped:
            return True
        if self.elapsed_seconds() >= (lookup_seconds if self.kind == "lookup" else _LONGEST_CALL_SECONDS):
            return True
        if self.kind == "stream":  # it may move from thread to thread
            return self.idle_since is not None and time.monotonic() - self.idle_since >= _IDLE_SECONDS
        owner = self.owner
        if isinstance(owner, threading.Thread):
            return not owner.is_alive() or (self.call is not None and not _is_in(owner, self.call))
        return owner.done()


class SingleFlight:
    """The requests in progress in this process.

    A leader has disappeared when its task or thread has ended, or its stream was closed. The leader of a *stream*
    is considered gone when its reader has read nothing for a while; that of a *lookup* (whose call is not visible)
    when its thread has left the call, its task or thread looks up something else, or after a time.

    Args:
        lookup_seconds: that time.
    """

    def __init__(self, lookup_seconds: float) -> None:
        self._lookup_seconds = lookup_seconds
        self.watched: dict[int, list[Flight]] = {}
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._in_progress: dict[Place, Flight] = {}  # the parent's flights stay in the parent
        self._dropped: deque[Flight] = deque()
        self.watched.clear()  # by the owner's id: flights whose leaders are watched

    def join(self, place: Place) -> tuple[Flight, bool]:
        """Join the flight of a place; returns it, and whether the caller now leads it."""
        owner = current_owner()
        with self._lock:
            while self._dropped:
                self._resolve(self._dropped.popleft(), None)
            flight = self._in_progress.get(place)
            if flight is not None:
                if flight.owner is not owner and not flight.leader_is_gone(self._lookup_seconds):
                    return flight, False
                self._resolve(
                    flight, None
                )  # also if its own leader joins again: waiters then wait for the new flight
            flight = self._in_progress[place] = Flight(place, owner, time.monotonic())
            return flight, True

    def watch(self, flight: Flight, group: str | None, call: FrameType | None = None) -> None:
        """Watch a flight whose leader does not report failures."""
        flight.kind, flight.group = "lookup", group
        if call is not None:
            flight.call = id(call), call.f_code  # not the frame, which would hold all its variables
        with self._lock:
            self.watched.setdefault(id(flight.owner), []).append(flight)
        if not isinstance(flight.owner, threading.Thread):
            flight.owner.add_done_callback(lambda _: self.resolve(flight, None))

    def drop(self, flight: Flight) -> None:
        """Record that the reader of a stream has closed it: the next check resolves it.

        Takes no lock. The garbage collector closes streams too, at any moment of any thread, also while that thread
        holds the locks of this module or of a store.
        """
        flight.dropped = True
        self._dropped.append(flight)

    def is_gone(self, flight: Flight) -> bool:
        """Whether a flight's leader has disappeared; then it is resolved with ``None``."""
        if flight.leader_is_gone(self._lookup_seconds):
            self.resolve(flight, None)
        return flight.resolved

    def leading(self) -> bool:
        """Whether the running task or thread leads a watched flight."""
        return id(current_owner()) in self.watched

    def abandoned(self, group: str | None) -> list[Flight]:
        """Resolve the flights that the running task or thread has evidently abandoned, since it looks up again.

        Flights of the same ``group`` stay: a completion model looks up a whole batch before it calls.
        """
        owner = current_owner()
        with self._lock:
            watched = self.watched.get(id(owner), ())
            abandoned = [flight for flight in watched if group is None or flight.group != group]
            for flight in abandoned:
                self._resolve(flight, None)
        return abandoned

    def owned(self, place: Place) -> Flight | None:
        """The flight of a place, if the running task or thread leads it."""
        flight = self._in_progress.get(place)
        return flight if flight is not None and flight.owner is current_owner() else None

    def resolve(self, flight: Flight, entry: Entry | None) -> None:
        """End a flight and wake its waiters. Resolving twice does nothing."""
        with self._lock:
            self._resolve(flight, entry)

    def _resolve(self, flight: Flight, entry: Entry | None) -> None:
        if flight.resolved:
            return
        flight.resolved, flight.entry = True, entry
        if self._in_progress.get(flight.place) is flight:
            del self._in_progress[flight.place]
        watched = self.watched.get(id(flight.owner))
        if watched is not None and flight in watched:
            watched.remove(flight)
            if not watched:
                del self.watched[id(flight.owner)]
        for wake in flight.wake:
            wake()
        flight.wake.clear()

    def wait(self, flight: Flight) -> Entry | None:
        """Block this thread until the flight is resolved or its leader has disappeared."""
        if _runs_here(flight.owner):
            return None  # a task of the loop of this very thread: waiting would block it
        resolved = threading.Event()
        if self._call_when_resolved(flight, resolved.set):
            while not resolved.wait(_LOOK_EVERY_SECONDS):
                self.is_gone(flight)
        return flight.entry

    async def await_result(self, flight: Flight) -> Entry | None:
        """Asynchronous `wait`."""
        import asyncio

        loop = asyncio.get_running_loop()
        resolved = asyncio.Event()
        if self._call_when_resolved(flight, lambda: _call_on(loop, resolved.set)):
            while not flight.resolved:
                try:
                    async with asyncio.timeout(_LOOK_EVERY_SECONDS):
                        await resolved.wait()
                except TimeoutError:
                    self.is_gone(flight)
        return flight.entry

    def _call_when_resolved(self, flight: Flight, wake: Callable[[], object]) -> bool:
        with self._lock:
            if not flight.resolved:
                flight.wake.append(wake)
            return not flight.resolved


def _is_in(thread: threading.Thread, call: tuple[int, CodeType]) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if (id(frame), frame.f_code) == call:
            return True
        frame = frame.f_back
    return False


def _call_on(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the waiter's loop is closed
        loop.call_soon_threadsafe(function)


def _runs_here(owner: threading.Thread | asyncio.Task[Any]) -> bool:
    if isinstance(owner, threading.Thread):
        return False
    import asyncio

    try:
        return owner.get_loop() is asyncio.get_running_loop()
    except RuntimeError:
        return False
