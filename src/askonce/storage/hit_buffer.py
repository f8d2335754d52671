"""Hits on their way to the store: collected, and flushed by a thread, so that a hit never waits for a write."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping

_FLUSH_AT = 512
_FLUSH_EVERY_SECONDS = 1.0


class HitBuffer:
    """Counts hits by namespace and key, and hands them over after a second, at 512 hits, or when closed.

    Args:
        flush: takes a namespace and the hits of its keys; must not raise.
        also: called after each flush, for what else is collected; must not raise.
    """

    def __init__(
        self, flush: Callable[[str, Mapping[bytes, int]], None], also: Callable[[], None] | None = None
    ) -> None:
        self._flush = flush
        self._also = also
        self._lock = threading.Condition()
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._hits: dict[str, dict[bytes, int]] = defaultdict(dict)
        self._count = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, namespace: str, key: bytes) -> None:
        """Count a hit."""
        self._notice_fork()
        with self._lock:
            hits = self._hits[namespace]
            hits[key] = hits.get(key, 0) + 1
            self._wake()

    def notify(self) -> None:
        """Something else was collected, to be flushed with the hits."""
        self._notice_fork()
        with self._lock:
            self._wake()

    def _wake(self) -> None:
        self._count += 1
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="askonce-hits", daemon=True)
            self._thread.start()
        elif self._count == 1 or self._count == _FLUSH_AT:
            self._lock.notify()

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():  # the thread, and what the lock guarded, stayed in the parent
            self._lock = threading.Condition()
            self._start_afresh()

    def flush(self) -> None:
        """Hand over what has been collected."""
        self._notice_fork()
        with self._lock:
            hits, self._hits, self._count = self._hits, defaultdict(dict), 0
        for namespace, counts in hits.items():
            self._flush(namespace, counts)
        if self._also is not None:
            self._also()

    def close(self) -> None:
        """Flush, and end the thread."""
        self._notice_fork()
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._lock.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=_FLUSH_EVERY_SECONDS)
        self.flush()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._count and not self._closed:
                    self._lock.wait()
                if not self._closed:
                    self._lock.wait_for(
                        lambda: self._closed or self._count >= _FLUSH_AT, timeout=_FLUSH_EVERY_SECONDS
                    )
                if self._closed:
                    return
            self.flush()
