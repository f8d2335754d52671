"""The store in a SQLite file keeps the contract of all stores, and what is promised of its file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from askonce.stores.base import Clock, Store
from askonce.stores.sqlite import SQLiteStore
from askonce.testing import StoreConformance


class TestSQLite(StoreConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/cache.db"

    @pytest.fixture
    def open(self, url: str) -> Callable[..., Store]:
        def open_store(clock: Clock = time.time) -> Store:
            return SQLiteStore(url, timeout_seconds=20, clock=clock)

        return open_store
