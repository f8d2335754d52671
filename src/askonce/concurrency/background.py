"""Background work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from askonce.stores.fork import reset_after_fork

logger = logging.getLogger("askonce")


class BackgroundWorker:
    """Runs a step on a thread of its own each time it is woken, and also after a pause if one is given.

    The thread starts when it is first needed; after a fork, again when it is first needed.

    Args:
        name: the thread's name.
        step: what to do; what it raises is logged.
        every_seconds: the pause after which the step runs without being woken.
        delay_seconds: how long a step waits after `wake` for more to do; `wake(now=True)` cuts that short.

    Attributes:
        pending: a step is requested and has not begun: `wake` would change nothing.
    """

    def __init__(
        self, name: str, step: Callable[[], None], every_seconds: float | None = None, delay_seconds: float = 0.0
    ) -> None:
        self._name, self._step = name, step
        self._every_seconds, self._delay_seconds = every_seconds, delay_seconds
        self._closed = False
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Condition()
        self._requested = self._done = 0
        self._urgent = self.pending = False
        self._thread: threading.Thread | None = None

    def wake(self, *, now: bool = False) -> None:
        """Run the step soon, or ``now``."""
        self.begin()
        with self._lock:
            self._requested += 1
            self.pending = True
            self._urgent = self._urgent or now
            self._lock.notify_all()

    def begin(self) -> None:
        """Run the step after each pause, if it does not yet."""
        with self._lock:
            if self._thread is not None or self._closed:
                return
            self._thread = thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        # Without the lock: starting takes its time, and the worker may be closed meanwhile.
        thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until all steps requested before this call are done; returns whether they are."""
        if self._thread is threading.current_thread():
            return False  # a step would wait for itself
        with self._lock:
            requested, self._urgent = self._requested, True
            self._lock.notify_all()
            return self._lock.wait_for(lambda: self._done >= requested or self._closed, seconds)

    def close(self, seconds: float) -> None:
        """End the thread; a step that is running may take so long."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._lock.notify_all()
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(seconds)  # one that is only being started will end by itself

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closed or self._requested > self._done, self._every_seconds)
                if self._requested > self._done and self._delay_seconds:
                    self._lock.wait_for(lambda: self._closed or self._urgent, self._delay_seconds)
                if self._closed:
                    return
                requested, self._urgent, self.pending = self._requested, False, False
            try:
                self._step()
            except BaseException:  # also SystemExit: whoever waits for the next steps needs the thread
                logger.warning("askonce: %s failed", self._name, exc_info=True)
            with self._lock:
                self._done = requested
                self._lock.notify_all()
