"""What the pages show, runs: all Python of each page, top to bottom, as a reader would paste it.

The provider is a server on this machine, and so are Redis and MongoDB. A block after ``<!-- a new program -->``
starts anew; one after ``<!-- not run: reason -->`` is passed over.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support import proxies, servers
from tests.support.provider import Provider, Talk

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>a new program|not run: [^>]+?) -->\n\n?)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)

# How many answers and how many embeddings the comments of a page say that it requests of the provider.
REQUESTS = {
    "docs/tutorials/langchain.md": (5, 3),
    "docs/tutorials/llama_index.md": (4, 4),
    "docs/how-to/per-request-options.md": (8, 0),
}


def programs(page: Path) -> list[str]:
    """The page's Python, each line where it stands in the page, so that errors name the page's line."""
    text = page.read_text()
    blocks, found = list(BLOCK.finditer(text)), list[str]()
    assert len(blocks) == text.count("```python")
    for block in blocks:
        mark = block["mark"] or ""
        if mark.startswith("not run"):
            continue
        if not found or mark == "a new program":
            found.append("")
        code = re.sub(f"^{block['indent']}", "", block["code"], flags=re.MULTILINE)
        found[-1] += "\n" * (text.count("\n", 0, block.start("code")) - found[-1].count("\n")) + code
    return found


def pages() -> list[Path]:
    every = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in every if "```python" in page.read_text()]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(answer=Talk()) as provider:
        yield provider


@pytest.fixture(scope="module")
def proxy(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """The URL of a proxy before the provider, started by the first page that needs it."""
    running: list[proxies.Proxy] = []

    def url() -> str:
        if not running:
            running.append(proxies.start(provider.anthropic_url, folder=tmp_path_factory.mktemp("proxy")))
        return running[0].url

    yield url
    for one in running:
        one.stop()


def on_this_machine(program: str, proxy: Callable[[], str]) -> str:
    """The program, with the servers that run here in place of those that it names."""
    if "http://127.0.0.1:8787" in program:
        program = program.replace("http://127.0.0.1:8787", proxy())
    if "redis://" in program:
        program = re.sub(r"redis://localhost:6379(/\d+)?", servers.start("redis-8.2").url, program)
    if "mongodb://" in program:
        program = re.sub(r"mongodb://localhost(/\w+)?", servers.start("mongodb").url, program)
    return program


def environment(provider: Provider, folder: Path) -> dict[str, str]:
    import llama_index.core

    return os.environ | {
        "OPENAI_API_KEY": "sk-of-the-tests",
        "ANTHROPIC_API_KEY": "sk-of-the-tests",
        "OPENAI_API_BASE": provider.openai_url,
        "OPENAI_BASE_URL": provider.openai_url,
        "XDG_CACHE_HOME": str(folder),
        "CACHE_KEY": os.urandom(32).hex(),
        # LlamaIndex brings the vocabulary that OpenAI's embeddings would fetch from the net.
        "TIKTOKEN_CACHE_DIR": str(Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"),
        "PYTHONWARNINGS": "default",
    }


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_runs(
    page: Path, provider: Provider, proxy: Callable[[], str], tmp_path: Path
) -> None:
    if page.name == "transport.md" and version("anthropic").startswith("0."):
        pytest.skip("this anthropic is built on httpx: the page is for those on httpx2")
    before = len(provider.requests)
    for number, program in enumerate(programs(page)):
        script = tmp_path / f"{number}_{page.stem}.py"
        script.write_text(on_this_machine(program, proxy))
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            cwd=tmp_path,
            env=environment(provider, tmp_path),
        )
        assert done.returncode == 0, done.stderr
        complaints = re.search(r"^askonce: |/src/askonce/", done.stderr, re.MULTILINE)
        assert not complaints, done.stderr

    requests = provider.requests[before:]
    answers = sum("messages" in request for request in requests)
    name = str(page.relative_to(ROOT))
    assert (answers, len(requests) - answers) == REQUESTS.get(name, (answers, len(requests) - answers)), requests
