"""What a forked child makes anew.

A fork copies the memory of all threads but only the thread that forked. So in the child the other threads do not
exist, and a lock that one of them held would never be released. The owner of a thread, a lock or a connection
registers with `reset_after_fork` and creates it again; a lock that guards nothing but whole steps is a `fork_lock`.

Locks are reentrant: the handler of a signal, or a finalizer, may call a cached model while its thread holds one.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol


class ForkAware(Protocol):
    """Owns a thread, a lock or a connection."""

    def after_fork(self) -> None:
        """Create it again in the child, without waiting."""


_fork_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def reset_after_fork(owner: ForkAware) -> None:
    """Call ``owner.after_fork()`` in each forked process, as long as the owner lives."""
    _fork_aware.add(owner)


def fork_lock() -> Any:
    """A lock that is free in a forked child."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def _reset_all() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()
    for owner in list(_fork_aware):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
