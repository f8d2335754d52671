"""Entries from store to store, and from a file of requests."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from askonce import Cache, cache_options
from askonce.cli.app import app
from askonce.stores import open_store
from askonce.stores.base import Record
from tests.cli.conftest import Run
from tests.support.application import Application

KEY = b"k" * 32


def imported(file: Path, url: str, namespace: str, expected: int = 0) -> dict[str, int]:
    done = CliRunner().invoke(app, ["import", str(file), "--store", url, "--json"])
    assert done.exit_code == expected, (done.output, done.exception)
    return json.loads(done.stdout)


def test_all_of_a_cache_and_its_tenants_goes_into_another_store(
    cache: Cache, run: Run, url: str, namespace: str, tmp_path: Path
) -> None:
    application, file = Application(cache), tmp_path / "entries"
    for number in range(300):
        with cache_options(tags=[f"tag {number % 3}"], ttl=1000 if number % 2 else None):
            application.answer(f"{number}")
    with cache_options(namespace="tenant"):
        application.answer("theirs")
    cache.flush()
    assert run("export", str(file)).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    assert run("export", str(file), input="n\n").exit_code == 1  # it is there
    target = f"sqlite:///{tmp_path / 'other' / 'cache.db'}"
    assert imported(file, target, namespace) == {
        "stored": 301, "expired": 0, "older": 0, "unreadable": 0, "locked": 0, "complete": True,
    }  # fmt: skip
    with Cache(target, namespace=namespace) as other:
        again = Application(other)
        assert all(again.answer(f"{number}").startswith("exact") for number in range(300))
        with cache_options(namespace="tenant"):
            assert again.answer("theirs") == "exact: theirs!"
        assert other.invalidate("tag 1") == 100
    with cache_options(refresh=True):
        application.answer("7")
    found = imported(file, url, namespace)
    assert (found["stored"], found["older"]) == (300, 1)  # what is newer stays
    cache.clear()
    assert imported(file, url, namespace)["stored"] == 301
    assert Application(cache).answer("7") == "exact: 7!"


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes among files")
def test_what_is_no_regular_file_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with Cache(url) as cache:
        Application(cache).answer("why?")
        cache.flush()

    def exported(to: Path, *options: str) -> None:
        done = CliRunner().invoke(app, ["export", str(to), "--store", url, *options])
        assert done.exit_code == 0, (done.output, done.exception)

    plain, target, dangling = tmp_path / "plain", tmp_path / "mount" / "real", tmp_path / "dangling"
    exported(plain)
    target.parent.mkdir()
    target.write_text("old")
    link = tmp_path / "latest"
    link.symlink_to(target)
    exported(link, "--yes")
    assert link.is_symlink()
    dangling.symlink_to(target.with_name("new"))
    exported(dangling)
    assert dangling.is_symlink()
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    exported(pipe)  # nothing is lost by that, so it is done without confirmation
    reader.join(10)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    target_url = f"sqlite:///{tmp_path / 'other.db'}"
    (tmp_path / "read").write_bytes(read[0])
    for file in (plain, link, dangling, tmp_path / "read"):
        assert imported(file, target_url, "default")["complete"]


def test_damaged_parts_are_skipped_and_counted(tmp_path: Path) -> None:
    source, target = (f"sqlite:///{tmp_path / name}.db" for name in ("a", "b"))
    with Cache(source) as cache:
        for number in range(50):
            Application(cache).answer(f"{number}")
        cache.flush()
    file = tmp_path / "entries"
    assert CliRunner().invoke(app, ["export", str(file), "--store", source]).exit_code == 0
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    at = data.index(b"\xa5ask", len(data) // 4)
    data[at + 5] ^= 0xFF  # a length
    file.write_bytes(data)
    found = imported(file, target, "default", expected=1)
    assert found["stored"] == 48
    assert found["unreadable"] == 2
    assert not found["complete"]
    file.write_bytes(data[: len(data) * 3 // 4])
    assert not imported(file, target, "default", expected=1)["complete"]
    file.write_bytes(b"something else")
    done = CliRunner().invoke(app, ["import", str(file), "--store", target])
    assert "not a file of" in str(done.exception)


def test_an_encrypted_cache_needs_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, plain = (f"sqlite:///{tmp_path / name}.db" for name in "abc")
    with Cache(source, encryption_keys=[KEY]) as cache, cache_options(namespace="tenant", tags=["secret tag"]):
        Application(cache).answer("confidential")
    file, own = tmp_path / "entries", ["--store", source, "--json"]
    assert "are encrypted with keys" in str(CliRunner().invoke(app, ["ls", *own]).exception)
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", KEY.hex())
    assert len(json.loads(CliRunner().invoke(app, ["ls", "--tenant", "tenant", *own]).stdout)["entries"]) == 1
    assert CliRunner().invoke(app, ["export", str(file), "--store", source]).exit_code == 0
    data = file.read_bytes()
    assert not [one for one in (b"confidential", b"tenant", b"secret tag") if one in data]
    assert imported(file, target, "default")["stored"] == 1
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", f"{os.urandom(32).hex()},{KEY.hex()}")  # rotated
    assert imported(file, target, "default")["stored"] == 1
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", os.urandom(32).hex())
    done = CliRunner().invoke(app, ["import", str(file), "--store", plain])
    assert "no key in ASKONCE_ENCRYPTION_KEYS opens it" in str(done.exception)
    monkeypatch.delenv("ASKONCE_ENCRYPTION_KEYS")
    done = CliRunner().invoke(app, ["import", str(file), "--store", plain])
    assert "the file is encrypted" in str(done.exception)
    assert not (tmp_path / "c.db").exists()
    other, sealed = tmp_path / "plain", f"sqlite:///{tmp_path / 'd.db'}"
    with Cache(plain) as cache:
        Application(cache).answer("open")
    assert CliRunner().invoke(app, ["export", str(other), "--store", plain]).exit_code == 0
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", KEY.hex())
    assert imported(other, sealed, "default")["stored"] == 1
    with Cache(sealed, encryption_keys=[KEY]) as cache:
        assert Application(cache).answer("open") == "exact: open!"


def test_entries_of_an_older_key_that_is_not_given_are_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, keys = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db", [os.urandom(32), KEY]
    for number, given in enumerate(([KEY], keys)):
        with Cache(source, encryption_keys=given) as cache:
            Application(cache).answer(f"{number}")
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", ",".join(one.hex() for one in keys))
    file = tmp_path / "entries"
    assert CliRunner().invoke(app, ["export", str(file), "--store", source]).exit_code == 0
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", keys[0].hex())
    done = CliRunner().invoke(app, ["import", str(file), "--store", target])
    assert "not imported: 1 entry of" in str(done.exception) and "encrypted with keys" in str(done.exception)


def test_nothing_is_stored_beside_what_other_keys_encrypt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, encrypted, file = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db", tmp_path / "entries"
    for url, keys in ((plain, []), (encrypted, [KEY])):
        with Cache(url, encryption_keys=keys) as cache:
            Application(cache).answer("why?")
    assert CliRunner().invoke(app, ["export", str(file), "--store", plain]).exit_code == 0
    before = open_store(encrypted).namespaces()
    assert CliRunner().invoke(app, ["bench", "--rounds", "10", "--store", encrypted]).exit_code == 0
    assert open_store(encrypted).namespaces() == before
    open_store(encrypted).put("of another application", [Record(b"k", b"v")])
    done = CliRunner().invoke(app, ["import", str(file), "--store", encrypted])
    assert "is encrypted with keys that ASKONCE_ENCRYPTION_KEYS does not have" in str(done.exception)
    assert open_store(encrypted).size("default").entries == 0
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", KEY.hex())
    assert CliRunner().invoke(app, ["import", str(file), "--store", encrypted]).exit_code == 0


def test_an_application_that_does_not_encrypt_is_imported_beside_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, new, file = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db", tmp_path / "entries"

    def import_(*more: str, to: str = url) -> Result:
        return CliRunner().invoke(app, ["import", str(file), "--store", to, *more])

    with Cache(url, namespace="plain 1") as cache, cache_options(namespace="tenant"):
        Application(cache).answer("why?")
    own = ["--store", url, "--namespace", "plain 1"]
    assert CliRunner().invoke(app, ["export", str(file), *own]).exit_code == 0
    for one in (url, new):
        with Cache(one, namespace="secret", encryption_keys=[KEY]) as cache:
            Application(cache).answer("why?")
    assert import_().exit_code == 0  # a tenant lies open there
    CliRunner().invoke(app, ["clear", "--yes", *own])
    with Cache(url, namespace="plain 1") as cache, cache_options(namespace="tenant"):
        cache.clear()
    assert import_().exit_code == 0
    with Cache(url, namespace="plain 1") as cache, cache_options(namespace="tenant"):
        assert Application(cache).answer("why?") == "exact: why?!"
    open_store(new).put("another", [Record(b"k", b"v")])
    refused = str(import_(to=new).exception)
    assert "namespace 'plain 1' of sqlite" in refused and "--unencrypted" in refused
    assert open_store(new).size("plain%201/tenant").entries == 0
    assert import_("--unencrypted", to=new).exit_code == 0
    assert open_store(new).size("plain%201/tenant").entries == 1
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", KEY.hex())
    assert "has keys" in str(import_("--unencrypted", to=new).exception)
    assert import_(to=new).exit_code == 0


def test_an_encrypted_application_is_not_taken_for_an_open_one(tmp_path: Path) -> None:
    plain, encrypted, file = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db", tmp_path / "entries"
    for url, keys in ((plain, []), (encrypted, [KEY])):
        with Cache(url, namespace="app", encryption_keys=keys) as cache, cache_options(namespace="tenant"):
            Application(cache).answer("why?")
    assert CliRunner().invoke(app, ["export", str(file), "--store", plain, "--namespace", "app"]).exit_code == 0
    for other in ("default", "app:totals", "application", "app2/tenant"):
        open_store(encrypted).put(other, [Record(b"k", b"v")])
        done = CliRunner().invoke(app, ["import", str(file), "--store", encrypted])
        assert "is encrypted with keys that ASKONCE_ENCRYPTION_KEYS does not have" in str(done.exception), other
    assert "app/tenant" not in open_store(encrypted).namespaces()


def test_with_its_keys_an_application_is_stored_beside_another_one_that_encrypts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path.as_posix()
    theirs, mine, plain = (f"sqlite:///{folder}/{name}.db" for name in ("theirs", "mine", "plain"))
    for url, namespace, keys in ((theirs, "theirs", [os.urandom(32)]), (mine, "mine", [KEY]), (plain, "mine", [])):
        with Cache(url, namespace=namespace, encryption_keys=keys) as cache:
            Application(cache).answer("why?")
    sealed, opened = f"{folder}/sealed", f"{folder}/opened"
    (tmp_path / "app.py").write_text("from llama_index.core.llms import MockLLM\nmodel = MockLLM()\n")
    (tmp_path / "requests").write_text('{"prompt": "how?"}\n')
    monkeypatch.syspath_prepend(folder)

    def stored(*arguments: str, beside: tuple[str, ...] = ()) -> str:
        """Store beside theirs, in a copy of the store; returns the error, if it is one."""
        shutil.copy(f"{folder}/theirs.db", f"{folder}/copy.db")
        done = CliRunner().invoke(app, [*arguments, "--store", f"sqlite:///{folder}/copy.db", *beside])
        with Cache(f"sqlite:///{folder}/copy.db", namespace="mine", encryption_keys=[KEY]) as cache:
            assert len(list(cache.entries())) == (done.exit_code == 0 and "--unencrypted" not in beside)
        return str(done.exception) if done.exit_code else ""

    warm = ("warm", f"{folder}/requests", "--model", "app:model", "--namespace", "mine")
    export = ("--namespace", "mine", "--store")
    assert CliRunner().invoke(app, ["export", opened, *export, plain]).exit_code == 0
    for arguments in (("import", opened), warm):
        assert "with --unencrypted it is" in stored(*arguments)
        assert not stored(*arguments, beside=("--unencrypted",))
        assert "has no keys" in stored(*arguments, beside=("--beside",))
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", KEY.hex())
    assert CliRunner().invoke(app, ["export", sealed, *export, mine]).exit_code == 0
    assert not stored("import", sealed)  # the keys open it, so they are the application's
    for arguments in (("import", opened), warm):
        assert "with a wrong key nobody would find it. With --beside it is" in stored(*arguments)
        assert not stored(*arguments, beside=("--beside",))
        assert "has keys" in stored(*arguments, beside=("--unencrypted",))
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", os.urandom(32).hex())
    assert "no key in ASKONCE_ENCRYPTION_KEYS opens it" in stored("import", sealed, beside=("--beside",))


def test_an_export_of_nothing_loses_no_file(tmp_path: Path) -> None:
    url, file = f"sqlite:///{tmp_path}/a.db", tmp_path / "entries"
    with Cache(url) as cache:
        Application(cache).answer("why?")
    assert CliRunner().invoke(app, ["export", str(file), "--store", url]).exit_code == 0
    before = file.read_bytes()
    for where in (str(file), str(tmp_path / "new"), "-"):
        done = CliRunner().invoke(app, ["export", where, "--store", url, "--namespace", "nothere", "--yes"])
        assert done.exit_code == 1
        assert "nothing is stored in namespace 'nothere'" in str(done.exception)
    assert file.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir() if "db" not in one.name) == ["entries"]


@pytest.mark.parametrize("damage", [lambda data: b"something else", lambda data: data[:60], lambda data: b""])
def test_a_failed_import_makes_no_store(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    source, file = f"sqlite:///{tmp_path}/a.db", tmp_path / "entries"
    with Cache(source) as cache:
        Application(cache).answer("why?")
    assert CliRunner().invoke(app, ["export", str(file), "--store", source]).exit_code == 0
    file.write_bytes(damage(file.read_bytes()))
    done = CliRunner().invoke(app, ["import", str(file), "--store", f"sqlite:///{tmp_path}/new/b.db"])
    assert done.exit_code == 1
    assert not (tmp_path / "new").exists()


def test_a_cache_named_multiplexer_is_exported_with_its_tenants(tmp_path: Path) -> None:
    source, file = f"sqlite:///{tmp_path}/a.db", tmp_path / "entries"
    with Cache(source, namespace="multiplexer") as cache:
        Application(cache).answer("why?")
        with cache_options(namespace="jane"):
            Application(cache).answer("why?")
        cache.store.put("multiplexer/a/judge", [Record(b"state", b"of routing")])
        cache.store.log_append("multiplexer/a/judge", b"of routing")
    own = ["--namespace", "multiplexer"]
    assert CliRunner().invoke(app, ["export", str(file), "--store", source, *own]).exit_code == 0
    assert imported(file, f"sqlite:///{tmp_path}/b.db", "multiplexer")["stored"] == 2


def test_a_stream_from_store_to_store(tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path / 'a.db'}"
    with Cache(source) as cache:
        Application(cache).answer("why?")
    exported = CliRunner().invoke(app, ["export", "-", "--store", source])
    assert exported.exit_code == 0
    target = f"sqlite:///{tmp_path / 'b.db'}"
    done = CliRunner().invoke(app, ["import", "-", "--store", target, "--json"], input=exported.stdout_bytes)
    assert json.loads(done.stdout)["stored"] == 1
    store = open_store(target)
    assert store.size("default").entries == 1
    store.close()


@pytest.mark.parametrize("keys", ["", "00" * 32])
def test_without_its_keys_an_encrypted_store_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, encryption_keys=[KEY]) as cache, cache_options(namespace="jane", tags=["vip"]):
        Application(cache).answer("1")
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", keys)
    for command in (
        ["export", str(tmp_path / "entries")], ["ls"], ["clear", "--yes"], ["invalidate", "vip", "--yes"],
        ["delete", "--tenant", "jane", "--yes"],
    ):  # fmt: skip
        done = CliRunner().invoke(app, [*command, "--store", url])
        assert done.exit_code != 0, command
        assert "encrypted with keys that ASKONCE_ENCRYPTION_KEYS does not have" in str(done.exception)
    assert not (tmp_path / "entries").exists()
    done = CliRunner().invoke(app, ["doctor", "--store", url, "--json"])
    findings = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert findings["encrypted namespaces"]["level"] == "warning"
    assert "cannot be read: they are encrypted with keys" in findings["encrypted namespaces"]["value"]
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", KEY.hex())  # nothing was left that this one does not open
    done = CliRunner().invoke(app, ["delete", "--tenant", "jane", "--yes", "--store", url])
    assert done.exit_code == 0, done.exception
