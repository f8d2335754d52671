"""Single flight within a process: identical concurrent requests cause one call, and share its answer.

The first caller that joins a flight leads it. Waiters may be threads and tasks of any event loop. A flight is
resolved with an entry, which all waiters take, or with ``None`` when its leader failed; then the waiters join
again and one of them leads. Nobody waits without bound, or for what cannot come: see `SingleFlight.wait`.

LangChain's ``BaseCache`` does not show the call itself, only the lookup before it and the update after it;
`SingleFlight` describes how it detects that such a leader has disappeared.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from askonce.concurrency.flight import Flight
from askonce.concurrency.frames import is_task, running_greenlet
from askonce.concurrency.waits import WAITS, running_task
from askonce.entries.entry import Entry, Place
from askonce.stores.fork import reset_after_fork

if TYPE_CHECKING:  # in the functions that need it: with it, an import takes twice as long
    import asyncio

_FIRST_LOOK_SECONDS, _LOOK_EVERY_SECONDS = 0.05, 0.5
"""How soon, and then how often, a waiter checks whether the leader still exists and can go on."""
_SECONDS_PER_WAITER = 0.01
"""How much more seldom, for each that waits with it: a thousand on one event loop would do nothing else."""
Outcome = Literal["resolved", "lead", "alone"]
"""How a wait ended. ``resolved``: the flight has its result. ``lead``: the caller leads the flight now. ``alone``:
the caller calls the model for itself, and others go on waiting."""


def current_owner() -> threading.Thread | asyncio.Task[Any]:
    """The running task, or else the running thread."""
    return running_task() or threading.current_thread()


class SingleFlight:
    """The requests in progress in this process.

    A leader has disappeared when its task or thread has ended, or its stream was closed. The leader of a *stream*
    is considered gone when its reader has read nothing for a while; that of a *lookup* (whose call is not visible)
    when its thread has left the call, its task or thread looks up something else, or after a time.

    Args:
        lookup_seconds: that time.
        max_wait: how long others wait for a leader's call; then one of them leads.
        store: the name of the store in which the answers are.

    Attributes:
        not_awaited: how many callers did not wait to the end, since it was too far or would not have come.
    """

    def __init__(self, lookup_seconds: float, max_wait: float, store: str) -> None:
        self._lookup_seconds, self._max_wait, self._store = lookup_seconds, max_wait, store
        self.not_awaited = 0
        self.watched: dict[int, list[Flight]] = {}
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()
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
            flight = self._in_progress[place] = Flight(place, owner, time.monotonic(), self._store)
            return flight, True

    def watch(self, flight: Flight, group: str | None, call: FrameType | None = None) -> None:
        """Watch a flight whose leader does not report failures."""
        flight.kind, flight.group = "lookup", group
        if call is not None:
            flight.call = id(call), call.f_code  # not the frame, which would hold all its variables
        with self._lock:
            self.watched.setdefault(id(flight.owner), []).append(flight)
        owner: Any = flight.owner
        if is_task(owner):
            owner.add_done_callback(lambda task: self._ended(flight, task))

    def _ended(self, flight: Flight, task: asyncio.Task[Any]) -> None:
        if flight.owner is task:
            self.resolve(flight, None)

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
            self._in_progress.pop(flight.place, None)
        self._unwatch(flight)
        for wake in flight.wake:
            wake()
        flight.wake.clear()

    def _unwatch(self, flight: Flight) -> None:
        watched = self.watched.get(id(flight.owner))
        if watched is not None and flight in watched:
            watched.remove(flight)
            if not watched:
                self.watched.pop(id(flight.owner), None)

    def wait(self, flight: Flight, began: float) -> Outcome:
        """Block this thread until the flight is resolved, or the caller is to make the answer.

        The caller leads the flight in its leader's place when that takes longer than ``max_wait``, or when this
        pool's threads all wait while work is queued there. It computes for itself when the leader, over any number
        of steps, waits for the caller (see `askonce.concurrency.waits`), or after twice ``max_wait``.

        Args:
            flight: from `join`.
            began: when the caller began to wait for others, on the monotonic clock.
        """
        resolved = threading.Event()
        outcome = self._first_look(flight, resolved.set, blocks=True)
        if outcome is None:
            with WAITS.waiting(flight, blocks=True), self._waking(flight, resolved.set):
                for pause in self._pauses(flight):
                    if resolved.wait(pause) or (outcome := self._look(flight, began, blocks=True)) is not None:
                        break
        return outcome or "resolved"

    async def await_result(self, flight: Flight, began: float) -> Outcome:
        """Asynchronous `wait`."""
        import asyncio

        loop, resolved = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the waiter's loop is closed
                loop.call_soon_threadsafe(resolved.set)

        outcome = self._first_look(flight, wake, blocks=False)
        if outcome is None:
            with WAITS.waiting(flight, blocks=False), self._waking(flight, wake):
                for pause in self._pauses(flight):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await resolved.wait()
                    if flight.resolved or (outcome := self._look(flight, began, blocks=False)) is not None:
                        break
        return outcome or "resolved"

    def _first_look(self, flight: Flight, wake: Callable[[], object], *, blocks: bool) -> Outcome | None:
        """How a wait ends at once; ``None``: it does not, and ``wake`` is called when the flight is resolved."""
        if WAITS.closes_a_circle(flight, blocks=blocks):
            self.not_awaited += 1
            return "alone"
        with self._lock:
            if flight.resolved:
                return "resolved"
            flight.wake.append(wake)
        return None

    def _look(self, flight: Flight, began: float, *, blocks: bool) -> Outcome | None:
        """How a wait ends now; ``None``: it goes on."""
        if self.is_gone(flight):
            return "resolved"
        now = time.monotonic()
        outcome: Outcome | None = None
        if now - began >= 2 * self._max_wait or WAITS.closes_a_circle(flight, blocks=blocks):
            outcome = "alone"
        elif now - flight.started >= self._max_wait or (
            now - began >= _LOOK_EVERY_SECONDS and WAITS.leave_full_pool(flight)
        ):
            outcome = "lead" if self._take_over(flight) else "resolved"
        self.not_awaited += outcome in ("lead", "alone")
        return outcome

    def _pauses(self, flight: Flight) -> Iterator[float]:
        """How long a waiter waits before each look at a flight; never beyond the end of its leader's time."""
        pause = _FIRST_LOOK_SECONDS
        while True:
            limit = min(self._max_wait, self._lookup_seconds) if flight.kind == "lookup" else self._max_wait
            left = flight.started + limit - time.monotonic()
            yield max(pause, min(len(flight.wake) * _SECONDS_PER_WAITER, left))
            pause = min(2 * pause, _LOOK_EVERY_SECONDS)

    def _take_over(self, flight: Flight) -> bool:
        """Lead a flight in its leader's place; the first of both who has an answer resolves it."""
        with self._lock:
            if flight.resolved:
                return False
            self._unwatch(flight)
            flight.owner, flight.thread = current_owner(), threading.current_thread()
            flight.greenlet = running_greenlet()
            flight.started = time.monotonic()
            flight.kind, flight.idle_since, flight.call = "call", None, None
            return True

    @contextlib.contextmanager
    def _waking(self, flight: Flight, wake: Callable[[], object]) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                flight.wake.remove(wake)
