"""What commands say of damaged entries, rotated keys, narrow terminals and new projects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from askonce import Cache, ConfigError, cache_options
from askonce.cli.app import app
from askonce.stores import open_store
from tests.support.application import Application
from tests.totals.requests import send


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def askonce(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: one for name, one in os.environ.items() if name != "ASKONCE_STORE"} | more
    command = [sys.executable, "-m", "askonce", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")


def test_ls_goes_on_to_the_pages_of_an_older_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, old, new = f"sqlite:///{tmp_path}/cache.db", bytes(16), b"n" * 16
    with Cache(url, encryption_keys=[old]) as cache:
        for number in range(3):
            Application(cache).answer(f"{number}")
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", f"{new.hex()},{old.hex()}")
    found = json.loads(run("ls", "--store", url, "--json").stdout)
    assert (len(found["entries"]), found["after"]) == (3, "")
    shown = run("ls", "--store", url).stdout
    assert "Nothing" not in shown and "More" not in shown


def test_what_is_under_other_keys_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, old, new = f"sqlite:///{tmp_path}/cache.db", bytes(16), b"n" * 16
    for keys in (old, new):
        with Cache(url, encryption_keys=[keys]) as cache:
            Application(cache).answer("why?")
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", new.hex())
    for command in (["ls"], ["export", str(tmp_path / "file")], ["clear", "--yes"]):
        done = run(*command, "--store", url)
        assert done.exit_code == 0 and "encrypted with keys" in done.stderr.replace("\n", " "), command
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", old.hex())
    assert len(json.loads(run("ls", "--store", url, "--json").stdout)["entries"]) == 1


def test_the_next_page_has_the_options_of_this_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, namespace="shop") as cache, cache_options(namespace="a b"):
        for number in range(9):
            Application(cache).answer(f"{number}")
    shown = run("ls", "--store", url, "--namespace", "shop", "--tenant", "a b", "--limit", "2").stdout
    more = shown.splitlines()[-1]
    assert more.startswith("More: askonce ls --after ")
    assert more.endswith(f" --limit 2 --store {url} --namespace shop --tenant 'a b'")


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[str, str]:
    """A store with five entries, and the key of one of them that is damaged."""
    url = f"sqlite:///{tmp_path}/damaged.db"
    with Cache(url) as cache:
        for number in range(5):
            with cache_options(tags=["all"]):
                Application(cache).answer(f"{number}")
        key = Application(cache).request("3").place.key
    store = open_store(url)
    value = bytearray(store.get("default", key) or b"")
    value[-3] ^= 0xFF
    [record] = [one for one in store.page("default").records if one.key == key]
    store.put("default", [type(record)(key, bytes(value), record.expires_at, record.weight, ("all",))])
    store.close()
    return url, key.hex()


def test_a_damaged_entry_is_left_out_of_an_export(damaged: tuple[str, str], tmp_path: Path) -> None:
    url, _ = damaged
    done = run("export", str(tmp_path / "entries"), "--store", url)
    assert done.exit_code == 0
    assert "Exported 4 entries of 1 namespace; left out 1 that cannot be read." in done.output
    done = run("export", str(tmp_path / "entries"), "--store", url, "--yes", "--json")
    assert json.loads(done.stdout) == {"exported": 4, "unreadable": 1, "encrypted": 0, "namespaces": ["default"]}
    done = run("import", str(tmp_path / "entries"), "--store", f"sqlite:///{tmp_path}/other.db", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["stored"] == 4


def test_an_import_does_not_blame_a_whole_file_for_an_entry(
    damaged: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "entries"
    with monkeypatch.context() as patched:  # as an export wrote it that did not look at the entries
        patched.setattr("askonce.entries.codec.Codec.can_decode", lambda *_, **__: True)
        assert run("export", str(file), "--store", damaged[0]).exit_code == 0
    done = run("import", str(file), "--store", f"sqlite:///{tmp_path}/other.db", "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert (found["stored"], found["unreadable"], found["complete"]) == (4, 1, True)


def test_messages_about_a_damaged_entry_speak_of_no_keys(damaged: tuple[str, str]) -> None:
    url, key = damaged
    for command in (["show", key], ["key", key, "--explain"], ["delete", "--tag", "none", "--yes"]):
        done = run(*command, "--store", url)
        assert done.exit_code == 1, command
        assert "ASKONCE_ENCRYPTION_KEYS" not in str(done.exception)
        assert "delete KEY" in str(done.exception) or "damaged; clear" in str(done.exception)
    found = {one["name"]: one for one in json.loads(run("doctor", "--store", url, "--json").stdout)["findings"]}
    assert found["unreadable entries"]["value"] == "1 of 5 that were looked at"
    assert found["unreadable entries"]["level"] == "warning"
    assert "without those of tenants" in found["entries"]["value"]
    assert run("delete", key, "--yes", "--store", url).exit_code == 0
    assert "unreadable entries" not in run("doctor", "--store", url, "--json").stdout


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_figure_is_cut_on_a_narrow_terminal(tmp_path: Path, columns: int) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url) as cache:
        for number in range(12):
            send(cache, number % 4)
    for command in (("stats",), ("top",), ("ls",), ("bench", "--rounds", "10"), ("doctor",)):
        shown = askonce(tmp_path, *command, "--store", url, COLUMNS=str(columns))
        assert shown.returncode == 0, shown.stderr
        assert "…" not in shown.stdout
        words = " ".join(shown.stdout.replace("│", " ").replace("┃", " ").split())
        if command == ("stats",):
            for text in ("requests", "time saved", "time spent", "67%", "12"):
                assert text in words
        if command == ("ls",) and columns >= 80:
            keys = json.loads(run("ls", "--store", url, "--json").stdout)["entries"]
            assert columns < 200 or all(one["key"] in shown.stdout for one in keys)


def test_doctor_in_a_new_project_shows_the_settings(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.askonce]\nstore = "sqlite:///cache.db"\nttl = 60\n')
    done = askonce(tmp_path, "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert "cache.db (from: [tool.askonce]" in found["store"]["value"]
    assert found["setting ttl"]["value"].startswith("60 (from: [tool.askonce]")
    assert "nothing is stored yet" in found["entries"]["value"]
    assert "nothing is stored yet" in askonce(tmp_path, "doctor").stdout
    done = askonce(tmp_path, "bench")
    assert done.returncode == 0 and "a new file beside" in done.stdout
    assert not (tmp_path / "cache.db").exists()


def test_a_wrong_setting_of_the_table_is_named_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.askonce]\nttl = "soon"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"\[tool.askonce\] of .*pyproject.toml: ttl"):
        Cache("memory://")
    with pytest.raises(ConfigError, match="invalid size"):
        Cache("memory://", ttl=5, max_bytes="much")
    Cache("memory://", ttl=5).close()


def test_show_has_times_and_costs_as_ls_has_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, ttl=1000) as cache:
        send(cache, 1)
    [row] = json.loads(run("ls", "--store", url, "--json").stdout)["entries"]
    shown = run("show", row["key"], "--store", url).stdout
    assert str(row["created_at"]) not in shown
    assert str(row["fresh_until"]) not in shown and str(row["cost_seconds"]) not in shown
    assert " s ago)" in shown and "(in 16" in shown and "$0.0055" in shown


def test_a_time_that_is_not_yet_is_wrong_usage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url) as cache:
        send(cache, 1)
    for command in ("stats", "top"):
        done = run(command, "--since", "2999-01-01", "--store", url)
        assert done.exit_code == 2
        assert "is a time in the past" in done.output
    shown = run("top", "--by", "tag", "--store", url).stdout
    assert shown.split() == ["saves", "most", "nothing", "costs", "most", "nothing"]


def test_an_explanation_is_printed_without_the_names_of_classes() -> None:
    with Cache("memory://", ttl=3600) as cache, cache_options(tags=["prices"]):
        Application(cache).answer("why?")
        shown = str(cache.explain(lambda: Application(cache).answer("why?")))
    assert "StoredEntry(" not in shown
    assert "bytes, fresh for " in shown and "tags prices; making it took " in shown


@pytest.mark.parametrize("is_down", [True, False])
def test_doctor_shows_what_it_knows_of_a_store_that_cannot_be_read(tmp_path: Path, is_down: bool) -> None:
    url = "redis://127.0.0.1:9/0" if is_down else f"sqlite:///{tmp_path}/cache.db"
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    done = run("doctor", "--store", url, "--json")
    assert done.exit_code == 1
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["store"]["value"] == f"{url} (from: --store)"
    assert found["reading the store"]["level"] == "problem"
    assert found["reading the store"]["value"]
    assert found["version of askonce"]
    done = run("doctor", "--store", url)
    assert done.exit_code == 1
    assert "reading the store" in done.stdout
    assert "1 problem: reading the store" in str(done.exception)


def test_show_prints_no_spaces_at_the_ends_of_lines(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, store_requests=True) as cache:
        Application(cache).answer("why? " * 300)
    [row] = json.loads(run("ls", "--store", url, "--json").stdout)["entries"]
    lines = run("show", row["key"], "--store", url).stdout.splitlines()
    assert lines[0].split() == ["key", row["key"]]
    assert [line for line in lines if line != line.rstrip()] == []
