"""A share of hits is compared with a new search: what the corpus does not learn comes to light."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document

from askonce import Cache, ConfigError, Corpus
from askonce.langchain import CachedRetriever
from askonce.stores.memory import MemoryStore
from tests.langchain.retrieval.library import Fixed, animals, found

documents: list[Document] = []


class Elsewhere(Fixed):
    """Finds what it does not hold."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any, k: int | None = None) -> list[Document]:
        super()._get_relevant_documents(query, run_manager=run_manager)
        return list(documents)


class Audited:
    def __init__(self, audit: float = 1) -> None:
        documents[:] = animals()
        self.inner = Elsewhere()
        self.cache = Cache(MemoryStore())
        self.corpus = Corpus(self.cache)
        self.retriever = CachedRetriever(self.inner, corpus=self.corpus, name="fixed", audit=audit)

    async def counts(self, until: Callable[[tuple[int, int]], bool]) -> tuple[int, int]:
        for _ in range(1000):
            if until(self._counts()):
                break
            await asyncio.sleep(0.01)
        return self._counts()

    def _counts(self) -> tuple[int, int]:
        stats = self.cache.stats().kinds["retrieval"]
        return stats.audited, stats.audited_wrong


@pytest.mark.parametrize("awaited", [False, True])
async def test_what_changed_unseen_is_counted_logged_and_deleted(
    awaited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    one = Audited()

    async def retrieved() -> list[str | None]:
        return found(await one.retriever.ainvoke("a") if awaited else one.retriever.invoke("a"))

    before = await retrieved()
    assert await retrieved() == before
    assert await one.counts(lambda counts: counts[0] == 1) == (1, 0)
    documents.reverse()  # which may happen to documents of one score
    assert await retrieved() == before
    assert await one.counts(lambda counts: counts[0] == 2) == (2, 0)
    documents.append(Document("unseen", id="new"))
    with caplog.at_level(logging.WARNING, logger="askonce"):
        assert await retrieved() == before
        assert await one.counts(lambda counts: counts[0] == 3) == (3, 1)
    assert "audit" in caplog.text
    assert "new" in await retrieved()


async def test_an_audit_while_documents_change_says_nothing() -> None:
    one = Audited()
    one.retriever.invoke("a")
    with one.corpus.writing([]):
        documents.append(Document("written now", id="new"))
        one.retriever.invoke("a")
        calls = one.inner._calls
        await asyncio.sleep(0.2)
        assert (one.inner._calls, one._counts()) == (calls, (0, 0))
    assert "new" in found(one.retriever.invoke("a"))


def test_without_audits_nothing_is_searched_twice() -> None:
    one = Audited(audit=0)
    for _ in range(50):
        one.retriever.invoke("a")
    assert one.inner._calls == 1
    with pytest.raises(ConfigError, match="audit"):
        CachedRetriever(one.inner, corpus=one.corpus, name="fixed", audit=2)
