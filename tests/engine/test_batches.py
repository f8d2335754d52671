"""Large batches: in pieces, and with turns for others between them."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from askonce import Cache, StoreUnavailable
from askonce.entries.entry import Answer, Hit
from askonce.storage.pieces import FIRST_ENTRIES
from askonce.stores.base import Record
from askonce.stores.memory import MemoryStore
from tests.support.application import Application


async def test_a_large_batch_leaves_turns_to_other_tasks(tmp_path: Path) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Cache(f"sqlite:///{tmp_path / 'cache.db'}", timeout_seconds=5) as cache:
        requests = [Application(cache).request(str(number)) for number in range(2000)]
        await cache.engine.astore_many(requests, [Answer(bytes(6000))] * 2000, 1.0)
        task = asyncio.create_task(others())
        found = await cache.engine.alookup_many(requests)
        task.cancel()
    assert all(isinstance(one, Hit) for one in found)
    assert turns >= 5  # of 256 entries at most each


def test_a_batch_survives_one_slow_piece_and_gives_a_dead_store_up() -> None:
    class Moody(MemoryStore):
        def __init__(self, *fails: int) -> None:
            super().__init__()
            self.puts, self.fails = 0, fails

        def put(self, namespace: str, records: Sequence[Record], *args: Any, **kwargs: Any) -> int:
            self.puts += 1
            if self.puts in self.fails:
                raise StoreUnavailable("no answer in time")
            return super().put(namespace, records, *args, **kwargs)

    for fails, stored in (((3,), 300), ((1, 2, 3, 4, 5), 0)):
        with Cache(Moody(*fails)) as cache:
            requests = [Application(cache).request(str(number)) for number in range(300)]
            cache.engine.store_many(requests, [Answer(b"x")] * 300, 1.0)
            assert (cache.stats().stored, cache.stats().errors) == (stored, 1)


def test_a_slow_store_is_given_small_pieces() -> None:
    class Slow(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.puts: list[int] = []

        def put(self, namespace: str, records: Sequence[Record], *args: Any, **kwargs: Any) -> int:
            self.puts.append(len(records))
            time.sleep(0.01 * len(records))
            return super().put(namespace, records, *args, **kwargs)

    store = Slow()
    with Cache(store) as cache:
        requests = [Application(cache).request(str(number)) for number in range(40)]
        cache.engine.store_many(requests, [Answer(b"x")] * 40, 1.0)
    assert max(store.puts) <= FIRST_ENTRIES  # they do not grow


@pytest.mark.parametrize("damaged", ["1.5", "5", "'text'"])
async def test_what_is_no_bytes_in_a_batch_is_a_miss(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "cache.db"
    async with Cache(f"sqlite:///{path}") as cache:
        requests = [Application(cache).request(str(number)) for number in range(3)]
        cache.engine.store_many(requests, [Answer(b"x")] * 3, 1.0)
        with sqlite3.connect(path) as damage:
            damage.execute(f"UPDATE entry SET value = {damaged} WHERE id = (SELECT min(id) FROM entry)")
        damage.close()
        for found in (cache.engine.lookup_many(requests), await cache.engine.alookup_many(requests)):
            assert sum(isinstance(one, Hit) for one in found) == 2
        assert (cache.stats().corrupt, cache.stats().errors) == (2, 0)
