"""Known faults of which users of such caches tell; each test says what is right, and fails until it is so."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.outputs import Generation

from askonce import Cache
from askonce.langchain import AskOnceCache, CachedEmbeddings
from askonce.stores import open_store
from askonce.stores.base import Record, Size
from askonce.stores.memory import MemoryStore
from tests.support import servers


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


class Distant(MemoryStore):
    """Takes a time for each entry, as a server does: 5,000 of them a second."""

    def _pause(self, entries: Sequence[Any]) -> float:
        return len(entries) / 5_000

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        time.sleep(self._pause(keys))
        return super().get_many(namespace, keys)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        await asyncio.sleep(self._pause(keys))
        return super().get_many(namespace, keys)

    def put(self, namespace: str, records: Sequence[Record], *args: Any) -> int:
        time.sleep(self._pause(records))
        return super().put(namespace, records, *args)

    async def aput(self, namespace: str, records: Sequence[Record], *args: Any) -> int:
        await asyncio.sleep(self._pause(records))
        return super().put(namespace, records, *args)


class Counting(Embeddings):
    """Counts the texts that it is given."""

    def __init__(self) -> None:
        self.model = "counting"
        self._texts = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._texts += len(texts)
        return [[0.5] * 16 for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a batch of any size has the time of one entry: large ones are embedded anew, and close off the store",
)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_large_batch_is_embedded_once(asynchronous: bool) -> None:
    inner, texts = Counting(), [str(number) for number in range(3_000)]
    with Cache(Distant()) as cache:
        embeddings = CachedEmbeddings(inner, cache)
        for _ in range(2):
            if asynchronous:
                asyncio.run(embeddings.aembed_documents(texts))
            else:
                embeddings.embed_documents(texts)
        assert (inner._texts, cache.stats().errors) == (3_000, 0)


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
