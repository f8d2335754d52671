"""One test body for both ways of calling a store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from askonce.stores.base import Store

Call = Callable[..., Awaitable[Any]]
"""``await call("get", namespace, key)``: the method, or its asynchronous twin."""


class StoreDriver:
    """Calls a store by its methods, or by their asynchronous twins on one event loop.

    ``driver.get(...)`` is ``store.get(...)`` or ``await store.aget(...)``; ``scan`` gives a list.

    Args:
        store: which store.
        loop: the event loop to run the twins on; ``None`` for the plain methods.
    """

    def __init__(self, store: Store, loop: asyncio.Runner | None) -> None:
        self.store = store
        self.loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args: self._run(self._call(name, *args))

    def at_once(self, work: Callable[[Call, int], Awaitable[Any]], times: int = 8) -> list[Any]:
        """Do some work in several threads at once, or in several tasks of the event loop.

        Args:
            work: awaits ``call(method, *args)``; its second argument counts from 0.
            times: how many threads or tasks.

        Returns:
            what each returned.
        """
        if self.loop is None:
            with ThreadPoolExecutor(times) as threads:
                return list(threads.map(lambda number: self._run(work(self._call, number)), range(times)))

        async def all_tasks() -> list[Any]:
            return await asyncio.gather(*(work(self._call, number) for number in range(times)))

        return self.loop.run(all_tasks())

    async def _call(self, name: str, *args: Any) -> Any:
        if self.loop is None:
            result = getattr(self.store, name)(*args)
            return list(result) if name == "scan" else result
        twin = getattr(self.store, f"a{name}")(*args)
        return [row async for row in twin] if name == "scan" else await twin

    def _run(self, work: Awaitable[Any]) -> Any:
        async def body() -> Any:
            return await work

        if self.loop is not None:
            return self.loop.run(body())
        try:  # the plain methods never wait, so that no event loop is needed
            body().send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("a plain method waited for an event loop")
