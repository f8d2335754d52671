"""``askonce simulate``, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from askonce import Cache
from askonce.entries.entry import Answer
from askonce.keys.normal_form import NormalForm


def askonce(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "askonce.cli", *arguments], capture_output=True, encoding="utf-8")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = tmp_path_factory.mktemp("log") / "accesses.log"
    with Cache("memory://", access_log=log) as cache:
        for number in range(300):
            request = cache.engine.request("answer", lambda: NormalForm({"question": number % 7 * (number % 11)}))  # noqa: B023
            assert request is not None
            cache.engine.answer(request, lambda: b"because " * 9, Answer)
    return log


def test_it_prints_a_table_and_the_best_setting(log: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curves.svg"
    done = askonce("simulate", str(log), "--plot", str(picture), "--policy", "gdsf", "--policy", "lru")
    assert (done.returncode, done.stderr) == (0, "")
    assert "300 requests" in done.stdout
    assert "Best: max_bytes=" in done.stdout
    assert "<svg" in picture.read_text()


def test_it_prints_json(log: Path) -> None:
    done = askonce("simulate", str(log), "--json", "--entries", "--size", "5", "--size", "20", "--ttl", "never")
    report = json.loads(done.stdout)
    assert report["unit"] == "entries"
    assert [bound["size"] for bound in report["bounds"]] == [5, 20]
    assert {point["policy"] for point in report["points"]} == {"gdsf", "gdsf+cost", "lec", "lfu", "lru"}


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    done = askonce("simulate", str(tmp_path / "none.log"))
    assert done.returncode == 1
    assert done.stderr.startswith("askonce: there is no access log")
    assert len(done.stderr.splitlines()) == 1
