"""A thread for what must not keep a request waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("askonce")


class Background:
    """Runs a step each time it is woken, and also after a pause if one is given. Begins when first woken.

    Args:
        name: of the thread.
        step: what it does; what it raises is logged.
        every_seconds: the pause.
    """

    def __init__(self, name: str, step: Callable[[], None], every_seconds: float | None = None) -> None:
        self._name, self._step, self._every_seconds = name, step, every_seconds
        self._lock = threading.Condition()
        self._wanted = self._done = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Have the step run soon."""
        self.begin()
        with self._lock:
            self._wanted += 1
            self._lock.notify_all()

    def begin(self) -> None:
        """Have the step run after each pause, if it does not yet."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until all that was wanted before this call is done; returns whether it is."""
        with self._lock:
            wanted = self._wanted
            return self._lock.wait_for(lambda: self._done >= wanted or self._closed, seconds)

    def close(self, seconds: float) -> None:
        """End the thread; a step that is running may take so long."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._lock.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closed or self._wanted > self._done, self._every_seconds)
                if self._closed:
                    return
                wanted = self._wanted
            try:
                self._step()
            except Exception:
                logger.warning("askonce: %s failed", self._name, exc_info=True)
            with self._lock:
                self._done = wanted
                self._lock.notify_all()
