"""``askonce prefix``, as it is typed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from askonce.cli.app import app
from askonce.prefix import PrefixTracker
from askonce.stores import configured
from askonce.testing import FakeClock
from tests.cli.test_simulate import askonce
from tests.prefix.test_report import traffic


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('tracked') / 'tracked.db'}"
    morning = time.time() // 86400 * 86400  # all within one day, at whatever time the tests run
    with PrefixTracker(url, clock=(clock := FakeClock(morning))) as tracker:
        traffic(tracker, clock)
    return url


def test_a_report_is_a_table_and_a_page(url: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = askonce("prefix", "report", "--store", url, "--html", str(page))
    assert (done.returncode, done.stderr) == (0, "")
    assert "112 requests" in done.stdout
    assert "broken by" in done.stdout
    assert page.read_text().startswith("<!doctype html>")


def test_a_report_is_json(url: str) -> None:
    done = askonce("prefix", "report", "--store", url, "--json", "--days", "1")
    assert json.loads(done.stdout)["total"]["requests"] == 112


def test_a_mistake_is_one_line_and_makes_no_file(url: str, tmp_path: Path) -> None:
    none = tmp_path / "none.db"
    for arguments, message in (
        (("--store", f"sqlite:///{none}"), "there is no store in"),
        (("--store", url, "--namespace", "other"), "nothing was tracked in namespace 'other'"),
        (("--store", url, "--html", str(tmp_path)), "cannot write"),
    ):
        done = askonce("prefix", "report", *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("askonce: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    wrong = askonce("prefix", "report", "--store", "nowhere")
    assert wrong.returncode == 2
    assert "invalid store URL" in wrong.stderr
    assert not none.exists()


def test_a_report_is_of_the_namespace_and_the_keys_that_hold_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", bytes(16).hex())
    (tmp_path / "pyproject.toml").write_text("[tool.askonce]\nstore = 'sqlite:///own.db'\nnamespace = 'shop'\n")
    configured._table.cache_clear()
    morning = time.time() // 86400 * 86400
    with PrefixTracker("sqlite:///own.db", keep_text=True, clock=(clock := FakeClock(morning))) as tracker:
        traffic(tracker, clock)
    done = CliRunner().invoke(app, ["prefix", "report", "--json"])
    assert json.loads(done.stdout)["total"]["requests"] == 112
    assert re.search(r'"example": "[^"]', done.stdout)
    done = CliRunner().invoke(app, ["prefix", "report", "--namespace", "default"])
    assert "nothing was tracked in namespace 'default'" in str(done.exception)
