"""An LLM of an own class whose code, or what that uses, is changed while the LLM lives."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from askonce import Cache
from askonce.llama_index import cached

PROGRAM = """
from contextvars import ContextVar
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import CustomLLM

tone, settings, log, calls, made = "formal", {"tone": "formal", "hits": 0}, [], 0, []
user = ContextVar("user", default=None)

def prompt():
    global calls
    calls += 1
    settings["hits"] += 1
    log.append("an answer")
    return "Be formal"

class Model(CustomLLM):
    @property
    def metadata(self): return LLMMetadata()
    def complete(self, prompt_text, formatted=False, **kwargs):
        made.append(1)
        return CompletionResponse(text=f"{prompt()} {tone} {settings['tone']} {user.get()}")
    def stream_complete(self, prompt_text, formatted=False, **kwargs):
        yield self.complete(prompt_text)

class Embedding(BaseEmbedding):
    def _get_query_embedding(self, query): return [float(len(prompt() + tone + settings["tone"]))]
    async def _aget_query_embedding(self, query): return self._get_query_embedding(query)
    def _get_text_embedding(self, text):
        made.append(1)
        return self._get_query_embedding(text)
"""
CHANGES = ["def prompt(): return 'Be rude'", "tone = 'rude'", "settings['tone'] = 'rude'"]


def program() -> Any:
    module = types.ModuleType("a_notebook")
    exec(PROGRAM, module.__dict__)
    return module


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(f"sqlite:///{tmp_path / 'answers.db'}")
    yield cache
    cache.close()


def complete(model: Any, text: str) -> str:
    return str(model.complete(text))


def stream(model: Any, text: str) -> str:
    return str([*model.stream_complete(text)][-1])


def embed(model: Any, text: str) -> str:
    return str(model.get_text_embedding_batch([text, text]))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "call"), [("Model", complete), ("Model", stream), ("Embedding", embed)])
def test_a_change_between_two_calls_is_seen_and_stored_under_a_key_of_its_own(
    store: Cache, change: str, kind: str, call: Any
) -> None:
    module = program()
    model = cached(getattr(module, kind)(), store)
    first = call(model, "one")
    made = len(module.made)
    assert call(model, "one") == first
    assert len(module.made) == made  # counters and logs that the call has changed are no settings
    exec(change, module.__dict__)
    assert call(model, "one") == call(getattr(module, kind)(), "one") != first
    assert call(model, "two") != first
    restarted = cached(getattr(program(), kind)(), store)
    assert call(restarted, "one") == call(restarted, "two") == first


def test_what_a_context_variable_holds_counts(store: Cache) -> None:
    module = program()
    model = cached(module.Model(), store)

    def call(user: str, asynchronous: bool) -> str:
        module.user.set(user)
        return str(asyncio.run(model.acomplete("mail?")) if asynchronous else model.complete("mail?"))

    for asynchronous in (False, True):
        for name in ("ann", "bob", "ann"):
            assert name in copy_context().run(call, name, asynchronous)
    assert len(module.made) == 2
