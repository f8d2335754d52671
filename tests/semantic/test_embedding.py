"""Any embeddings give unit vectors, and have the identity of their model."""

from __future__ import annotations

import asyncio
import functools
import threading
from array import array
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_openai import OpenAIEmbeddings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MockEmbedding
from llama_index.embeddings.openai import OpenAIEmbedding

from askonce.errors import AskOnceError, ConfigError
from askonce.langchain import CachedEmbeddings
from askonce.llama_index import cached
from askonce.semantic.embedding import Embedder

KEY = "sk-not-to-be-seen-1234567890"
threads: list[str] = []


def lengths(text: str) -> list[float]:
    threads.append(threading.current_thread().name)
    return [float(len(text)), 1.0, 0.0]


async def lengths_later(text: str) -> array[float]:
    await asyncio.sleep(0)
    return array("d", lengths(text))


class Lengths:
    def __call__(self, text: str) -> np.ndarray[Any, Any]:
        return np.array(lengths(text))


@pytest.mark.parametrize(
    "embeddings",
    [DeterministicFakeEmbedding(size=8), MockEmbedding(embed_dim=8), lengths, lengths_later, Lengths()],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
async def test_any_embeddings_give_the_same_unit_vectors_to_sync_and_async_callers(embeddings: Any) -> None:
    embedder = Embedder(embeddings)
    vector, later = embedder.embed("a text"), await embedder.aembed("a text")
    in_a_thread = await asyncio.to_thread(embedder.embed, "a text")
    assert vector.dtype == np.float32 and vector.ndim == 1
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert np.array_equal(vector, later) and np.array_equal(vector, in_a_thread)


async def test_a_synchronous_function_does_not_stop_the_event_loop() -> None:
    threads.clear()
    embedder = Embedder(lengths)
    embedder.embed("here")
    await embedder.aembed("there")
    assert threads[0] == threading.current_thread().name != threads[1]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([0.0, 0.0], "direction"),
        ([], "shape"),
        ([float("nan"), 1.0], "direction"),
        ([float("inf"), 1.0], "direction"),
        ([[0.1, 0.2]], "shape"),
        (0.5, "shape"),
        (None, "NoneType|direction|shape"),
        ("0.5 0.5", "str"),
        (["a"], "list"),
        ({"embedding": [1.0]}, "dict"),
    ],
)
def test_an_invalid_vector_is_an_error(given: Any, why: str) -> None:
    with pytest.raises(AskOnceError, match=why):
        Embedder(lambda text: given, model="m").embed("a text")


def test_an_asynchronous_function_in_disguise_is_an_error() -> None:
    with pytest.raises(AskOnceError, match="async def"):
        Embedder(lambda text: lengths_later(text), model="m").embed("a text")


def test_vectors_of_different_lengths_are_an_error() -> None:
    embedder = Embedder(lambda text: [1.0] * len(text), model="m")
    embedder.embed("four")
    with pytest.raises(AskOnceError, match="5 numbers, and 4 before"):
        embedder.embed("fiver")


def test_errors_of_the_embeddings_propagate() -> None:
    def fails(text: str) -> list[float]:
        raise ConnectionError("no route")

    with pytest.raises(ConnectionError, match="no route"):
        Embedder(fails, model="m").embed("a text")


@pytest.mark.parametrize(
    "embeddings", [None, "text-embedding-3-small", [0.1], DeterministicFakeEmbedding, object()]
)
def test_invalid_embeddings_are_refused_at_construction(embeddings: Any) -> None:
    with pytest.raises(ConfigError, match="embeddings are"):
        Embedder(embeddings)


# -- identity --------------------------------------------------------------------------------------------------


def test_the_identity_depends_on_the_model_and_on_what_changes_its_vectors() -> None:
    def identity(embeddings: Embeddings | BaseEmbedding) -> str:
        return Embedder(embeddings).identity

    small = OpenAIEmbeddings(model="text-embedding-3-small", api_key=KEY)
    identities = [
        identity(small),
        identity(OpenAIEmbeddings(model="text-embedding-3-large", api_key=KEY)),
        identity(OpenAIEmbeddings(model="text-embedding-3-small", dimensions=256, api_key=KEY)),
        identity(OpenAIEmbedding(model="text-embedding-3-small", api_key=KEY)),
        identity(OpenAIEmbedding(model="text-embedding-3-small", dimensions=256, api_key=KEY)),
        identity(DeterministicFakeEmbedding(size=8)),
        identity(DeterministicFakeEmbedding(size=9)),
        Embedder(lengths).identity,
        Embedder(lengths_later).identity,
        Embedder(lengths, model="lengths").identity,
    ]
    assert len(set(identities)) == len(identities)
    assert all(KEY not in one for one in identities)
    for same in (
        OpenAIEmbeddings(model="text-embedding-3-small", api_key="other", chunk_size=7, max_retries=5),
        CachedEmbeddings(small, "memory://"),
    ):
        assert identity(same) == identities[0]
    assert (
        identity(cached(OpenAIEmbedding(model="text-embedding-3-small", api_key="x"), "memory://")) == identities[3]
    )
    named = [Embedder(CachedEmbeddings(small, "memory://", model=name)).identity for name in ("a", "b")]
    assert len({*named, *identities}) == 2 + len(identities)


class Opaque(Embeddings):
    def __init__(self) -> None:
        self._weights = object()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [lengths(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return lengths(text)


@pytest.mark.parametrize(
    "embeddings", [Opaque(), lambda text: [1.0], functools.partial(lengths)], ids=["object", "lambda", "partial"]
)
def test_opaque_embeddings_are_identified_by_their_name_or_the_one_given(embeddings: Any) -> None:
    assert Embedder(embeddings).identity != Embedder(lengths).identity
    assert Embedder(embeddings, model="mine").identity != Embedder(embeddings).identity
    assert Embedder(embeddings, model="mine").identity == Embedder(embeddings, model="mine").identity
    with pytest.raises(ConfigError, match="name of an embedding model"):
        Embedder(embeddings, model="")
