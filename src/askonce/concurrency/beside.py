"""Work beside an event loop: what is large would hold up everybody whom the loop serves."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from askonce.stores.fork import reset_after_fork

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

LARGE_BYTES = 128 * 2**10
"""Reading or assembling so much takes some ten milliseconds; the way to a thread and back, a fifth of one."""
_THREADS = 2
"""One long piece of work is not to wait for another; more threads would only take turns with the event loop."""
_TURN_SECONDS = 0.005


class Turns:
    """When work on an event loop that consists of many small parts is to give way to others."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def is_over(self) -> bool:
        """Whether others have their turn now; then the next one begins."""
        now = time.monotonic()
        over = now - self._began > _TURN_SECONDS
        if over:
            self._began = now
        return over


def at_once(parts: Generator[None, None, T]) -> T:
    """Do some work to its end, and return its result."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            result: T = end.value
            return result


async def in_turns(parts: Generator[None, None, T]) -> T:
    """Do some work on the event loop, which goes on between its parts; returns its result."""
    import asyncio  # not where it is not used: with it, an import takes twice as long

    turns = Turns()
    while True:
        try:
            next(parts)
        except StopIteration as end:
            result: T = end.value
            return result
        if turns.is_over():
            await asyncio.sleep(0)


class _Threads:
    """Made when they are first needed, and anew in a forked child. The loop's own are for calls of stores."""

    def __init__(self) -> None:
        self.after_fork()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="askonce-beside")
        return self._pool


_threads = _Threads()


async def beside(work: Callable[..., T], *arguments: Any) -> T:
    """Do some work in a thread, in a copy of the running context, while the event loop goes on.

    A caller that is cancelled does not wait for it; what was begun is done to its end.
    """
    import asyncio  # not where it is not used: with it, an import takes twice as long

    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_threads.pool(), lambda: context.run(work, *arguments))


class Prepared(Generic[T]):
    """The result of a function, which may be prepared beside the event loop, to be taken later."""

    def __init__(self, work: Callable[..., T]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None

    async def prepare(self, *arguments: Any) -> None:
        """Do the work beside the event loop. An error is raised by `result`."""
        import asyncio  # not where it is not used: with it, an import takes twice as long

        self._task = asyncio.create_task(beside(self._work, *arguments))
        await asyncio.wait((self._task,))

    def result(self, *arguments: Any) -> T:
        """What was prepared; if nothing was, the work is done now.

        Raises:
            Exception: what the work raised.
        """
        return self._task.result() if self._task and self._task.done() else self._work(*arguments)


async def beside_if(is_large: bool, work: Callable[..., T], *arguments: Any) -> T:
    """`beside` if the work is large, else here: the way to a thread takes longer than what is small."""
    return await beside(work, *arguments) if is_large else work(*arguments)
