"""Known faults of which users of such caches tell; each test says what is right, and fails until it is so."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from langchain_core.embeddings import Embeddings
from langchain_core.outputs import Generation
from langchain_openai import OpenAIEmbeddings

from askonce import Cache, ConfigError
from askonce.langchain import AskOnceCache, CachedEmbeddings
from askonce.stores import open_store
from askonce.stores.base import Record, Size
from tests.support import servers
from tests.support.provider import Provider


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="after `clear` the text of answers stands in the SQLite file and its log until the store is closed",
)
def test_cleared_answers_are_gone_from_the_file(cache: Cache, tmp_path: Path) -> None:
    answers = AskOnceCache(cache)
    for number in range(300):
        answers.update(f"who is {number}?", "model", [Generation(text=f"Patient {number} is ill")])

    def is_there() -> bool:
        return any(b"Patient 123 is ill" in file.read_bytes() for file in tmp_path.iterdir())

    assert is_there()
    cache.clear()
    assert not is_there()


# -- embeddings --------------------------------------------------------------------------------------------------


class OnDevice(Embeddings):
    """Of the shape of embeddings that run a model on this machine; one of their settings is an object."""

    def __init__(self, truncate_dim: int) -> None:
        self.model_name = "bge"
        self.model_kwargs = {"truncate_dim": truncate_dim, "torch_dtype": object()}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.5] * self.model_kwargs["truncate_dim"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a map of settings that holds one object is left out of the key as a whole: another model's vectors",
)
def test_settings_beside_an_object_tell_embeddings_apart(cache: Cache) -> None:
    for dimensions in (2, 3):
        try:
            embeddings = CachedEmbeddings(OnDevice(dimensions), cache)
        except ConfigError:
            return  # it wants a name for them, which is right too
        assert [len(vector) for vector in embeddings.embed_documents(["x"])] == [dimensions]


class Letters:
    """A tokenizer that needs no download."""

    def encode_ordinary(self, text: str) -> list[int]:
        return list(map(ord, text[::2]))

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        return self.encode_ordinary(text)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what is sent in the place of a text, and to which configuration, is not in the key: others' vectors",
)
@pytest.mark.parametrize(
    "changed",
    [
        {"check_embedding_ctx_length": True},  # sends tokens, which not all servers read as OpenAI does
        {"default_headers": {"x-portkey-config": "another"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_sent_tells_embeddings_apart(
    cache: Cache, provider: Provider, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda name: Letters())
    usual = {"check_embedding_ctx_length": False, "default_headers": {"x-portkey-config": "one"}}
    for fields in (usual, usual | changed):
        embeddings = OpenAIEmbeddings(
            model="e", base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields
        )
        CachedEmbeddings(embeddings, cache).embed_documents(["a text"])
    assert provider.count == 2


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what a put had charged when its time was over counts for an hour, so that the namespace evicts early",
)
async def test_a_put_that_is_cut_off_leaves_the_account_right(monkeypatch: pytest.MonkeyPatch) -> None:
    store, space, writing = open_store(servers.start("mongodb").url), uuid.uuid4().hex, asyncio.Event()

    async def hang(*args: Any, **kwargs: Any) -> None:
        writing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("pymongo.asynchronous.collection.AsyncCollection.bulk_write", hang)
    put = asyncio.create_task(store.aput(space, [Record(b"k" * 32, b"value")]))
    await writing.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    size = await store.asize(space)
    await store.aclose()
    assert size == Size(0, 0)


# -- what a hit tells --------------------------------------------------------------------------------------------


# -- parts of applications ---------------------------------------------------------------------------------------
