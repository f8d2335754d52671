"""One request in progress, and whether its leader is still there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from askonce.concurrency.frames import current_frame, is_task, running_greenlet
from askonce.entries.entry import Entry, Place

if TYPE_CHECKING:  # in the functions that need it: with it, an import takes twice as long
    import asyncio

_IDLE_SECONDS = 5.0
"""How long others wait for a stream whose reader reads nothing."""
_LONGEST_CALL_SECONDS = 600.0
"""For how long the lease of one call is renewed."""


class Flight(msgspec.Struct, eq=False):
    """One request in progress.

    Attributes:
        place: where the answer will be stored.
        owner: the leader.
        store: the name of the store.
        thread: the one in which it runs.
        greenlet: the one within it, where there are any: under gevent and eventlet each counts as a thread.
        awaited: flights that are waited for within the leader's call.
        started: when, on the monotonic clock.
        kind: how it is detected that its leader has disappeared; see `SingleFlight`.
        idle_since: since when the reader of a stream has read nothing, on the monotonic clock.
        dropped: its reader has closed the stream.
        call: the call on the leader's thread that will produce the answer: its frame's id, and its code.
        group: the leader's lookups with an equal group belong to one batch; see `SingleFlight.abandoned`.
        entry: the result.
        attempt: the semantic lookup of the question, for the caller that updates.
        driver: with what is left of the request's time for the store, for the same.
        stores: its answer is being stored, by which its lease ends: it is not renewed.
    """

    place: Place
    owner: threading.Thread | asyncio.Task[Any]
    started: float
    store: str
    thread: threading.Thread = msgspec.field(default_factory=threading.current_thread)
    greenlet: Any = msgspec.field(default_factory=running_greenlet)
    awaited: list[Flight] = msgspec.field(default_factory=list)
    kind: Literal["call", "stream", "lookup"] = "call"
    idle_since: float | None = None
    dropped: bool = False
    call: tuple[int, CodeType] | None = None
    group: str | None = None
    entry: Entry | None = None
    resolved: bool = False
    attempt: Any = None
    driver: Any = None
    stores: bool = False
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
        owner: Any = self.owner
        if is_task(owner):
            return bool(owner.done())
        if not self._is_alive(owner) or (self.greenlet is not None and self.greenlet.dead):
            return True
        return self.call is not None and not self._is_in(self.call)

    def _is_alive(self, thread: threading.Thread) -> bool:
        try:
            return thread.is_alive()
        except RuntimeError:  # of Python 3.13's, about one that it did not start: it has ended, or is a greenlet's
            return self.greenlet is not None

    def _is_in(self, call: tuple[int, CodeType]) -> bool:
        """Whether the leader's thread, or greenlet, is still in a call; also if that cannot be seen."""
        frame = getattr(self.greenlet, "gr_frame", None) or current_frame(self.thread.ident or 0)
        if frame is None:
            return True
        while frame is not None:
            if (id(frame), frame.f_code) == call:
                return True
            frame = frame.f_back
        return False
