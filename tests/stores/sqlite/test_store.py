"""The SQLite store satisfies the contract of all stores, and the guarantees for its file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from askonce.errors import StoreError, StoreUnavailable
from askonce.eviction.policy import Budget
from askonce.stores.base import Clock, Record, Size, Store
from askonce.stores.sqlite import schema as sql
from askonce.stores.sqlite.connections import Connections
from askonce.stores.sqlite.store import SQLiteStore
from askonce.testing import StoreConformance
from tests.stores.sqlite.files import assert_sound, other_process


class TestSQLite(StoreConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/cache.db"

    @pytest.fixture
    def open(self, url: str) -> Callable[..., Store]:
        def open_store(clock: Clock = time.time) -> Store:
            return SQLiteStore(url, timeout_seconds=20, clock=clock)

        return open_store


def test_a_read_may_begin_within_a_read(store: SQLiteStore) -> None:
    """As in the handler of a signal, or in a finalizer."""
    store.put("n", [Record(b"k", b"v")])
    found = []

    def read() -> None:
        with store._connections.reading():
            found.append(store.get("n", b"k"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert found == [b"v"]


PUT_FOR_EVER = """
import random, sys
from askonce.eviction.policy import Budget
from askonce.stores.base import Record
from askonce.stores.sqlite.connections import Connections
from askonce.stores.sqlite.store import SQLiteStore
store, dice = SQLiteStore(sys.argv[1]), random.Random(1)
while True:
    records = [Record(b"%d" % dice.randrange(500), b"v" * dice.randrange(9000), tags=("t",)) for _ in range(20)]
    store.put("n", records, Budget(max_entries=200))
    print("put", flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_sound_file(store: SQLiteStore, path: Path) -> None:
    for _ in range(3):
        with other_process(PUT_FOR_EVER, store.url) as process:
            assert process.stdout is not None
            for _ in range(30):
                process.stdout.readline()
            process.kill()
        rows = list(store.scan("n"))
        assert store.size("n") == Size(len(rows), sum(len(value) for _, value in rows))
        assert 20 <= len(rows) <= 200
        assert_sound(path)


FILL_A_SMALL_DISK = """
import resource, sys
from askonce.errors import StoreUnavailable
from askonce.stores.base import Record
from askonce.stores.sqlite.connections import Connections
from askonce.stores.sqlite.store import SQLiteStore
store = SQLiteStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
for number in range(1000):
    try:
        store.put("n", [Record(b"%d" % number, b"v" * 5000, tags=("t",))])
    except StoreUnavailable:
        break
print(number, store.size("n").entries, sum(store.get("n", b"%d" % n) is not None for n in range(1000)), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_loses_nothing_that_was_stored(store: SQLiteStore, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL_A_SMALL_DISK, store.url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    stored, counted, found = map(int, done.stdout.split())
    assert 5 < stored < 1000
    assert stored == counted == found == store.size("n").entries
    assert_sound(path)


def test_the_error_on_a_full_disk_names_the_way_out(store: SQLiteStore) -> None:
    store.put("n", [Record(b"k", b"v")])
    with store._connections.transaction(time.monotonic() + 5) as connection:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite raises the same error
    with pytest.raises(StoreUnavailable, match="full; make room on its disk, or delete the file"):
        store.put("n", [Record(b"large", bytes(100_000))])


HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
input()
"""


def test_while_another_process_writes_reads_succeed_and_writes_time_out(store: SQLiteStore, path: Path) -> None:
    store.put("n", [Record(b"k", b"v")])
    with other_process(HOLD_THE_LOCK, path):
        with ThreadPoolExecutor(4) as threads:
            tries = [threads.submit(store.put, "n", [Record(b"k", b"new")]) for _ in range(4)]
            for put in tries:
                with pytest.raises(StoreUnavailable, match=r"cache\.db"):
                    put.result()
        with pytest.raises(StoreUnavailable):
            asyncio.run(store.aput("n", [Record(b"k", b"new")]))
        assert store.get("n", b"k") == b"v"
        assert list(store.scan("n")) == [(b"k", b"v")]
    store.put("n", [Record(b"k", b"new")])
    assert store.get("n", b"k") == b"new"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_ended_threads_leave_no_connection(store: SQLiteStore, path: Path) -> None:
    def open_files() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
        return sum(os.readlink(link).startswith(str(path)) for link in links)

    store.put("n", [Record(b"k", b"v")])
    store.get("n", b"k")
    before = open_files()
    for _ in range(20):
        thread = threading.Thread(target=store.get, args=("n", b"k"))
        thread.start()
        thread.join()
    assert open_files() <= before + 2  # SQLite itself holds a closed file open for the next connection
    store.close()
    assert open_files() == 0


async def test_a_cancelled_write_is_done_or_undone(store: SQLiteStore, path: Path) -> None:
    records = [Record(b"%d" % number, b"v", tags=("t",)) for number in range(2000)]
    write = asyncio.ensure_future(store.aput("n", records))
    await asyncio.sleep(0.005)
    write.cancel()
    await asyncio.gather(write, return_exceptions=True)
    await store.aput("n", [Record(b"after", b"v")])
    assert (await store.asize("n")).entries in (1, 2001)
    await store.aclose()
    assert_sound(path)


async def test_writes_that_wait_at_a_moment_are_one_transaction(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.aput("n", [Record(b"first", b"v")])
    begun = []
    transaction = Connections.transaction
    monkeypatch.setattr(Connections, "transaction", lambda *args: begun.append(1) or transaction(*args))
    held = [store.alease("n", b"k", owner, 10.0) for owner in ("anna", "bert")]
    puts = [store.aput("n", [Record(b"%d" % number, b"v")]) for number in range(30)]
    with store._connections._writer.lock:  # the thread that writes waits meanwhile
        work = [asyncio.ensure_future(one) for one in (*held, *puts)]
        await asyncio.sleep(0.05)
        left = asyncio.ensure_future(store.aput("n", [Record(b"left", b"v")]))
        await asyncio.sleep(0)
        left.cancel()
    assert (await asyncio.gather(*work))[:2] == [True, False]
    assert len(begun) <= 3
    assert (await store.asize("n")).entries == 31
    await store.aclose()
    assert_sound(path)


async def test_a_write_that_fails_beside_others_fails_alone(store: SQLiteStore, path: Path) -> None:
    await store.aput("n", [Record(b"kept", b"v")])
    bad = Record(b"bad", b"v", weight=float("nan"))
    with store._connections._writer.lock:
        work = [
            asyncio.ensure_future(store.aput("n", [record], Budget(max_entries=5)))
            for record in (Record(b"before", b"v"), bad, Record(b"after", b"v"))
        ]
        await asyncio.sleep(0.05)
    before, failed, after = await asyncio.gather(*work, return_exceptions=True)
    assert (before, after) == (0, 0)
    assert isinstance(failed, StoreError)
    assert {key async for key, _ in store.ascan("n")} == {b"kept", b"before", b"after"}
    await store.aclose()
    assert_sound(path)


def test_an_error_in_the_middle_of_a_put_undoes_it(store: SQLiteStore, path: Path) -> None:
    store.put("n", [Record(b"k", b"old", tags=("t",))])
    with pytest.raises(StoreError):
        store.put("n", [Record(b"k", b"new"), Record(b"bad", b"v", weight=float("nan"))], Budget(max_entries=5))
    assert list(store.scan("n")) == [(b"k", b"old")]
    store.close()
    assert_sound(path)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (sql.GET, "entry_by_key (space=? AND key=?)"),
        (sql.PAGE, "entry_by_key (space=? AND key>?)"),
        (sql.SIZE, "COVERING INDEX entry_by_expiry (space=? AND expires_at<?)"),
        (sql.FIND_LOWEST, "entry_by_priority (space=?)"),
        (sql.DELETE_EXPIRED, "entry_by_expiry (space=? AND expires_at<?)"),
        (sql.DELETE_TAGGED, "PRIMARY KEY (space=? AND name=?)"),
    ],
)
def test_statements_find_their_rows_by_an_index(store: SQLiteStore, path: Path, statement: str, index: str) -> None:
    store.check()
    with closing(sqlite3.connect(path)) as connection:
        values = {"space": 1, "now": 1.0} if ":space" in statement else (1,) * statement.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN entry") for step in plan), plan
