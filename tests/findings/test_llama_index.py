"""What a cache for LlamaIndex has to do and does not do yet."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CustomLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from llama_index.llms.openai import OpenAI

from askonce import Cache
from askonce.llama_index import cached
from tests.support.provider import Answer, Provider

HELLO = [ChatMessage(role="user", content="hello")]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


class Local(CustomLLM):
    """A model on this machine."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="local")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


# -- what a hit looks like -----------------------------------------------------------------------------------------


@pytest.mark.xfail(
    strict=True,
    raises=AttributeError,
    reason="the raw of a hit is a map, so that the methods of the SDK's object fail on hits only",
)
def test_raw_of_a_hit_has_the_methods_of_the_fresh_one(
    provider: Provider, http: httpx.Client, cache: Cache
) -> None:
    llm = cached(OpenAI(model="gpt-4o", api_base=provider.openai_url, api_key="sk-x", http_client=http), cache)
    fresh, hit = llm.chat(HELLO), llm.chat(HELLO)
    assert hit.additional_kwargs["askonce"]["hit"] == "exact"
    assert hit.raw.model_dump() == fresh.raw.model_dump()
    assert json.loads(hit.raw.model_dump_json()) == json.loads(fresh.raw.model_dump_json())


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a token counter is told of kept embeddings as if they were new"
)
def test_kept_embeddings_are_not_counted_as_tokens_again(cache: Cache) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    model = cached(MockEmbedding(2, callback_manager=CallbackManager([counter])), cache)
    for _ in range(3):
        model.get_text_embedding("three words here")
    assert cache.stats().hits == 2
    assert counter.total_embedding_token_count == 3


# -- what never ends -----------------------------------------------------------------------------------------------


class Album(BaseModel):
    title: str
    tracks: int


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an answer that structured output cannot read is kept, so that every retry fails with it again",
)
def test_a_structured_answer_that_cannot_be_read_is_not_kept(http: httpx.Client, cache: Cache) -> None:
    says = iter([Answer("Sorry, which album?"), *[Answer('{"title": "Blue", "tracks": 10}')] * 2])
    with Provider(answer=lambda request: next(says)) as provider:
        llm = cached(
            OpenAI(
                model="gpt-4o",
                api_base=provider.openai_url,
                api_key="sk-x",
                http_client=http,
                pydantic_program_mode=PydanticProgramMode.LLM,
            ),
            cache,
        )
        albums: list[Album] = []
        for _ in range(3):
            with contextlib.suppress(ValueError):
                albums.append(llm.structured_predict(Album, PromptTemplate("An album of {name}?"), name="Joni"))
    assert albums == [Album(title="Blue", tracks=10)] * 2
