"""Single flight within a process: of many identical requests one is made, the others wait for its answer.

The leader of a flight is whoever boards first. Waiters may be threads and tasks of any event loop. A flight
lands with an entry, which all waiters take, or with nothing when its leader failed; then the waiters board anew
and one of them leads.

Through LangChain's ``BaseCache`` the call itself is not seen, only the look-up before it and the update after it;
`SingleFlight` says how such a leader is known to be gone.
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
"""How often a waiter looks whether the leader is still there."""
_IDLE_SECONDS = 5.0
"""Others wait no longer for a stream whose reader has not asked for more for so long."""
_LONGEST_CALL_SECONDS = 600.0
"""Nobody waits longer than this for one call."""


def current_owner() -> threading.Thread | asyncio.Task[Any]:
    """The running task, or else the running thread."""
    if "asyncio" in sys.modules:  # else no task runs
        import asyncio

        with contextlib.suppress(RuntimeError):
            if (task := asyncio.current_task()) is not None:
                return task
    return threading.current_thread()


class Flight(msgspec.Struct, eq=False):
    """One request under way.

    Attributes:
        place: where the answer will be stored.
        owner: the leader.
        started: when, on the monotonic clock.
        kind: how its leader is known to be gone; see `SingleFlight`.
        idle_since: since when the reader of a stream has not asked for more, on the monotonic clock.
        dropped: its reader has closed the stream.
        call: the call on the leader's thread that is to bring the answer: its frame's id, and its code.
        group: the leader's look-ups with an equal group belong to one batch; see `SingleFlight.abandoned`.
        entry: what it landed with.
        attempt: what is known of the meaning of the question, for whoever brings the answer.
    """

    place: Place
    owner: threading.Thread | asyncio.Task[Any]
    started: float
    kind: Literal["call", "stream", "look-up"] = "call"
    idle_since: float | None = None
    dropped: bool = False
    call: tuple[int, CodeType] | None = None
    group: str | None = None
    entry: Entry | None = None
    resolved: bool = False
    attempt: Any = None
    wake: list[Callable[[], object]] = msgspec.field(default_factory=list)

    def elapsed_seconds(self) -> float:
        """How long it has been under way."""
        return time.monotonic() - self.started

    def leader_is_gone(self, look_up_seconds: float) -> bool:
        """Whether nobody will land it any more."""
        if self.dropped:
            return True
        if self.elapsed_seconds() >= (look_up_seconds if self.kind == "look-up" else _LONGEST_CALL_SECONDS):
            return True
        if self.kind == "stream":  # it may go from thread to thread
            return self.idle_since is not None and time.monotonic() - self.idle_since >= _IDLE_SECONDS
        owner = self.owner
        if isinstance(owner, threading.Thread):
            return not owner.is_alive() or (self.call is not None and not _is_in(owner, self.call))
        return owner.done()


class SingleFlight:
    """The requests under way in this process.

    A leader is known to be gone when its task or thread has ended, or its stream was closed. A *stream*'s is
    taken to be gone when its reader has not asked for more for a while; a *look-up*'s (whose call is not seen)
    when its thread has left the call, its task or thread looks up something else, or after a time.

    Args:
        look_up_seconds: that time.
    """

    def __init__(self, look_up_seconds: float) -> None:
        self._look_up_seconds = look_up_seconds
        self.led: dict[int, list[Flight]] = {}
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[Place, Flight] = {}  # the parent's flights are made in the parent
        self._dropped: deque[Flight] = deque()
        self.led.clear()  # by the owner's id: flights that are led through look-ups

    def join(self, place: Place) -> tuple[Flight, bool]:
        """Join the flight of that name; returns it, and whether the caller now leads it."""
        owner = current_owner()
        with self._lock:
            while self._dropped:
                self._resolve(self._dropped.popleft(), None)
            flight = self._under_way.get(place)
            if flight is not None:
                if flight.owner is not owner and not flight.leader_is_gone(self._look_up_seconds):
                    return flight, False
                self._resolve(flight, None)  # by its own leader too: those who wait are to wait for the new one
            flight = self._under_way[place] = Flight(place, owner, time.monotonic())
            return flight, True

    def watch(self, flight: Flight, group: str | None, call: FrameType | None = None) -> None:
        """Remember a flight whose leader will say nothing if its call fails."""
        flight.kind, flight.group = "look-up", group
        if call is not None:
            flight.call = id(call), call.f_code  # not the frame, which would keep all its variables
        with self._lock:
            self.led.setdefault(id(flight.owner), []).append(flight)
        if not isinstance(flight.owner, threading.Thread):
            flight.owner.add_done_callback(lambda _: self.resolve(flight, None))

    def drop(self, flight: Flight) -> None:
        """Note that the reader of a stream has closed it: whoever looks next lands it.

        Takes no lock. The garbage collector closes streams too, at any moment of any thread, which may be one when
        that thread holds the locks of this module or of a store.
        """
        flight.dropped = True
        self._dropped.append(flight)

    def is_gone(self, flight: Flight) -> bool:
        """Whether a flight's leader is gone; then it has landed with nothing."""
        if flight.leader_is_gone(self._look_up_seconds):
            self.resolve(flight, None)
        return flight.resolved

    def leading(self) -> bool:
        """Whether the running one does."""
        return id(current_owner()) in self.led

    def abandoned(self, group: str | None) -> list[Flight]:
        """Land what the running task or thread led and has evidently given up, since it looks up anew.

        SingleFlight of the same ``group`` stay: a completion model looks up a whole batch before it calls.
        """
        owner = current_owner()
        with self._lock:
            led = self.led.get(id(owner), ())
            gone = [flight for flight in led if group is None or flight.group != group]
            for flight in gone:
                self._resolve(flight, None)
        return gone

    def owned(self, place: Place) -> Flight | None:
        """The flight of that name, if the running task or thread leads it."""
        flight = self._under_way.get(place)
        return flight if flight is not None and flight.owner is current_owner() else None

    def resolve(self, flight: Flight, entry: Entry | None) -> None:
        """End a flight and wake those who wait for it. Landing twice does nothing."""
        with self._lock:
            self._resolve(flight, entry)

    def _resolve(self, flight: Flight, entry: Entry | None) -> None:
        if flight.resolved:
            return
        flight.resolved, flight.entry = True, entry
        if self._under_way.get(flight.place) is flight:
            del self._under_way[flight.place]
        led = self.led.get(id(flight.owner))
        if led is not None and flight in led:
            led.remove(flight)
            if not led:
                del self.led[id(flight.owner)]
        for wake in flight.wake:
            wake()
        flight.wake.clear()

    def wait(self, flight: Flight) -> Entry | None:
        """Block this thread until the flight lands or its leader is gone."""
        if _runs_here(flight.owner):
            return None  # a task of the loop that this very thread runs: waiting would stop it
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
    with contextlib.suppress(RuntimeError):  # the waiter's loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function)


def _runs_here(owner: threading.Thread | asyncio.Task[Any]) -> bool:
    if isinstance(owner, threading.Thread):
        return False
    import asyncio

    try:
        return owner.get_loop() is asyncio.get_running_loop()
    except RuntimeError:
        return False
