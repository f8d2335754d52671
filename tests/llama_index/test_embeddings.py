"""Cached embedding models, and the key-value store."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms.mock import MockLLM
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.embeddings.openai import OpenAIEmbedding

from askonce import Cache, ConfigError, cache_options
from askonce.llama_index import cached
from tests.llama_index.conftest import Events
from tests.support.holds import holds_of_the_loop
from tests.support.provider import Provider
from tests.support.stores import FailingStore


class Limiter(BaseRateLimiter):
    """Counts how often it was acquired."""

    acquired: int = 0

    def acquire(self) -> None:
        self.acquired += 1

    async def async_acquire(self) -> None:
        self.acquired += 1


class Large(BaseEmbedding):
    model_name: str = "large"

    def _get_text_embedding(self, text: str) -> list[float]:
        return [0.1] * 1536

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vector = [0.1] * 1536
        return [vector] * len(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._get_text_embeddings(texts)

    def _get_query_embedding(self, query: str) -> list[float]:
        return [0.1] * 1536

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return [0.1] * 1536


async def test_a_large_batch_does_not_hold_up_the_event_loop(cache: Cache) -> None:
    """For longer than LlamaIndex does, which checks all vectors for its events."""
    plain, texts = Large(embed_batch_size=2048), [f"text {number}" for number in range(6000)]
    async with holds_of_the_loop() as own:
        await plain.aget_text_embedding_batch(texts)
    model = cached(plain, cache)
    for _ in range(2):
        async with holds_of_the_loop() as holds:
            vectors = await model.aget_text_embedding_batch(texts)
        assert len(vectors) == len(texts)
        assert holds.longest_seconds < own.longest_seconds + 0.1, "it was 0.7 s, and 0.3 s when all was stored"
    assert cache.stats().hits == len(texts)


def test_it_is_what_the_model_is(embedding: OpenAIEmbedding, cache: Cache) -> None:
    model = cached(embedding, cache)
    assert isinstance(model, OpenAIEmbedding) and type(model).__name__ == "OpenAIEmbedding"
    assert model.to_dict() == embedding.to_dict()
    assert cached(model) is model
    assert not isinstance(pickle.loads(pickle.dumps(cached(Counting(), "memory://"))), str)
    with pytest.raises(ConfigError, match="str"):
        cached("text-embedding-3-small", cache)  # type: ignore[type-var]


async def test_only_misses_go_to_the_model_each_once_in_one_call(
    embedding: OpenAIEmbedding, provider: Provider, cache: Cache, events: Events
) -> None:
    model = cached(embedding, cache)
    first = model.get_text_embedding_batch(["a", "bb", "a"])
    assert first == embedding.get_text_embedding_batch(["a", "bb", "a"])
    assert provider.requests[0]["input"] == ["a", "bb"]
    provider.requests.clear()
    assert await model.aget_text_embedding_batch(["bb", "ccc", "a", "ccc"]) == [
        [2.0, 0.5, -0.25], [3.0, 0.5, -0.25], [1.0, 0.5, -0.25], [3.0, 0.5, -0.25],
    ]  # fmt: skip
    assert [request["input"] for request in provider.requests] == [["ccc"]]
    assert model.get_text_embedding("ccc") == await model.aget_text_embedding("ccc") == [3.0, 0.5, -0.25]
    assert model.get_text_embedding_batch([]) == [] and provider.count == 1
    assert set(events.names()) == {"EmbeddingStartEvent", "EmbeddingEndEvent"}


def test_the_vectors_of_a_batch_are_lists_of_their_own(cache: Cache) -> None:
    model = cached(Counting(), cache)
    for _ in range(2):
        one, other = model.get_text_embedding_batch(["a", "a"])
        one[0] = 99.0
        assert other[0] != 99.0


async def test_queries_and_texts_and_models_have_separate_keys(
    embedding: OpenAIEmbedding, provider: Provider, cache: Cache
) -> None:
    larger = embedding.model_copy(update={"dimensions": 7})
    rotated = embedding.model_copy(update={"api_key": "another", "embed_batch_size": 7, "timeout": 1})
    model, other, same = (cached(one, cache) for one in (embedding, larger, rotated))
    for _ in range(2):
        model.get_query_embedding("hi")
        await same.aget_query_embedding("hi")
        same.get_text_embedding("hi")
        other.get_text_embedding("hi")
    assert provider.count == 2  # OpenAI is sent the same for a query and a text


class Counting(BaseEmbedding):
    """Counts its calls; every vector is new. Has only the methods that it must have."""

    fails: bool = False
    gives: Any = None

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        if self.fails and text == "bad":
            raise RuntimeError("out of order")
        if self.gives is not None:
            return self.gives  # type: ignore[no-any-return]
        return [0.1, len(text) / 3]


LENGTH = "LENGTH_OF_THE_SERVED_VECTORS"
"""What a server does is not to be seen in a model."""


class Behind(Counting):
    """What is behind one name: the length of its vectors changes."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [1.0] * int(os.environ[LENGTH])


def test_vectors_come_back_as_32_bit_floats(cache: Cache) -> None:
    model = cached(Counting(), cache)
    fresh, hit = model.get_text_embedding("hi"), model.get_text_embedding("hi")
    assert hit == pytest.approx(fresh, rel=1e-6) and hit != fresh
    (entry,) = cache.entries()
    assert len(entry.payload) == 8


@pytest.mark.parametrize("vector", [[float("nan")], [1e300], [0.0, 0.0]], ids=str)
def test_what_is_no_vector_is_not_stored(vector: Any, cache: Cache) -> None:
    model = cached(Counting(gives=vector), cache)
    assert repr(model.get_text_embedding("hi")) == repr(vector)
    model.get_text_embedding_batch(["hi", "ho"])
    assert cache.stats().stored == 0


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_batch_never_mixes_stored_vectors_with_others_of_another_length(
    asynchronous: bool, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lengths(length: int, *texts: str) -> list[int]:
        limiter, batch = Limiter(), list(texts)
        monkeypatch.setenv(LENGTH, str(length))
        model = cached(Behind(rate_limiter=limiter), cache)
        if asynchronous:
            got = await model.aget_text_embedding_batch(batch)
        else:
            got = model.get_text_embedding_batch(batch)
        calls.append(limiter.acquired)
        return [len(vector) for vector in got]

    calls: list[int] = []
    assert await lengths(4, "a", "b") == await lengths(4, "c", "c") == [4, 4]
    assert await lengths(8, "a", "b", "new") == await lengths(8, "a", "b", "new") == [8, 8, 8]
    assert await lengths(8, "a", "c") == await lengths(8, "c", "a") == [8, 8]  # hits alone
    assert calls == [1, 1, 2, 0, 1, 0]
    assert cache.stats().miss_reasons == {"absent": 4, "other length": 4}


async def test_of_a_batch_that_fails_nothing_is_stored(cache: Cache) -> None:
    model = cached(Counting(fails=True), cache)
    with pytest.raises(RuntimeError, match="out of order"):
        model.get_text_embedding_batch(["good", "bad"])
    with pytest.raises(RuntimeError, match="out of order"):
        await model.aget_text_embedding_batch(["good", "bad"])
    assert cache.stats().stored == 0


async def test_the_rate_limiter_is_used_only_before_the_model(cache: Cache) -> None:
    limiter = Limiter()
    model = cached(Counting(rate_limiter=limiter), cache)
    for _ in range(2):
        model.get_text_embedding_batch(["a", "b"])
        await model.aget_text_embedding_batch(["a", "b"])
        await model.aget_query_embedding("a")
        model.get_query_embedding("a")
    assert limiter.acquired == 2


async def test_vectors_come_when_the_store_is_down_or_left_out(embedding: OpenAIEmbedding, cache: Cache) -> None:
    model = cached(embedding, Cache(FailingStore(failing=True)))
    assert await model.aget_query_embedding("hi") == model.get_text_embedding("hi") == [2.0, 0.5, -0.25]
    with cache_options(bypass=True):
        assert cached(embedding, cache).get_text_embedding_batch(["hi"]) == [[2.0, 0.5, -0.25]]
    assert cache.stats().stored == 0


def test_an_index_built_twice_is_embedded_once(
    embedding: OpenAIEmbedding, provider: Provider, cache: Cache
) -> None:
    for _ in range(2):
        documents = [Document(text="one"), Document(text="three")]
        index = VectorStoreIndex.from_documents(documents, embed_model=cached(embedding, cache))
        index.as_query_engine(llm=cached(MockLLM(), cache)).query("what?")
    assert provider.count == 2  # a batch of texts, and a query
