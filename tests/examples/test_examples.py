"""Every example runs as it stands, offline, and shows what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    """What an example prints; it must end well and complain of nothing."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("example", "shows"),
    [
        ("langchain_answers.py", ["'hit': 'exact'", "1 hit, 1 miss"]),
        ("langchain_streaming.py", ["first time: The train", "again: The train"]),
        ("langchain_agent.py", ["model calls: 2, from the cache: 0", "model calls: 0, from the cache: 2"]),
        ("llama_index_answers.py", ["'hit': 'exact'", "2 hits, 2 misses"]),
        ("llama_index_agent.py", ["model calls: 2, from the cache: 0", "model calls: 0, from the cache: 2"]),
        ("embeddings.py", ["Monday: 3 of 3", "Tuesday: 1 of 3", "Nearest to the question: I forgot my password"]),
        ("control.py", ["1 answer with the tag is invalidated"]),
        ("encryption.py", ["again: ", "(from the cache)", "Readable in the file: False"]),
    ],
)
def test_an_example_shows_what_it_promises(example: str, shows: list[str]) -> None:
    printed = run(example)
    for text in shows:
        assert text in printed


def test_the_demo_starts_warm_the_second_time(tmp_path: Path) -> None:
    arguments = ["--store", f"sqlite:///{tmp_path / 'demo.db'}", "--limit", "6", "--delay", "0.02"]
    arguments += ["--modules", "shutil,textwrap,timeit"]

    cold = run("rag_pipeline.py", *arguments)
    assert "is empty; this run fills it" in cold
    assert "timeit: Tool for measuring execution time of small code snippets." in cold
    assert row(cold, "model calls made") == [0, 6, 6, 12]
    assert row(cold, "embeddings made")[0] > 30

    warm = run("rag_pipeline.py", *arguments)
    assert "entries from an earlier run" in warm
    assert row(warm, "questions asked") == [0, 6, 6, 12]
    assert row(warm, "model calls made") == row(warm, "embeddings made") == [0, 0, 0, 0]
    assert row(warm, "model calls saved") == [0, 6, 6, 12]
    assert row(warm, "embeddings saved") == row(cold, "embeddings made")
    assert row(warm, "money saved") == row(cold, "money spent")
    assert row(warm, "money saved")[-1] > 0
    assert "\x1b" not in cold + warm


def row(printed: str, label: str) -> list[float]:
    """The numbers in a row of the demo's table."""
    cells = next(line for line in printed.splitlines() if label in line)
    return [float(number) for number in re.findall(r"\d+\.?\d*", cells.replace(",", ""))]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--store", "ftp://nowhere"], "is no store URL"),
        (["--store", "redis://127.0.0.1:1/0"], "127.0.0.1:1"),
        (["--questions", "missing.txt"], "missing.txt"),
    ],
)
def test_the_demo_says_in_one_line_why_it_cannot_run(arguments: list[str], complaint: str) -> None:
    command = [sys.executable, str(EXAMPLES / "rag_pipeline.py"), "--modules", "glob", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
