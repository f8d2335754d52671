"""What is wrong with a command as it is typed ends it with exit code 2; what goes wrong otherwise, with 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from askonce import Cache, ConfigError, Corpus, cache_options
from askonce.cli.app import app
from askonce.errors import AskOnceError
from askonce.stores import open_store
from tests.cli.test_reference import commands
from tests.support.application import Application


def askonce(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "askonce", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("application")
    (folder / "pyproject.toml").write_text('[tool.askonce]\nstore = "sqlite:///cache.db"\naccess_log = "log"\n')
    with Cache(f"sqlite:///{folder}/cache.db", access_log=folder / "log") as cache:
        Application(cache).answer("why?")
        for tenant in ("50%", "a/b"):
            with cache_options(namespace=tenant, tags=["a tag"]):
                Application(cache).answer("why?")
    (folder / "request").write_text(json.dumps({"prompt": "why?"}))
    (folder / "inner").mkdir()
    return folder


WRONG = [
    "", "nothere", "ls --limit 0", "ls --after zz", "ls --store nothere", "ls --store nothere://x",
    "ls --store sqlite://", "ls --store memory://", "ls --store=", "ls --namespace=", "ls --tenant=", "show",
    "show request --tenant=", "key", "key request --namespace=", "key request --model app", "diff request",
    "diff request request --model :x", "clear --namespace=", "clear --store redis://localhost:port",
    "invalidate", "invalidate a --tenant=", "delete", "delete --text=", "delete --tag=", "delete --source=",
    "delete --tenant=", "delete --tag a --text b", "delete --tenant a --tag b", "delete request --tag a",
    "delete request --text=", "delete --tag a --access-log nothere --yes",
    "export", "export x --namespace=", "import", "import x --nothere",
    "warm request", "warm request --model app", "warm request --model a:b --at-once 0",
    "doctor --store nothere", "doctor --namespace=", "bench --rounds 1", "bench --store nothere",
    "stats --by nothing", "stats --since yesterday", "stats --tenant=", "stats --namespace=", "top --most 0",
    "top --since 5", "simulate", "simulate log --size 0", "simulate log --size many",
    "simulate log --entries --size 5MB", "simulate log --policy no", "simulate log --ttl soon",
    "simulate log --ttl=-1", "simulate log --sample 0", "simulate log --sample 2", "simulate log --plot x.txt",
    "simulate log --namespace=", "prefix", "prefix report --days 0", "prefix report --namespace=",
    "prefix report --store nothere", "version --nothere",
]  # fmt: skip
FAILED = [
    "ls --store sqlite:///nothere.db", "show nothere", "key nothere", "diff request nothere",
    "delete nothere --yes", "export entries --namespace nothere", "import nothere", "import request",
    "warm nothere --model a:b", "warm request --model nothere:b", "simulate nothere", "simulate request",
    "clear", "stats --namespace nothere", "prefix report",
    "show abababababababababababababababababababababababababababababababab",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("arguments", [line.split() for line in WRONG] + [["invalidate", ""]], ids=" ".join)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2, (done.output, done.exception)


def test_where_something_else_is_stored_is_named_as_options() -> None:
    options = "--namespace default; --namespace default --tenant 50%; --namespace default --tenant a/b"
    listed = CliRunner().invoke(app, ["ls", "--namespace", "nothere"])
    assert f"The store has: {options}" in listed.stdout
    looked = CliRunner().invoke(app, ["doctor", "--namespace", "nothere", "--json"])
    assert options in [one["value"] for one in json.loads(looked.stdout)["findings"]]
    assert "--namespace" not in CliRunner().invoke(app, ["ls", "--tenant", "50%"]).stdout


@pytest.mark.skipif(os.name == "nt", reason="it has no such shell")
@pytest.mark.parametrize(
    ("arguments", "closed", "code", "message"),
    [
        ("ls", ">&-", 0, ""),
        ("ls", "2>&-", 0, ""),
        ("clear", "<&-", 1, "Aborted"),
        ("clear", "<&- 2>&-", 1, ""),
        ("delete --text -", "<&-", 2, "text"),
        ("key -", "<&-", 1, "standard input is no JSON"),
        ("import -", "<&-", 1, "not a file of `askonce export`"),
        ("export -", ">&-", 1, "standard output: it is closed"),
        ("show nothere", "2>&-", 1, ""),
    ],
)
def test_a_standard_stream_may_be_closed(
    folder: Path, arguments: str, closed: str, code: int, message: str
) -> None:
    line = f"{sys.executable} -m askonce {arguments} {closed}"
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert message in done.stderr
    if code and ">" in closed:
        assert done.stdout == ""  # no message of an error gets there


def test_an_argument_that_is_not_utf_8_is_an_error_of_one_line(folder: Path) -> None:
    with Cache() as cache:
        Application(cache).answer("why?")
    text = "caf\udce9"  # as Python has it
    group = typer.main.get_command(app)
    for name, command in commands(group):
        path = name.split()[1:]
        if path == ["proxy"]:
            continue
        for one in command.params:
            if getattr(one, "is_flag", False) or one.name == "help":
                continue
            for before in ([], ["request"]):
                given = [text] if one.param_type_name == "argument" else [*before, one.opts[0], text]
                done = CliRunner().invoke(app, [*path, *given], input="y\n")
                known = done.exception is None or isinstance(done.exception, (AskOnceError, OSError, SystemExit))
                assert known, (path, given, done.exception)
    for option in ("--tag", "--source", "--tenant", "--text"):
        done = CliRunner().invoke(app, ["delete", option, text, "--yes"])
        assert done.exit_code == 2 and "is not valid Unicode" in done.output


@pytest.mark.parametrize("line", FAILED)
def test_an_error_is_exit_code_1(line: str) -> None:
    done = CliRunner().invoke(app, line.split(), input="")
    assert done.exit_code == 1, (done.output, done.exception)
    assert isinstance(done.exception, (ConfigError, SystemExit))


def test_both_as_a_shell_sees_them(folder: Path) -> None:
    done = [askonce(folder, "ls", "--after", "zz"), askonce(folder, "show", "nothere")]
    assert [one.returncode for one in done] == [2, 1]
    assert "--after is what the page before printed" in done[0].stderr
    assert done[1].stderr.startswith("askonce: cannot read nothere")


def test_files_of_the_table_are_relative_to_its_folder(folder: Path) -> None:
    for where in (folder, folder / "inner"):
        found = json.loads(askonce(where, "ls", "--json").stdout)
        assert len(found["entries"]) == 1
    assert not (folder / "inner" / "cache.db").exists()


def test_tenants_are_named_as_the_application_named_them(folder: Path) -> None:
    shown = askonce(folder, "stats", "--by", "tenant").stdout
    assert "a/b" in shown and "50%" in shown
    assert "%2F" not in shown and "%25" not in shown


def test_what_rows_may_be_is_named(folder: Path) -> None:
    for command in ("stats", "top"):
        shown = askonce(folder, command, "--by", "color").stderr
        assert "'color' is none of hour, day, layer, model, tenant, tag" in shown and "Value error" not in shown


def test_a_wrong_name_in_the_table_comes_before_a_missing_store(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.askonce]\nstoer = "sqlite:///cache.db"\n')
    done = askonce(tmp_path, "ls", "--store", "sqlite:///cache.db")
    assert done.returncode == 1 and "stoer" in done.stderr
    (tmp_path / "pyproject.toml").write_text('[tool.askonce]\nstore = "sqlite:///cache.db"\nttl = "soon"\n')
    done = askonce(tmp_path, "ls")
    assert done.returncode == 1 and "ttl" in done.stderr


def test_requests_are_compared_without_a_store(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(json.dumps({"prompt": name}))
    done = askonce(tmp_path, "diff", "a", "b", "--store", "sqlite:///nothere.db")
    assert (done.returncode, done.stderr) == (0, "")
    done = askonce(tmp_path, "key", "a", "--store", "sqlite:///nothere.db")
    assert done.returncode == 0 and "no entry has its key" in done.stdout
    assert not (tmp_path / "nothere.db").exists()


def test_without_the_keys_nothing_is_written_to_an_encrypted_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with Cache(url, encryption_keys=[bytes(16)]) as cache, cache_options(namespace="jane"):
        Application(cache).answer("why?")
    store = open_store(url)
    before = store.namespaces()
    for command in ("delete --tenant jane --yes", "delete --text why? --yes", "invalidate a --yes", "doctor"):
        askonce(tmp_path, *command.split(), "--store", url)
    assert store.namespaces() == before
    store.close()


def test_doctor_sees_that_a_file_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    with Cache(f"sqlite:///{file}") as cache:
        for number in range(300):
            Application(cache).answer(f"{number} why? " * 20)
    store = open_store(f"sqlite:///{file}")
    store.delete("nothing", [b"x"])
    store.close()
    data = bytearray(file.read_bytes())
    for at in range(12 * 4096, len(data), 4096):
        data[at : at + 12] = b"\xff" * 12
    file.write_bytes(data)
    done = askonce(tmp_path, "doctor", "--store", f"sqlite:///{file}")
    assert done.returncode == 1 and "damaged" in done.stdout + done.stderr


def test_a_question_is_no_part_of_what_is_printed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url) as cache:
        Application(cache).answer("why?")
    for answer, code in (("", 1), ("no\n", 1), ("what\ny\n", 0)):
        command = [sys.executable, "-m", "askonce", "clear", "--store", url, "--json"]
        done = subprocess.run(command, input=answer, capture_output=True, encoding="utf-8")
        assert done.returncode == code and "[y/N]" in done.stderr
        assert done.stdout == "" if code else json.loads(done.stdout)["deleted"] == 1
        assert done.stdout.startswith("{") or code


def doctor(url: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = CliRunner().invoke(app, ["doctor", "--store", url, "--json"])
    return done.exit_code, {one["name"]: one for one in json.loads(done.stdout)["findings"]}


def test_doctor_says_what_a_cache_would_say_of_a_place_that_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, Path("/dev/null"), tmp_path / "file" / "cache.db", tmp_path / "file" / "a" / "cache.db"):
        with pytest.raises(ConfigError) as raised:
            Cache(f"sqlite:///{path}")
        code, findings = doctor(f"sqlite:///{path}")
        found = findings["using the store"]
        assert (code, found["level"], found["value"]) == (1, "problem", str(raised.value))
    code, findings = doctor(f"sqlite:///{tmp_path}/new/cache.db")
    assert (code, findings["entries"]["level"]) == (0, "warning")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_doctor_sees_that_a_folder_cannot_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    code, findings = doctor(f"sqlite:///{tmp_path}/cache.db")
    assert code == 1 and "cannot create" in findings["using the store"]["value"]


def test_bench_measures_where_a_store_would_be(tmp_path: Path) -> None:
    for path in (tmp_path / "cache.db", tmp_path / "new" / "cache.db"):
        done = CliRunner().invoke(app, ["bench", "--rounds", "10", "--store", f"sqlite:///{path}", "--json"])
        assert done.exit_code == 0, done.exception
        assert json.loads(done.stdout)["store"] == f"a new file beside {path}"
        assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["bench", "--store", f"sqlite:///{tmp_path}/file/cache.db"])
    assert "cannot create" in str(done.exception)


@pytest.mark.parametrize("url", ["nothere", "redis://localhost:port", "sqlite://", "nothere://x"])
def test_a_wrong_url_is_named_with_where_it_stands(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(f'[tool.askonce]\nstore = "{url}"\n')
    for where in (f"[tool.askonce] of {tmp_path / 'pyproject.toml'}: ", "the variable ASKONCE_STORE: "):
        for make in (Cache, lambda: Corpus().cache):
            with pytest.raises(ConfigError) as raised:
                make()
            assert str(raised.value).startswith(where)
        done = CliRunner().invoke(app, ["ls"])
        assert done.exit_code == 1 and str(done.exception).startswith(where)
        monkeypatch.setenv("ASKONCE_STORE", url)


@pytest.mark.parametrize("keys", ["00", "nothex", "00" * 32 + ",00"])
def test_keys_in_the_variable_have_its_form(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", keys)
    done = CliRunner().invoke(app, ["ls"])
    assert "ASKONCE_ENCRYPTION_KEYS has keys of 32, 48 or 64 hexadecimal digits" in str(done.exception)


def test_an_export_needs_a_file(folder: Path) -> None:
    for file in ("", str(folder)):
        done = CliRunner().invoke(app, ["export", file, "--yes"])
        assert done.exit_code == 2 and "is no file" in done.output, done.output
