"""Which files are opened, and what is promised of them."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from askonce.errors import ConfigError, ForeignStoreError, StoreError
from askonce.stores import open_store
from askonce.stores.base import Record
from askonce.stores.sqlite import schema as sql
from askonce.stores.sqlite.store import SQLiteStore
from tests.stores.sqlite.files import assert_sound, other_process


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


def test_a_file_of_another_program_is_not_changed(path: Path) -> None:
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


def test_a_file_of_a_newer_format_is_not_changed(store: SQLiteStore, path: Path) -> None:
    store.check()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {sql.FORMAT + 1}")
    with pytest.raises(ForeignStoreError, match="update askonce"):
        open_store(f"sqlite:///{path}")


def test_the_error_for_a_damaged_file_has_its_path(store: SQLiteStore, path: Path) -> None:
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
def test_a_url_needs_a_file(url: str) -> None:
    with pytest.raises(ConfigError, match="does not name a file"):
        SQLiteStore(url)


def test_an_unusable_path_is_refused(tmp_path: Path) -> None:
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
def test_all_connections_move_to_a_new_file_after_a_deletion(
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


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owner there")
def test_a_file_of_another_user_is_refused_with_its_owner(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch(mode=0o000)
    if os.geteuid() == 0:  # who may read any
        monkeypatch.setattr("os.access", lambda path, mode: mode != os.R_OK)
    with pytest.raises(ConfigError, match=f"id {path.stat().st_uid}, .* no permission"):
        open_store(f"sqlite:///{path}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="writable folder"):
            open_store(f"sqlite:///{tmp_path}/cache.db")
    finally:
        tmp_path.chmod(0o700)


def test_a_relative_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(SQLiteStore("sqlite:///here.db")) as store:
        monkeypatch.chdir("/")
        store.put("n", [Record(b"k", b"v")])
    assert (tmp_path / "here.db").is_file()


def test_a_tilde_in_a_url_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with closing(open_store("sqlite:///~/cache.db")) as store:
        store.put("n", [Record(b"k", b"v")])
    assert (tmp_path / "home" / "cache.db").is_file()
    assert not (tmp_path / "~").exists()


def test_a_file_system_that_locks_no_folders_is_good_enough(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fails)
    with closing(open_store(f"sqlite:///{path}")) as store:
        store.put("n", [Record(b"k", b"v")])
        assert store.get("n", b"k") == b"v"


def test_an_old_sqlite_is_refused_with_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(ConfigError, match=r"3\.34\.1.*redis://.*memory://"):
        open_store("sqlite:///cache.db")
