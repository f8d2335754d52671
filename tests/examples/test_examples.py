"""Every example runs as it stands, offline, and shows what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from askonce import Cache, cache_options

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # as when one of them is run

from changes import DELETED, REVISED, change  # noqa: E402
from corpus import Chunk, stdlib_chunks  # noqa: E402
from minilm import MiniLM  # noqa: E402
from offline_langchain import MiniLMEmbeddings, OfflineChatModel  # noqa: E402
from offline_llama_index import MiniLMEmbedding, OfflineLLM  # noqa: E402
from rag_langchain import LangChainRAG  # noqa: E402
from rag_llama_index import LlamaIndexRAG  # noqa: E402


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
        ("langchain_retrieval.py", ["250 euros", "answer: from the cache, made from ['hours']"]),
        ("llama_index_answers.py", ["'hit': 'exact'", "2 hits, 2 misses"]),
        ("llama_index_agent.py", ["model calls: 2, from the cache: 0", "model calls: 0, from the cache: 2"]),
        ("llama_index_retrieval.py", ["250 euros", "answer: from the cache, made from ['hours']"]),
        ("client_transport.py", ["askonce; fwd=miss", "askonce; hit", "1 hit, 1 miss"]),
        ("proxy.py", ["askonce; fwd=miss", "askonce; hit", "exit code: 0"]),
        ("embeddings.py", ["Monday: 3 of 3", "Tuesday: 1 of 3", "Nearest to the question: I forgot my password"]),
        ("control.py", ["1 answer with the tag is invalidated"]),
        ("semantic.py", ["matched: ", "answered from the cache, 0 wrongly", "limit: 2%"]),
        ("simulate.py", ["5000 requests would have cost $", "eviction='gdsf'", "no cache can save more"]),
        ("multiplexer.py", ["(small: accepted by the verifier)", "for sure", "LlamaIndex: calls"]),
        (
            "prefix_doctor.py",
            ["looks like a clock", "reordered tools", "looks like a uuid", "proposed: ", "% less"],
        ),
        ("encryption.py", ["again: ", "(from the cache)", "Readable in the file: False"]),
    ],
)
def test_an_example_shows_what_it_promises(example: str, shows: list[str]) -> None:
    if example == "client_transport.py" and version("anthropic").startswith("0."):
        pytest.skip("this anthropic is built on httpx: the example is for those on httpx2")
    printed = run(example)
    for text in shows:
        assert text in printed


def test_the_demo_starts_warm_the_second_time(tmp_path: Path) -> None:
    arguments = ["--store", f"sqlite:///{tmp_path / 'demo.db'}", "--limit", "6", "--delay", "0.02"]
    arguments += ["--modules", "fnmatch,glob,shutil,statistics,textwrap,timeit"]

    cold = run("rag_pipeline.py", *arguments)
    assert "is empty; this run fills it" in cold
    assert "timeit: Tool for measuring execution time of small code snippets." in cold
    assert row(cold, "questions answered") == [0, 15, 15, 30]
    assert row(cold, "model calls made") == [0, 10, 10, 20]
    assert row(cold, "embeddings made")[0] > 60
    # The first change of an index in memory concerns all that was found in it.
    assert changes(cold) == [(3, 1, 2, 3), (3, 1, 2, 3), (3, 2, 1, 3)]
    assert "Now run it again" in cold

    warm = run("rag_pipeline.py", *arguments)
    assert "entries from an earlier run" in warm
    assert row(warm, "questions answered") == row(cold, "questions answered")
    assert row(warm, "embeddings made") == [0, 0, 0, 0]
    assert row(warm, "model calls made") == [0, 4, 4, 8]  # for the changes alone
    assert changes(warm) == [
        (3, 0, 3, 3),
        (3, 1, 2, 3),
        (3, 2, 1, 3),
    ]  # the deletion had the same answers in the first run
    assert row(warm, "money saved")[-1] > row(cold, "money saved")[-1] > 0
    assert "Now run it again" not in warm
    assert "\x1b" not in cold + warm


def changes(printed: str) -> list[tuple[int, ...]]:
    """Of each change: retrievals made, answers made, answers cached, questions; through both frameworks."""
    made = re.findall(r"(\d+) retrievals?, (\d+) answers?;", printed)
    cached = re.findall(r"(\d+) of (\d+) answers cached", printed)
    found = [tuple(map(int, first + second)) for first, second in zip(made, cached, strict=True)]
    assert found[::2] == found[1::2]
    return found[::2]


def chunks() -> list[Chunk]:
    return stdlib_chunks(["textwrap", "timeit"])


def langchain_rag(cache: Cache, model: MiniLM) -> Any:
    vectors = model.embed([chunk.title for chunk in chunks()]).tolist()
    return LangChainRAG(chunks(), vectors, OfflineChatModel(delay=0), MiniLMEmbeddings(), cache, cache, cache)


def llama_index_rag(cache: Cache, model: MiniLM) -> Any:
    vectors = model.embed([chunk.title for chunk in chunks()]).tolist()
    return LlamaIndexRAG(chunks(), vectors, OfflineLLM(delay=0), MiniLMEmbedding(), cache, cache, cache)


def langchain_texts(pipeline: LangChainRAG, question: str) -> list[str]:
    return [document.metadata["text"] for document in pipeline.retriever.invoke(question)]


def llama_index_texts(pipeline: LlamaIndexRAG, question: str) -> list[str]:
    return [found.text for found in pipeline.retriever.retrieve(question)]


@pytest.mark.usefixtures("event_loop_to_leave")
@pytest.mark.filterwarnings("ignore:.langchain-community. is being sunset")  # LlamaIndex imports it if it is there
@pytest.mark.parametrize(
    ("make", "texts"), [(langchain_rag, langchain_texts), (llama_index_rag, llama_index_texts)]
)
def test_nothing_stale_is_served_after_a_change(make: Callable[..., Any], texts: Callable[..., list[str]]) -> None:
    questions = ["dedent multi line text", "wrap a paragraph", "How do I measure how long a piece of code takes?"]
    original, deleted = (
        next(chunk.text for chunk in chunks() if chunk.name == name) for name in (REVISED.name, DELETED)
    )
    with Cache("memory://") as cache:
        pipeline = make(cache, MiniLM())

        def answers_now() -> tuple[list[str], list[str]]:
            found = [text for question in questions for text in texts(pipeline, question)]
            return found, [answer for question in questions for answer in pipeline.converse([question])]

        there = []
        for event in chain(["at first"], change(pipeline, chunks())):
            cached = [answers_now() for _ in range(2)]
            with cache_options(bypass=True):
                assert cached == [answers_now()] * 2, event
            there.append([text in cached[0][0] for text in (original, deleted, REVISED.text)])
            assert any("Revised" in answer for answer in cached[0][1]) == there[-1][2]
        assert there == [[True, True, False], [True, False, False], [False, False, True], [True, True, False]]
        pipeline.close()


def row(printed: str, label: str) -> list[float]:
    """The numbers in a row of the demo's table."""
    cells = next(line for line in printed.splitlines() if label in line)
    return [float(number) for number in re.findall(r"\d+\.?\d*", cells.replace(",", ""))]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--store", "ftp://nowhere"], "invalid store URL"),
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
