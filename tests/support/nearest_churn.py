"""Random questions, additions, updates and deletions over vectors: which searches were needless?"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, Corpus
from askonce.langchain import CachedEmbeddings, CachedRetriever, watch
from askonce.stores.memory import MemoryStore

DIMENSIONS, TOPICS, QUESTIONS = 32, 40, 80


class Points(Embeddings):
    """A text is a point near that of its first word."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        topic = np.random.default_rng([*text.split()[0].encode()]).normal(size=DIMENSIONS)
        own = np.random.default_rng([*text.encode()]).normal(size=DIMENSIONS)
        return list(topic + 0.5 * own)


class Store(InMemoryVectorStore):
    """Replaces documents, as Chroma does; counts searches."""

    queries: ClassVar[list[str]] = []

    def update_document(self, document_id: str, document: Document) -> None:
        super().add_documents([document], ids=[document_id])

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        self.queries.append(query)
        return super().similarity_search(query, k, **kwargs)


Store.__module__, Store.__name__ = InMemoryVectorStore.__module__, InMemoryVectorStore.__name__


@dataclass
class Outcome:
    """What was seen."""

    reads: int = 0
    searches: int = 0
    needless: int = 0
    stale: int = 0


def run(*, near_margin: float | None, operations: int, writes: float = 0.03, seed: int = 0) -> Outcome:
    """Do random operations, a share of ``writes`` of them changes of one document each."""
    chance, outcome = random.Random(seed), Outcome()
    corpus = Corpus(Cache(MemoryStore()), near_margin=near_margin)
    embeddings = CachedEmbeddings(Points(), corpus.cache, model="points")
    store = watch(Store(embeddings), corpus)
    inner = store.as_retriever(search_kwargs={"k": 5})
    retriever = CachedRetriever(inner, corpus=corpus)
    ids = [str(number) for number in range(400)]
    store.add_documents([_document(one, chance) for one in ids])
    last: dict[str, list[Document]] = {}
    for number in range(operations):
        if chance.random() < writes:
            _change(store, ids, chance, number)
            continue
        question = f"topic{chance.randrange(TOPICS)} question {chance.randrange(QUESTIONS // TOPICS)}"
        before = len(store.queries)
        found = retriever.invoke(question)
        outcome.reads += 1
        if len(store.queries) > before:
            outcome.searches += question in last
            outcome.needless += last.get(question) == found
        outcome.stale += found != inner.invoke(question)
        last[question] = found
    return outcome


def _document(one: str, chance: random.Random) -> Document:
    return Document(f"topic{chance.randrange(TOPICS)} text {chance.random()}", id=one)


def _change(store: Store, ids: list[str], chance: random.Random, number: int) -> None:
    kind = chance.random()
    if kind < 0.34:
        ids.append(f"new {number}")
        store.add_documents([_document(ids[-1], chance)])
    elif kind < 0.67:
        one = chance.choice(ids)
        store.update_document(one, _document(one, chance))
    else:
        store.delete([ids.pop(chance.randrange(len(ids)))])
