"""What a cached LLM is, what a hit looks like, and what is not stored."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import logging
import pickle
from pathlib import Path

import pytest
from llama_index.core import MockEmbedding
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import (
    MockLLM,
)
from llama_index.llms.openai import OpenAI

from askonce import Cache, ConfigError
from askonce.llama_index import cached
from askonce.testing import FakeClock
from tests.llama_index.conftest import API_KEY
from tests.llama_index.samples import HELLO
from tests.support.provider import Provider
from tests.support.stores import FailingStore


def test_it_is_what_the_llm_is_and_leaves_the_llm_alone(openai: OpenAI, cache: Cache) -> None:
    before, cls = dict(openai.__dict__), type(openai)
    llm = cached(openai, cache)
    assert isinstance(llm, OpenAI) and isinstance(llm, FunctionCallingLLM)
    assert type(llm).__name__ == "OpenAI" and type(cached(openai, cache)) is type(llm)
    assert (llm.metadata, llm.class_name(), llm.to_dict()) == (openai.metadata, "openai_llm", openai.to_dict())
    assert llm._http_client is openai._http_client
    assert inspect.signature(llm.chat) == inspect.signature(openai.chat)
    llm.temperature = 0.9
    assert (type(openai), openai.__dict__) == (cls, before)


def test_cached_twice_is_cached_once(openai: OpenAI, cache: Cache) -> None:
    llm = cached(openai, cache)
    assert cached(llm) is llm and cached(llm, cache) is llm
    other = cached(llm, "memory://", namespace="other")
    assert other is not llm and type(other) is type(llm)
    with pytest.raises(ConfigError, match="int"):
        cached(3, cache)  # type: ignore[type-var]


def test_copies_share_the_cache(openai: OpenAI, provider: Provider, cache: Cache) -> None:
    llm = cached(MockLLM(max_tokens=2), cache)
    for twin in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy()):
        twin.complete("hi")
    assert cache.stats().hits == 2
    warmer = cached(openai, cache).model_copy(update={"temperature": 0.7})
    cached(openai, cache).chat(HELLO)
    warmer.chat(HELLO)
    assert provider.count == 2


def test_it_can_be_pickled_and_finds_its_store_again(
    tmp_path: Path, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    llm = cached(MockLLM(max_tokens=2), f"sqlite:///{tmp_path}/cache.db")
    again = pickle.loads(pickle.dumps(llm))
    assert type(again) is type(llm) and again._askonce.cache is llm._askonce.cache
    assert type(pickle.loads(pickle.dumps(cached(MockLLM(), cache)))) is MockLLM
    assert "give a store's URL" in caplog.text
    llm._askonce.cache.close()


def test_of_a_structured_llm_the_one_inside_is_cached(openai: OpenAI, cache: Cache) -> None:
    from tests.llama_index.samples import Album

    structured = openai.as_structured_llm(Album)
    wrapped = cached(structured, cache)
    assert cached(wrapped) is wrapped and wrapped.output_cls is Album and structured.llm is openai
    assert wrapped.chat(HELLO).raw == wrapped.chat(HELLO).raw == Album(title="hello", tracks=3)
    assert cache.stats().hits == 1


async def test_a_thousand_at_once_are_one_call(openai: OpenAI, provider: Provider, cache: Cache) -> None:
    provider.delay_seconds = 0.2
    llm = cached(openai, cache)
    responses = await asyncio.gather(*(llm.achat(HELLO) for _ in range(1000)))
    assert provider.count == 1 and {response.message.content for response in responses} == {"You said: hello"}
    assert cache.stats().coalesced == 999


async def test_answers_come_when_the_store_is_down(openai: OpenAI) -> None:
    llm = cached(openai, Cache(FailingStore(failing=True)))
    assert llm.chat(HELLO).message.content == "You said: hello"
    assert (await llm.achat(HELLO)).message.content == "You said: hello"
    assert "".join([chunk.delta async for chunk in await llm.astream_chat(HELLO)]) == "You said: hello"
    assert "".join(chunk.delta for chunk in llm.stream_complete("ho")) == "You said: ho"


async def test_errors_of_the_provider_come_through_and_stale_answers_stand_in(
    openai: OpenAI, provider: Provider, clock: FakeClock
) -> None:
    llm = cached(openai, Cache("memory://", ttl=60, stale_if_error=60, clock=clock))
    llm.chat(HELLO)
    clock.advance(61)
    provider.failures = 99
    assert llm.chat(HELLO).additional_kwargs["askonce"]["hit"] == "stale"
    assert [chunk.delta for chunk in llm.stream_chat(HELLO)] == ["You", " said:", " hello", ""]
    assert [chunk.delta async for chunk in await llm.astream_chat(HELLO)] == ["You", " said:", " hello", ""]
    clock.advance(60)
    for call in (lambda: llm.chat(HELLO), lambda: list(llm.stream_chat(HELLO))):
        with pytest.raises(Exception, match="out of order"):
            call()


def test_the_api_key_is_nowhere(openai: OpenAI, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="askonce")
    with Cache(f"sqlite:///{tmp_path}/cache.db") as cache:
        llm = cached(openai, cache)
        for _ in range(2):
            llm.chat(HELLO)
            llm.complete("hi", extra_headers={"Authorization": f"Bearer {API_KEY}"})
        with contextlib.suppress(Exception):
            llm.chat(HELLO, strange=object())
        rotated = cached(openai.model_copy(update={"api_key": API_KEY + "-rotated"}), cache)
        assert "askonce" in rotated.chat(HELLO).additional_kwargs
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert len(files) > 1000 and API_KEY.encode() not in files and API_KEY not in caplog.text


def test_a_model_made_by_the_class_of_a_cached_one_is_a_plain_one(openai: OpenAI, provider: Provider) -> None:
    llm = cached(openai, "memory://")
    for made in (type(llm).from_dict(llm.to_dict() | {"api_key": "sk-none"}), type(llm)(**openai.model_dump())):
        assert type(made) is OpenAI
    made = type(llm).from_dict(llm.to_dict() | {"api_key": "sk-none"}, http_client=openai._http_client)
    for calls in (1, 2):
        made.complete("hi")
        assert provider.count == calls
    for again in (cached(made, "memory://"), pickle.loads(pickle.dumps(made))):
        assert again.complete("hi").text
    embeddings = cached(MockEmbedding(3), "memory://")
    remade = type(embeddings).from_dict(embeddings.to_dict())
    assert type(remade) is MockEmbedding and remade.get_text_embedding("hi") == [0.5] * 3
