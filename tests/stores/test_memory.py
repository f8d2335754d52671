"""The memory store satisfies the contract of all stores."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from askonce.stores.base import Clock, Store
from askonce.stores.memory import MemoryStore
from askonce.testing import StoreConformance


class _View(MemoryStore):
    """A second store over the same dictionaries: what a second connection is elsewhere."""

    def __init__(self, origin: MemoryStore, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._lock, self._spaces = origin._lock, origin._spaces


class TestMemory(StoreConformance):
    @pytest.fixture
    def open(self) -> Callable[..., Store]:
        origin = MemoryStore()
        return lambda clock=time.time: _View(origin, clock)
