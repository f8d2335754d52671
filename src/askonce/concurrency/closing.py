"""Closes what is no longer used.

The garbage collector runs within any statement of any thread, which may hold a lock that closing needs: of a store,
or of the very thing that is closed. Such a thread would wait for itself, and the collector would never run again.
So what is collected is closed on a thread of its own.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial

logger = logging.getLogger("askonce")

_LONGEST_SECONDS = 10.0


class Closing:
    """Closes something once: when this is called, when its owner is collected, or when the interpreter ends.

    Args:
        owner: whose end it is.
        close: closes it; must not refer to the owner.
        arguments: of ``close``.
    """

    def __init__(self, owner: object, close: Callable[..., object], *arguments: object) -> None:
        self._close = partial(close, *arguments)
        self._finalizer = weakref.finalize(owner, _collected, self._close)

    @property
    def is_done(self) -> bool:
        """Whether it is closed, or being closed."""
        return not self._finalizer.alive

    def __call__(self) -> None:
        if self.cancel():
            self._close()

    def cancel(self) -> bool:
        """Leave it to the caller, who closes it otherwise; returns whether it was still to be done."""
        return self._finalizer.detach() is not None


_threads: set[threading.Thread] = set()
_is_ending = False


def _collected(close: Callable[[], object]) -> None:
    if not _is_ending:
        thread = threading.Thread(target=_run, args=(close,), name="askonce-closing", daemon=True)
        _threads.add(thread)
        try:
            thread.start()
            return
        except RuntimeError:  # there can be no more threads
            _threads.discard(thread)
    _run(close)


def _run(close: Callable[[], object]) -> None:
    try:
        close()
    except Exception:
        logger.warning("askonce: closing what is no longer used failed", exc_info=True)
    finally:
        _threads.discard(threading.current_thread())


@atexit.register
def _end() -> None:
    """From here on nothing is interrupted: what is still open is closed by the thread that ends the interpreter."""
    global _is_ending
    _is_ending = True
    for thread in list(_threads):
        thread.join(_LONGEST_SECONDS)
