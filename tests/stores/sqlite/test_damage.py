"""Damaged files, when a store is opened and while it is open: the default one is replaced, a named one refused."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from askonce import Cache
from askonce.entries.entry import Answer, Hit
from askonce.errors import ConfigError, StoreError
from askonce.keys.normal_form import NormalForm
from askonce.stores import open_store
from askonce.stores.base import Record
from askonce.stores.sqlite.store import SQLiteStore
from tests.support.application import Application


def send(cache: Cache, question: object) -> str:
    request = cache.engine.request("answer", lambda: NormalForm({"question": str(question)}))
    assert request is not None
    found = cache.engine.answer(request, lambda: os.urandom(500), Answer)
    return found.kind if isinstance(found, Hit) else "fresh"


def filled(path: Path) -> None:
    with closing(SQLiteStore(f"sqlite:///{path}", timeout_seconds=5)) as store:
        store.put("n", [Record(b"%d" % number, os.urandom(2000), tags=("a",)) for number in range(300)])


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied_to_zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def of_a_newer_format(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")


def without_tables(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE entry")


def with_text_of_no_encoding(file: Path) -> None:
    """The names in the schema, which SQLite's own message quotes, are no UTF-8."""
    data = bytearray(file.read_bytes())
    at = data.index(b"entry_by_priority ON entry")
    data[at : at + 5] = b"\xff\xfe\xff\xfe\xff"
    file.write_bytes(data)


DAMAGES = [cut_in_half, emptied_to_zeros, of_a_newer_format, without_tables, with_text_of_no_encoding]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_default_file_is_set_aside(
    damage: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Cache(timeout_seconds=5) as cache:
        for number in range(300):
            send(cache, number)
    [file] = tmp_path.rglob("*.db")
    assert file.name == "cache-1.db"  # its format is in its name, so that an older askonce has a file of its own
    damage(file)
    damaged = file.read_bytes()
    with Cache(timeout_seconds=5) as cache:
        assert [send(cache, "why?"), send(cache, "why?")] == ["fresh", "exact"]
    assert file.with_name("cache-1.db.damaged").read_bytes() == damaged
    assert len(caplog.records) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_that_was_named_is_refused_and_not_changed(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "cache.db"
    filled(path)
    damage(path)
    damaged = path.read_bytes()
    with pytest.raises(ConfigError, match=r"cache\.db"):
        open_store(f"sqlite:///{path}")
    assert path.read_bytes() == damaged


def test_a_default_file_that_is_damaged_while_it_is_open_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    filled(path)
    with (
        closing(SQLiteStore(f"sqlite:///{path}", timeout_seconds=5, replaceable=True)) as store,
        closing(SQLiteStore(f"sqlite:///{path}", timeout_seconds=5, replaceable=True)) as other,
    ):
        assert store.get("n", b"1") is not None
        assert other.get("n", b"1") is not None
        store.close()
        other.close()
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(b"\xff" * (path.stat().st_size - 8192))
        for one in (store, other):
            for attempt in range(5):
                try:
                    one.put("n", [Record(b"%d" % attempt, b"v")])
                    assert one.get("n", b"%d" % attempt) == b"v"
                    break
                except StoreError:
                    continue
            else:
                pytest.fail("no new file was begun")
        assert store.size("n").entries == other.size("n").entries <= 5


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("operation", ["clear", "delete_tag", "erase", "put"])
def test_what_finds_a_file_damaged_is_done_in_the_new_one(
    operation: str, asynchronous: bool, tmp_path: Path
) -> None:
    """Any page may be the damaged one, and found to be so by the write or when what it deleted is overwritten."""
    path = tmp_path / "cache.db"
    filled(path)
    whole, replaced = path.read_bytes(), 0
    arguments: dict[str, tuple[object, ...]] = {
        "clear": ("n",),
        "delete_tag": ("n", "a"),
        "erase": ({"n": None},),
        "put": ("n", [Record(b"new", b"v")]),
    }
    for page in range(1, len(whole) // 4096, max(len(whole) // 4096 // 25, 1)):
        for suffix in ("-wal", "-shm", ".damaged"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(whole[: page * 4096] + os.urandom(4096) + whole[(page + 1) * 4096 :])
        before = path.stat().st_ino
        with closing(SQLiteStore(f"sqlite:///{path}", timeout_seconds=5, replaceable=True)) as store:
            function = getattr(store, "a" * asynchronous + operation)
            if asynchronous:
                asyncio.run(function(*arguments[operation]))
            else:
                function(*arguments[operation])
            is_new = path.stat().st_ino != before
            replaced += is_new
            if is_new or operation != "put":
                assert store.size("n").entries == (operation == "put")
    assert replaced, "no damage was found, so nothing was tested"


def test_random_damage_raises_nothing_but_errors_of_stores(tmp_path: Path) -> None:
    rng, path = random.Random(1), tmp_path / "cache.db"
    filled(path)
    whole = path.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(30):
            data[rng.randrange(8192 if rng.random() < 0.5 else len(data))] ^= 1 << rng.randrange(8)
        for suffix in ("-wal", "-shm", ".damaged"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.write_bytes(data)
        store = SQLiteStore(f"sqlite:///{path}", timeout_seconds=5)
        calls: list[Callable[[], object]] = [
            store.check,
            lambda store=store: [store.get("n", b"%d" % number) for number in range(30)],  # type: ignore[misc]
            lambda store=store: store.put("n", [Record(b"1", b"v", tags=("t",))]),  # type: ignore[misc]
            lambda store=store: store.delete_tag("n", "a"),  # type: ignore[misc]
            lambda store=store: store.size("n"),  # type: ignore[misc]
            lambda store=store: store.log_append("n", b"event"),  # type: ignore[misc]
        ]
        for call in calls:
            with suppress(StoreError, ConfigError):
                call()
        store.close()


def test_a_database_file_that_is_emptied_does_not_kill_the_application(tmp_path: Path) -> None:
    code = """
        import os, sqlite3, sys
        from askonce.errors import StoreError
        from askonce.stores.base import Record
        from askonce.stores.sqlite.store import SQLiteStore

        store = SQLiteStore(f"sqlite:///{sys.argv[1]}", timeout_seconds=5)
        store.put("n", [Record(b"%d" % number, os.urandom(1000)) for number in range(300)])
        connection = sqlite3.connect(sys.argv[1])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        [store.get("n", b"%d" % number) for number in range(5)]
        os.truncate(sys.argv[1], 0)
        for number in range(300):
            try:
                store.get("n", b"%d" % number)
                store.put("n", [Record(b"%d" % number, b"v")])
            except StoreError:
                pass
        print("goes on", flush=True)
        os._exit(0)
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "cache.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "goes on\n")


def test_one_line_says_why_a_file_that_became_unusable_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache.db"
    with Cache(f"sqlite:///{path}", timeout_seconds=5, totals=False) as cache:
        send(cache, 1)
        cache.store.close()
        of_a_newer_format(path)
        assert [send(cache, number) for number in range(10)] == ["fresh"] * 10
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "has format 99" in warnings[0].getMessage() and warnings[0].exc_info is None


def test_a_value_whose_type_is_damaged_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with Cache(f"sqlite:///{path}") as cache:
        application = Application(cache)
        application.answer("why?")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE entry SET value = CAST(value AS TEXT)")
        assert len([*cache.store.scan(cache.engine.namespace)]) == 1
        assert application.answer("why?") == "exact: why?!"
        assert cache.stats().errors == 0
