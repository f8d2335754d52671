"""What is set on an LLM or on embeddings while they answer is a setting: the answer is not stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.llms import CustomLLM
from pydantic import PrivateAttr

from askonce import Cache
from askonce.llama_index import cached, install


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


during: list[Callable[[], None]] = []
"""What another thread does while a model answers."""


def wait() -> None:
    for act in during:
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()


class Own(CustomLLM):
    persona: str = "butler"
    _last: str = PrivateAttr("")

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="own")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._last = prompt
        wait()
        return CompletionResponse(text=self.persona)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield CompletionResponse(text="I am ", delta="I am ")
        wait()
        yield CompletionResponse(text=f"I am {self.persona}", delta=self.persona)


class Vectors(BaseEmbedding):
    persona: str = "butler"

    def _get_text_embedding(self, text: str) -> list[float]:
        wait()
        return [float(len(self.persona)), 1.0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.mark.parametrize(
    ("cls", "call"),
    [
        (Own, lambda model: model.complete("q").text),
        (Own, lambda model: asyncio.run(model.acomplete("q")).text),
        (Own, lambda model: "".join(one.delta for one in model.stream_complete("q"))),
        (Vectors, lambda model: model.get_query_embedding("q")),
        (Vectors, lambda model: asyncio.run(model.aget_query_embedding("q"))),
        (Vectors, lambda model: model.get_text_embedding_batch(["q", "r"])),
    ],
)
def test_a_setting_that_is_changed_while_a_model_answers(
    cls: Any, call: Callable[[Any], Any], cache: Cache
) -> None:
    expected, model = call(cls()), cached(cls(), cache)
    during.append(lambda: setattr(model, "persona", "a pirate"))
    try:
        assert call(model) != expected
    finally:
        during.clear()
    assert call(cached(cls(), cache)) == expected
    assert cache.stats().hits == 0
    assert call(cached(cls(), cache)) == expected
    assert cache.stats().hits > 0


def test_where_it_is_installed(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_llm", Own())
    installed = install(cache)
    try:
        model = Settings.llm
        during.append(lambda: setattr(model, "persona", "a pirate"))
        assert model.complete("q").text == "a pirate"
        during.clear()
        model.persona = "butler"
        assert model.complete("q").text == "butler"
        assert cache.stats().hits == 0
    finally:
        during.clear()
        installed.uninstall()
