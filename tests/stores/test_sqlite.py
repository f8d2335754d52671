"""The store in a SQLite file keeps the contract of all stores, and what is promised of its file."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from askonce.errors import ConfigError, ForeignStoreError, StoreError, StoreUnavailable
from askonce.eviction.policy import Budget
from askonce.stores import open_store
from askonce.stores.base import Clock, Record, Size, Store
from askonce.stores.sqlite import schema as sql
from askonce.stores.sqlite.store import SQLiteStore
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(f"sqlite:///{path}")
    yield store
    store.close()


@contextmanager
def other_process(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``code`` and has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def assert_sound(path: Path) -> None:
    """What the file holds agrees with its accounts, and no tag is left over."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        content = connection.execute("SELECT count(*), total(length(value)), total(tagged) FROM entry").fetchone()
        assert connection.execute("SELECT total(entries), total(size_bytes) FROM space").fetchone() == content[:2]
        assert connection.execute("SELECT count(*) FROM tag").fetchone() == content[2:]
        assert connection.execute("SELECT count(*) FROM tag JOIN entry ON entry = id").fetchone() == content[2:]


PUT_FOR_EVER = """
import random, sys
from askonce.eviction.policy import Budget
from askonce.stores.base import Record
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


HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
input()
"""


def test_while_another_process_writes_reads_go_on_and_writes_give_up(store: SQLiteStore, path: Path) -> None:
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


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "cache.db"
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.put("n", [Record(b"k", b"v")])
        modes = {each.relative_to(tmp_path).as_posix(): each.stat().st_mode & 0o777 for each in tmp_path.rglob("*")}
    assert modes == {
        "new": 0o700,
        "new/folders": 0o700,
        "new/folders/cache.db": 0o600,
        "new/folders/cache.db-wal": 0o600,
        "new/folders/cache.db-shm": 0o600,
    }


def test_a_file_of_somebody_else_is_left_alone(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 100)
    with pytest.raises(ForeignStoreError, match="not a SQLite database"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == b"Dear diary, " * 100
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entry (whatever)")
    before = path.read_bytes()
    with pytest.raises(ForeignStoreError, match="another program"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_file_of_a_newer_format_is_left_alone(store: SQLiteStore, path: Path) -> None:
    store.check()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {sql.FORMAT + 1}")
    with pytest.raises(ForeignStoreError, match="update askonce"):
        open_store(f"sqlite:///{path}")


def test_a_damaged_file_is_named(store: SQLiteStore, path: Path) -> None:
    store.put("n", [Record(b"%d" % number, b"v" * 200) for number in range(500)])
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match=r"cache\.db is damaged"):
        store.get("n", b"1")
    with pytest.raises(StoreError, match=r"cache\.db is damaged"):
        store.put("n", [Record(b"1", b"v")])


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:a.db", "/tmp/a.db"])
def test_a_url_names_a_file(url: str) -> None:
    with pytest.raises(ConfigError, match="names no file"):
        SQLiteStore(url)


@pytest.mark.parametrize(
    ("wrong", "advice"), [(Path("a.db"), "sqlite:///path"), (7, "sqlite:///path"), ("memory://a", "takes no name")]
)
def test_what_is_no_url_of_a_store_is_refused(wrong: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        open_store(wrong)


def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in ("file/cache.db", "."):
        with pytest.raises(ConfigError, match="writable folder"):
            open_store(f"sqlite:///{tmp_path}/{place}")


def test_a_read_only_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for call, place in (("os.open", "cache.db"), ("os.mkdir", "new/cache.db")):
        with monkeypatch.context() as patch, closing(SQLiteStore(f"sqlite:///{tmp_path}/{place}")) as store:
            patch.setattr(call, refused)
            with pytest.raises(ConfigError, match="writable folder"):
                store.check()


START_A_FILE = """
import sys
from askonce.stores.base import Record
from askonce.stores.sqlite.store import SQLiteStore
store = SQLiteStore(sys.argv[1])
store.put("m", [Record(b"k", b"of m")])
store.put("n", [Record(b"theirs", b"v")])
print("put", flush=True)
input()
print(store.get("n", b"ours"), store.get("n", b"k"), flush=True)
input()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
@pytest.mark.parametrize("deleted", [["cache.db"], ["cache.db", "cache.db-wal", "cache.db-shm"]], ids=len)
@pytest.mark.parametrize("began_with", ["write", "read"])
def test_a_file_that_somebody_deletes_is_begun_anew_together(
    store: SQLiteStore, path: Path, deleted: list[str], began_with: str
) -> None:
    store.put("n", [Record(b"k", b"old")])
    if began_with == "read":
        store.close()  # what writes is not open then
    assert store.get("n", b"k") == b"old"
    for name in deleted:
        path.with_name(name).unlink()
    with other_process(START_A_FILE, store.url) as process:
        assert process.stdin is not None and process.stdout is not None
        store.put("n", [Record(b"ours", b"v")])
        store.put("n", [Record(b"ours", b"v")])
        assert store.get_many("n", [b"k", b"theirs", b"ours"]) == [None, b"v", b"v"]
        assert store.get("m", b"k") == b"of m"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "b'v' None\n"
    path.unlink()
    store.put("n", [Record(b"k", b"new")])
    assert store.get("n", b"k") == b"new"
    assert path.is_file()
    store.close()
    assert_sound(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="writable folder"):
            open_store(f"sqlite:///{tmp_path}/cache.db")
    finally:
        tmp_path.chmod(0o700)


def test_a_relative_path_stays_where_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(SQLiteStore("sqlite:///here.db")) as store:
        monkeypatch.chdir("/")
        store.put("n", [Record(b"k", b"v")])
    assert (tmp_path / "here.db").is_file()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_threads_that_end_leave_no_connection(store: SQLiteStore, path: Path) -> None:
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
    assert open_files() <= before + 2  # SQLite itself keeps a closed file for the next connection
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
        (sql.SCAN, "entry_by_key (space=? AND key>?)"),
        (sql.SIZE, "COVERING INDEX entry_by_expiry (space=? AND expires_at<?)"),
        (sql.FIND_LOWEST, "entry_by_priority (space=?)"),
        (sql.DELETE_EXPIRED, "entry_by_expiry (space=? AND expires_at<?)"),
        (sql.DELETE_TAGGED, "PRIMARY KEY (space=? AND name=?)"),
    ],
)
def test_statements_find_their_rows_by_an_index(store: SQLiteStore, path: Path, statement: str, index: str) -> None:
    store.check()
    with closing(sqlite3.connect(path)) as connection:
        count = 2 if "?1" in statement else statement.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * count)]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN entry") for step in plan), plan
