"""Where blocking calls are forbidden on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def is_forbidden(error: BaseException) -> bool:
    """Whether a call was refused since it blocks the event loop: by ``blockbuster``, as in ``langgraph dev``."""
    return any(kind.__name__ == "BlockingError" for kind in type(error).__mro__)


def in_thread(operation: Callable[..., T], *args: Any) -> T:
    """Do something in a thread of its own, and wait for it.

    A synchronous call on the event loop holds the loop up wherever its work is done: so its caller chose.
    """
    outcome: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def work() -> None:
        try:
            outcome.put((operation(*args), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=work, name="askonce-off-the-loop", daemon=True).start()
    result, error = outcome.get()
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
