"""Stores that fail when a test says so."""

import asyncio
from typing import Any

from askonce import StoreUnavailable
from askonce.stores.memory import MemoryStore


class Failing(MemoryStore):
    """A store whose every operation fails, or takes long, while it is told to."""

    failing = False
    hanging_seconds = 0.0
    asked = 0

    def _meet(self) -> None:
        self.asked += 1
        if self.failing:
            raise StoreUnavailable("down for a test")

    def get(self, namespace: str, key: bytes) -> bytes | None:
        self._meet()
        return super().get(namespace, key)

    def put(self, *args: Any, **kwargs: Any) -> int:
        self._meet()
        return super().put(*args, **kwargs)

    def lease(self, *args: Any) -> bool:
        self._meet()
        return super().lease(*args)

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        await asyncio.sleep(self.hanging_seconds)
        return self.get(namespace, key)


class StoreDown(MemoryStore):
    """A store that never answers."""

    def get(self, namespace: str, key: bytes) -> bytes | None:
        raise StoreUnavailable("down")

    put = lease = release = size = touch = get  # type: ignore[assignment]

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        raise StoreUnavailable("down")

    aput = alease = arelease = asize = atouch = aget  # type: ignore[assignment]
