"""Large batches of embeddings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings

from askonce import Cache
from askonce.langchain.embeddings import CachedEmbeddings
from askonce.stores.base import Record
from askonce.stores.memory import MemoryStore


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
