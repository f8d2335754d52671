"""What was found in a document goes with it, and so do the embeddings of its text."""

from __future__ import annotations

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, Corpus
from askonce.langchain import cached, watch


@pytest.mark.parametrize(
    "text", ["Jane Doe lives in Bonn.", "Jane Doe. " + "And so on. " * 100], ids=["short", "long"]
)
@pytest.mark.parametrize("store_requests", [True, False])
def test_embeddings_of_a_document_are_erased_with_it(text: str, store_requests: bool) -> None:
    with Cache("memory://", store_requests=store_requests) as cache:
        corpus = Corpus(cache, name="people")
        embeddings = cached(DeterministicFakeEmbedding(size=4), cache, model="fake")
        store = watch(InMemoryVectorStore(embeddings), corpus)
        store.add_documents([Document(text, id="jane"), Document("Another text of somebody.", id="other")])
        cached(store.as_retriever(), cache, corpus=corpus).invoke("Who?")
        cache.flush()
        cache.erase(source="jane")
        assert [one.kind for one in cache.entries()] == ["embedding", "embedding"]  # of the other, of the question
        assert embeddings.embed_query("Who?") and cache.stats().hits == 1
