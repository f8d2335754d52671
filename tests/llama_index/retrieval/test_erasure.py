"""What was found in a document goes with it, and so do the embeddings of its nodes, where requests are stored."""

from __future__ import annotations

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding

from askonce import Cache, Corpus
from askonce.llama_index import cached


def test_embeddings_of_a_document_are_erased_with_it() -> None:
    with Cache("memory://", store_requests=True) as cache:
        corpus = Corpus(cache, name="people")
        documents = [
            Document(text="Jane Doe lives in Bonn.", doc_id="jane", metadata={"file": "jane.pdf"}),
            Document(text="Another text of somebody.", doc_id="other", metadata={"file": "other.pdf"}),
        ]
        index = VectorStoreIndex.from_documents(documents, embed_model=cached(MockEmbedding(embed_dim=4), cache))
        cached(index.as_retriever(), cache, corpus=corpus).retrieve("Who?")
        cache.flush()
        cache.erase(source="jane")
        assert [one.kind for one in cache.entries()] == ["embedding", "embedding"]  # of the other, of the question
