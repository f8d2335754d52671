"""The health of a store: which of its operations fail, what is left alone for how long, and what the log says."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

logger = logging.getLogger("askonce")

_FAILURES_TO_OPEN, _FAILURES_TO_LOG = 3, 2
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_RELAPSE_SECONDS = 60.0
"""Trouble that comes back within this time is the same trouble: pauses grow on, its end is logged later."""
_FIRST_CALM_SECONDS, _CALM_SECONDS = 5.0, 10.0
"""How long nothing fails before trouble is over; the second after a relapse. Within the latter, it is one line."""


_FAILING = "askonce: store %s is failing (%s); what fails is bypassed until it recovers"
_NOT_STORED = "askonce: store %s does not store answers (%s)"
_RECOVERED = "askonce: store %s has recovered"
_WRITES = frozenset(
    "put touch evict delete delete_tag clear lease release claim fulfil log_append vector_put vector_delete".split()
)


class Lane(NamedTuple):
    """What fails or works by itself.

    Attributes:
        operation: ``read`` for a lookup, or the name of another operation.
        part: the node of a cluster; empty for a store that is one.
    """

    operation: str
    part: str = ""

    @property
    def is_read(self) -> bool:
        """Whether it is lookups."""
        return self.operation == "read"

    @property
    def line(self) -> str:
        """What the log says of its failure alone."""
        return _NOT_STORED if self.operation in _WRITES else _FAILING


class _LaneHealth:
    """The failures of one lane."""

    def __init__(self) -> None:
        self.failures = 0
        self.pause = 0.0  # of the breaker, 0 while it is closed
        self.next_try = 0.0
        self.failed_at = self.opened_at = self.closed_at = float("-inf")
        self.last_pause = 0.0

    def open(self, now: float) -> None:
        """Open the breaker, or leave it open for longer."""
        import random  # here: few stores fail

        before = self.pause or (self.last_pause if now - self.closed_at < _RELAPSE_SECONDS else 0.0)
        self.pause = min(max(2 * before, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        self.opened_at = now
        self.next_try = now + self.pause * random.Random().uniform(0.8, 1.2)  # the application's own stays as it is

    def close(self, now: float) -> None:
        if self.pause:
            self.last_pause, self.closed_at = self.pause, now
        self.failures, self.pause = 0, 0.0


class _Story:
    """What the log is to say of a trouble: a line when it begins or gets worse, and one when it is over.

    Args:
        name: the store.

    Attributes:
        troubled_at: when a call failed last, or one was allowed again after failures.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.troubled_at = self._ended_at = float("-inf")
        self._began_at, self._calm_seconds = float("-inf"), 0.0
        self.line = ""  # the one that was logged; empty while all is well
        self._to_log: list[tuple[str, ...]] = []

    def begin(self, now: float, line: str, why: str) -> None:
        if self.line in ("", _NOT_STORED) and line != self.line:
            if not self.line:
                relapse = now - self._ended_at < _RELAPSE_SECONDS + self._calm_seconds
                self._calm_seconds = max(2 * self._calm_seconds, _CALM_SECONDS) if relapse else _FIRST_CALM_SECONDS
            elif now - self._began_at < _CALM_SECONDS:
                return  # if it stays worse, the next failure says so
            self.line, self._began_at = line, now
            self._to_log.append((line, self._name, why))

    def end(self, now: float) -> None:
        if self.line and now - self.troubled_at >= self._calm_seconds:
            self.line, self._ended_at = "", now
            self._to_log.append((_RECOVERED, self._name))

    def take(self) -> list[tuple[str, ...]]:
        """What is to be logged now: outside of any lock, since a handler may be slow, or call the cache."""
        lines, self._to_log = self._to_log, []
        return lines


class StoreHealth:
    """Counts failures in a row by lane, and decides whether the store may be called. Thread-safe, and reentrant.

    Args:
        name: the store, for the log.

    Attributes:
        errors: how many calls failed in all.
        is_troubled: something fails, or did a moment ago: successes are of interest.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.RLock()  # a signal's handler and finalizers may call the store, too
        self._lanes: dict[Lane, _LaneHealth] = {}
        self._story = _Story(name)
        self._aside: tuple[str, str] | None = None  # what else fails, logged when it is clear that reads do not
        self._trouble_began = float("-inf")
        self._reads_work = False  # in calls that began since then
        self._unexpected: set[str] = set()
        self.errors = 0
        self.is_troubled = False

    @property
    def state(self) -> Literal["closed", "open"]:
        """``open`` while the store, or a part of it, is not read."""
        return "open" if any(one.pause for lane, one in self._lanes.copy().items() if lane.is_read) else "closed"

    def allows(self, lane: Lane) -> bool:
        """Whether the store may be called now. While open, one caller is let through after each pause."""
        with self._lock:
            one, reads = self._lanes.get(lane), self._lanes.get(Lane("read", lane.part))
            now = time.monotonic()
            if reads is not None and reads is not one and reads.pause and now < reads.next_try:
                return False  # what cannot be read will not be written
            if one is None or not one.pause:
                return True
            if now < one.next_try:
                return False
            one.next_try = now + one.pause  # the next caller waits for this one's outcome
            return True

    def try_now(self) -> None:
        """Let the next caller through although a pause is not over: one that cannot come again later."""
        with self._lock:
            now = time.monotonic()
            for one in list(self._lanes.values()):
                one.next_try = min(one.next_try, now)

    def succeeded(self, lane: Lane, operation: str, began: float) -> None:
        """Record that the store answered a call that began then, while it `is_troubled`."""
        with self._recording():
            self._succeeded(lane, operation, began)

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Hold the lock, and log afterwards what is to be logged."""
        with self._lock:
            yield
            lines = self._story.take()
        for line in lines:
            logger.warning(*line)

    def _succeeded(self, lane: Lane, operation: str, began: float) -> None:
        now = time.monotonic()
        self._unexpected.discard(operation)
        if (one := self._lanes.get(lane)) is not None and one.failures:
            if one.pause:
                self._story.troubled_at = now
            if one.pause and lane.is_read:
                for other, health in list(self._lanes.items()):
                    if other.part == lane.part:  # what could not be written meanwhile may be, too
                        health.close(now)
            one.close(now)
        self._forget_old(now)
        self._reads_work = self._reads_work or (lane.is_read and began >= self._trouble_began)
        failing = {lane: health for lane, health in list(self._lanes.items()) if health.failures}
        if self._aside and self._reads_work:
            self._story.begin(now, *self._aside)
        if not any(health.pause or not one.is_read for one, health in failing.items()):
            self._aside = None
            self._story.end(now)
        self.is_troubled = bool(failing or self._story.line or self._unexpected)

    def failed(self, lane: Lane, error: Exception, began: float) -> None:
        """Record that it did not answer a call that began then (on the monotonic clock)."""
        text = error_text(error, self._name)
        with self._recording():
            self._failed(lane, text, began)

    def _failed(self, lane: Lane, text: str, began: float) -> None:
        now = time.monotonic()
        self.errors += 1
        if not self.is_troubled:
            self._trouble_began, self._reads_work = now, False
        self.is_troubled = True
        one = self._lanes.setdefault(lane, _LaneHealth())
        one.failures, one.failed_at = one.failures + 1, now
        self._story.troubled_at = now
        if lane.is_read:
            self._reads_work = False
        elif one.failures >= _FAILURES_TO_LOG:
            self._aside = lane.line, text
        was_open = bool(one.pause)
        if (not one.pause and one.failures < _FAILURES_TO_OPEN) or began <= one.opened_at:
            return  # or the call began before the breaker opened, and adds nothing
        one.open(now)
        reads_fail = any(other.is_read and health.failures for other, health in list(self._lanes.items()))
        if reads_fail or self._reads_work or was_open:  # else the next read shows which it is
            self._story.begin(now, _FAILING if reads_fail else lane.line, text)

    def unexpected(self, operation: str, error: Exception) -> None:
        """Log an error that is none of a store's, once until the operation succeeds."""
        if operation not in self._unexpected:
            self._unexpected.add(operation)
            logger.error("askonce: store %s raised an unexpected error", self._name, exc_info=error)

    def _forget_old(self, now: float) -> None:
        """Forget what nobody has tried for long, such as a node that is no more."""
        for lane, one in list(self._lanes.items()):
            if now - max(one.failed_at, one.closed_at, one.next_try) > _RELAPSE_SECONDS:
                self._lanes.pop(lane, None)


def error_text(error: Exception, store: str) -> str:
    """The text of an error, without the store's name before it; its kind if it has none."""
    return str(error).removeprefix(f"{store}: ") or (
        "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    )
