"""The calls of threads."""

from __future__ import annotations

import gc
import sys
from types import FrameType


def current_frame(ident: int) -> FrameType | None:
    """The latest call of a thread; ``None`` if it has ended.

    No garbage is collected meanwhile: the interpreter holds a lock of its own, and a finalizer that gives way to
    another thread, which then starts or ends one, would stop the whole process (CPython's issue 106883).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames().get(ident)
    finally:
        if collects:
            gc.enable()
