"""Each command on each store, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from askonce import Cache, ConfigError, cache_options
from askonce.cli.app import app
from askonce.entries.entry import Entry, Place
from askonce.stores import open_store
from askonce.stores.base import Record
from askonce.stores.redis.store import RedisStore
from tests.cli.conftest import Run
from tests.support.application import Application


def read(done: Any) -> Any:
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def key_of(cache: Cache, question: str) -> str:
    return Application(cache).request(question).place.key.hex()


def test_ls_shows_every_entry_a_page_at_a_time(cache: Cache, run: Run) -> None:
    application = Application(cache)
    with cache_options(tags=["tagged"]):
        for number in range(130):
            application.answer(f"question {number}")
    found: dict[str, Any] = {}
    after, pages = "", 0
    while pages == 0 or after:
        page = read(run("ls", "--limit", "40", "--json", *(("--after", after) if after else ())))
        found |= {row["key"]: row for row in page["entries"]}
        after, pages = page["after"], pages + 1
        assert pages < 200
    assert found.keys() == {key_of(cache, f"question {number}") for number in range(130)}
    row = found[key_of(cache, "question 7")]
    assert (row["kind"], row["model"], row["tags"], row["hits"]) == ("answer", "gpt-4o", ["tagged"], 0)
    shown = run("ls", "--limit", "200")
    assert key_of(cache, "question 129") in shown.stdout
    assert "Nothing is stored" in run("ls", "--tenant", "nobody").stdout


def test_what_reads_a_pipe_gets_whole_names(tmp_path: Path) -> None:
    url, tag = f"sqlite:///{tmp_path / 'cache.db'}", "documents-of-" + "the-department-" * 3
    with Cache(url) as cache, cache_options(tags=[tag]):
        Application(cache).answer("why?")
        key = key_of(cache, "why?")
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "askonce", "ls", "--store", url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert tag in done.stdout
    assert key in done.stdout


def test_show_has_the_entry_and_its_request(cache: Cache, run: Run) -> None:
    Application(cache).answer("why?")
    found = read(run("show", key_of(cache, "why?"), "--json"))
    assert found["payload"] == "why?!"
    assert found["request"] == {"question": "why?"}
    assert found["usage"]["input_tokens"] == 10
    assert found["fresh"] is True
    assert "why?!" in run("show", key_of(cache, "why?")).stdout
    missing = run("show", "ab" * 32)
    assert missing.exit_code == 1
    assert "there is no entry" in str(missing.exception)


def test_key_explains_a_request(cache: Cache, run: Run, tmp_path: Path) -> None:
    body = {
        "model": "gpt-4o", "temperature": 0, "timeout": 30, "api_key": "sk-secret",
        "messages": [{"role": "user", "content": "why?"}],
    }  # fmt: skip
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))
    found = read(run("key", str(file), "--explain", "--json"))
    assert found["left_out"] == ["model.timeout", "model.api_key"]
    assert found["stored"] is False
    assert "sk-secret" not in run("key", str(file), "--explain").stdout
    Application(cache).answer("why?")
    form = {"version": 2, "kind": "own", "question": "why?"}
    file.write_text(json.dumps(form))
    assert read(run("key", str(file), "--json"))["stored"] is False
    for wrong in (str(tmp_path / "none.json"), "{"):
        assert isinstance(run("key", wrong).exception, ConfigError)


def test_diff_says_where_two_requests_differ(cache: Cache, run: Run, tmp_path: Path) -> None:
    files = []
    for number, prompt in enumerate(("why?", "why not?")):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}))
    found = read(run("diff", *map(str, files), "--json"))
    assert found == {
        "equal": False,
        "differences": [{"path": "messages[0].content", "first": "why?", "second": "why not?"}],
    }
    assert read(run("diff", str(files[0]), str(files[0]), "--json"))["equal"]
    for question in ("one", "two"):
        Application(cache).answer(question)
    for file, word in zip(files, ("one", "o\xa0e"), strict=True):
        prompt = f"{9_000 * 'a '}{word}{9_000 * ' b'}"
        file.write_text(json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}))
    shown = run("diff", *map(str, files)).stdout
    assert len(shown) < 3_000 and r"o\xa0e" in shown and "of 36,003" in shown
    shown = run("diff", key_of(cache, "one"), key_of(cache, "two"))
    assert "question" in shown.stdout
    assert "two" in shown.stdout


def test_deletions_are_confirmed_and_count(cache: Cache, run: Run) -> None:
    application = Application(cache)
    for number in range(6):
        with cache_options(tags=["even"] if number % 2 == 0 else []):
            application.answer(f"{number}")
    refused = run("clear", input="n\n")
    assert refused.exit_code == 1
    assert cache.stats().entries == 6
    assert run("clear").exit_code == 1  # nobody answers
    assert cache.stats().entries == 6
    assert read(run("invalidate", "even", "--yes", "--json"))["deleted"] == 3
    assert run("delete", key_of(cache, "1"), input="y\n").exit_code == 0
    assert run("delete", key_of(cache, "1"), "--yes").exit_code == 1  # it is gone
    assert cache.stats().entries == 2
    with cache_options(namespace="tenant"):
        application.answer("theirs")
    assert read(run("clear", "--yes", "--json"))["deleted"] == 2
    assert cache.stats().entries == 0
    assert read(run("clear", "--yes", "--json", "--tenant", "tenant"))["deleted"] == 1


def test_a_deleted_entry_is_in_no_running_process_and_no_log(
    url: str, namespace: str, run: Run, tmp_path: Path
) -> None:
    log = tmp_path / "accesses.log"
    with Cache(url, namespace=namespace, timeout_seconds=20, local_ttl=600, access_log=log) as running:
        with cache_options(namespace="hers"):
            Application(running).answer("why?")
            key = key_of(running, "why?")
        running.flush()
        found = read(run("delete", key, "--tenant", "hers", "--access-log", str(log), "--yes", "--json"))
        assert (found["entries"], found["accesses"]) == ({f"{namespace}/hers": 1}, 1)
        deadline = time.monotonic() + 20
        application = Application(running)
        with cache_options(namespace="hers"):
            while not application.calls:
                assert time.monotonic() < deadline
                application.answer("why?")
                time.sleep(0.1)


def test_doctor_and_bench_look_at_the_store(cache: Cache, run: Run, url: str) -> None:
    done = run("doctor", "--json")
    found = read(done)
    names = {one["name"]: one for one in found["findings"]}
    assert names["write and read"]["level"] == "ok"
    assert names["circuit breaker"]["value"] == "closed"
    assert "--store" in names["store"]["value"]
    if url.startswith("sqlite"):
        assert names["permissions"]["level"] == "ok"
        assert names["journal"]["value"] == "wal"
    elif url.startswith("redis"):
        assert names["maxmemory-policy"]["value"] == "noeviction"
        assert names["clock skew"]["level"] == "ok"
    else:
        assert names["clock skew"]["level"] == "ok"
    assert "circuit breaker" in run("doctor").stdout
    figures = read(run("bench", "--rounds", "20", "--json"))["milliseconds"]
    assert all(one["median"] > 0 for one in figures.values())
    store = open_store(url, timeout_seconds=20)
    assert store.size("askonce bench").entries == store.size("askonce doctor").entries == 0
    store.close()


def test_doctor_judges_what_a_server_says() -> None:
    from askonce.cli.doctor import of_facts

    facts = {
        "clock": 1000.0, "maxmemory_policy": "allkeys-lru", "limit_bytes": 100, "size_bytes": 95, "evicted_keys": 7,
    }  # fmt: skip
    levels = {one.name: one.level for one in of_facts(facts, 1100.0)}
    assert levels == {
        "clock skew": "warning", "size": "ok", "maxmemory-policy": "problem", "maxmemory": "ok",
        "memory in use": "warning", "keys evicted by the server": "warning",
    }  # fmt: skip


def test_the_version_of_valkey_is_its_own() -> None:
    """Valkey names the version of Redis that it is compatible with, too."""
    info = {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.0"}
    assert RedisStore._facts_in(info)["version"] == "Valkey 9.1.0"
    assert RedisStore._facts_in({"redis_version": "8.2.1"})["version"] == "8.2.1"


def test_the_program_says_mistakes_in_one_line(tmp_path: Path) -> None:
    def askonce(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {name: one for name, one in os.environ.items() if not name.startswith("ASKONCE")}
        return subprocess.run(
            [sys.executable, "-m", "askonce", *arguments],
            capture_output=True, encoding="utf-8", env=environment | more, cwd=tmp_path,
        )  # fmt: skip

    for arguments, message in (
        (("ls", "--store", f"sqlite:///{tmp_path / 'none.db'}"), "there is no store in"),
        (("ls", "--store", "redis://127.0.0.1:1"), "127.0.0.1:1"),
        (("import", str(tmp_path / "none")), "cannot read"),
        (("export", str(tmp_path / "no" / "folder"), "--store", f"sqlite:///{tmp_path / 'none.db'}"), "no store"),
    ):
        done = askonce(*arguments)
        assert done.returncode == 1, done
        assert done.stderr.startswith("askonce: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert askonce("ls", "--no-such-option").returncode == 2
    assert "is in the memory of its own process" in askonce("ls", "--store", "memory://").stderr
    assert not (tmp_path / "none.db").exists()
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with Cache(url) as cache:
        Application(cache).answer("why?")
    done = askonce("ls", "--json", ASKONCE_STORE=url)
    assert len(json.loads(done.stdout)["entries"]) == 1
    version = json.loads(askonce("version", "--json").stdout)["askonce"]
    assert askonce("--version").stdout == f"askonce {version}\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_its_packages_the_program_names_the_extra(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from askonce.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert "pip install 'askonce[cli]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_document_that_ls_lists_can_be_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    key = bytes(range(16))
    with Cache(url) as cache:
        place = Place("default", key)
        value = cache.engine.codec.encode(Entry(b"text", 1.0, kind="chunk"), bound_to=place.bound_to)
        cache.store.put("default", [Record(key, value, None)])
    done = CliRunner().invoke(app, ["show", key.hex(), "--json", "--store", url])
    assert json.loads(done.stdout)["kind"] == "chunk"
