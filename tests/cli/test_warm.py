"""``askonce warm`` and ``askonce key --model``, with an application's own models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.provider import Provider

APPLICATION = """
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI

langchain = ChatOpenAI(model="gpt-4o-mini", base_url={url!r}, api_key="sk-test", max_retries=0)
llama_index = OpenAI(model="gpt-4o-mini", api_base={url!r}, api_key="sk-test", max_retries=0)
nothing = object()


def look(name: str) -> str:
    "Looks a name up."
    return name


bound = langchain.bind_tools([look], tool_choice="auto").bind(stop=["END"])
"""
REQUESTS = [
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}]},
    {"messages": [{"role": "user", "content": "Why is the sea salty?"}]},
    {"messages": [{"role": "user", "content": "Why is the sky blue?"}]},
]
LATER = {
    "langchain": "from askonce.langchain import cached; answer = cached(app.langchain, {url!r}).invoke"
    "([('user', 'Why is the sea salty?')]); print(answer.response_metadata['askonce']['hit'])",
    "bound": "from askonce.langchain import cached; model = cached(app.langchain, {url!r}).bind_tools([app.look], "
    "tool_choice='auto').bind(stop=['END']); answer = model.invoke([('user', 'Why is the sea salty?')]); "
    "print(answer.response_metadata['askonce']['hit'])",
    "llama_index": "from askonce.llama_index import cached; from llama_index.core.llms import ChatMessage; "
    "answer = cached(app.llama_index, {url!r}).chat([ChatMessage(role='user', content='Why is the sea salty?')]); "
    "print(answer.additional_kwargs['askonce']['hit'])",
}


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: one for name, one in os.environ.items() if not name.startswith("ASKONCE")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, encoding="utf-8", cwd=folder, env=environment
    )


def askonce(folder: Path, *arguments: str) -> Any:
    done = python(folder, "-m", "askonce", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("framework", ["langchain", "llama_index", "bound"])
def test_requests_of_a_file_are_answered_once(framework: str, provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION.format(url=provider.openai_url))
    (tmp_path / "requests.jsonl").write_text("\n".join(map(json.dumps, REQUESTS)))
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    own = ("--model", f"app:{framework}", "--store", url)
    before = len(provider.requests)
    first = askonce(tmp_path, "warm", "requests.jsonl", *own)
    assert (first["requests"], first["stored"], first["failed"]) == (3, 3, 0)
    assert len(provider.requests) - before == 3
    again = askonce(tmp_path, "warm", "requests.jsonl", *own)
    assert (again["hits"], again["stored"]) == (3, 0)
    assert len(provider.requests) - before == 3
    (tmp_path / "one.json").write_text(json.dumps(REQUESTS[1]))
    named = askonce(tmp_path, "key", "one.json", "--explain", *own)
    assert named["stored"]
    assert "sk-test" not in json.dumps(named)
    shown = askonce(tmp_path, "show", "one.json", *own)
    assert shown["key"] == named["key"]
    hit = python(tmp_path, "-c", "import app; " + LATER[framework].format(url=url))
    assert hit.stdout.strip() == "exact", hit.stderr


def test_failures_are_counted(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION.format(url="http://127.0.0.1:9/v1"))
    (tmp_path / "requests.json").write_text(json.dumps(REQUESTS))
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    done = python(tmp_path, "-m", "askonce", "warm", "requests.json", "--model", "app:langchain", "--store", url)
    assert done.returncode == 1
    assert "3 of 3 requests failed" in done.stderr
    for model, code, message in (
        ("app:none", 1, "no attribute"),
        ("app:nothing", 1, "got a object"),
        ("app", 2, "module:name"),
    ):
        done = python(tmp_path, "-m", "askonce", "warm", "requests.json", "--model", model, "--store", url)
        assert done.returncode == code
        assert message in done.stderr


def test_a_request_without_a_key_is_refused_before_any_is_paid(provider: Provider, tmp_path: Path) -> None:
    unstable = """

class Unstable(ChatOpenAI):
    lookup: object = iter([1])


unstable = Unstable(model="gpt-4o-mini", base_url={url!r}, api_key="sk-test", max_retries=0)
"""
    (tmp_path / "app.py").write_text((APPLICATION + unstable).format(url=provider.openai_url))
    (tmp_path / "requests.json").write_text(json.dumps(REQUESTS))
    before, own = len(provider.requests), ("--model", "app:unstable", "--store", f"sqlite:///{tmp_path}/cache.db")
    done = python(tmp_path, "-m", "askonce", "warm", "requests.json", *own)
    assert done.returncode == 1 and "request 1 is not cached" in done.stderr, done.stderr
    assert len(provider.requests) == before
