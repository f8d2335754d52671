"""A store that fails when a test says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from askonce import StoreUnavailable
from askonce.stores.base import Clock
from askonce.stores.memory import MemoryStore


class FailingStore(MemoryStore):
    """A store whose operations fail while `failing`; an awaited lookup may hang."""

    def __init__(self, *, failing: bool = False, hanging_seconds: float = 0.0, clock: Clock = time.time) -> None:
        super().__init__(clock=clock)
        self.failing, self.hanging_seconds = failing, hanging_seconds
        self.calls = 0

    def _meet(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.failing:
            raise StoreUnavailable("down for a test")
        return operation(*args, **kwargs)

    def get(self, *args: Any) -> bytes | None:
        return self._meet(super().get, *args)

    def put(self, *args: Any, **kwargs: Any) -> int:
        return self._meet(super().put, *args, **kwargs)

    def touch(self, *args: Any) -> None:
        self._meet(super().touch, *args)

    def size(self, *args: Any) -> Any:
        return self._meet(super().size, *args)

    def delete(self, *args: Any) -> int:
        return self._meet(super().delete, *args)

    def delete_tag(self, *args: Any) -> int:
        return self._meet(super().delete_tag, *args)

    def lease(self, *args: Any) -> bool:
        return self._meet(super().lease, *args)

    def release(self, *args: Any) -> None:
        self._meet(super().release, *args)

    def log_append(self, *args: Any) -> int:
        return self._meet(super().log_append, *args)

    def log_read(self, *args: Any) -> Any:
        return self._meet(super().log_read, *args)

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        await asyncio.sleep(self.hanging_seconds)
        return self.get(namespace, key)
