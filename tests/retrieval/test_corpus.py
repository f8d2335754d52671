"""What is stored is deleted with the documents that it was found in or made from."""

import contextvars
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce import Cache, ConfigError
from askonce.entries.entry import Answer, Hit, Source
from askonce.keys.normal_form import NormalForm
from askonce.provenance.retrieved import RetrievedDocument
from askonce.retrieval.cached_retrieval import cache_and_corpus
from askonce.retrieval.corpus import Corpus
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock

TEXTS = {"1": "red", "2": "blue", "3": "red", "9": "red"}


class Library:
    """Finds documents, and answers from them, through one cache."""

    def __init__(self, store: MemoryStore, name: str = "default") -> None:
        self.cache = Cache(store)
        self.corpus = Corpus(self.cache, name=name)
        self.documents = {"1": "red", "2": "blue"}

    def find(self, question: str) -> tuple[str, ...]:
        position = -1

        def look() -> tuple[str, ...]:
            nonlocal position
            found = self.cache.engine.position(self.corpus.log)
            position = 0 if found is None else found.sequence
            return tuple(sorted(one for one, text in self.documents.items() if text in question))

        def pack(ids: tuple[str, ...]) -> Answer:
            source = Source(self.corpus.log, position, ids, whole=True)
            return Answer(",".join(ids).encode(), sources=(source,))

        request = self.cache.engine.request("answer", lambda: NormalForm({"find": question}), from_sources=False)
        assert request is not None
        found = self.cache.engine.answer(request, look, pack)
        if isinstance(found, Hit):
            position = found.entry.sources[0].position
            found = tuple(filter(None, found.entry.payload.decode().split(",")))
        self.cache.engine.record_retrieval(
            [RetrievedDocument(self.corpus.log, position, (one,), TEXTS[one], TEXTS[one]) for one in found]
        )
        return found

    def answer(self, question: str) -> str:
        request = self.cache.engine.request("answer", lambda: NormalForm({"answer": question}))
        assert request is not None
        found = self.cache.engine.answer(request, lambda: "fresh", lambda text: Answer(text.encode()))
        return "stored" if isinstance(found, Hit) else found


def test_retrievals_fall_with_additions_and_answers_with_their_documents() -> None:
    library = Library(MemoryStore())

    def answer_to(question: str) -> tuple[tuple[str, ...], str]:
        return contextvars.Context().run(lambda: (library.find(question), library.answer(question)))

    assert answer_to("red?") == (("1",), "fresh")
    assert answer_to("blue?") == (("2",), "fresh")
    assert answer_to("red?") == (("1",), "stored")
    library.documents["3"] = "red"
    library.corpus.added()
    assert answer_to("red?") == (("1", "3"), "stored")  # a real answer's prompt would hold the new document
    del library.documents["2"]
    library.corpus.changed(["2"])
    assert answer_to("blue?") == ((), "fresh")
    assert answer_to("red?") == (("1", "3"), "stored")


def test_a_change_is_seen_by_all_caches_of_the_store_at_once() -> None:
    store = MemoryStore()
    one, other = Library(store), Library(store)
    one.find("red?")
    one.documents.clear()
    other.corpus.changed(["1"])
    assert one.find("red?") == ()


def test_a_retrieval_that_was_under_way_when_documents_changed_is_not_served() -> None:
    library = Library(MemoryStore())

    class Slow(dict):  # type: ignore[type-arg]
        def items(self):  # type: ignore[no-untyped-def]
            found = list(super().items())
            library.corpus.added()  # comes after the look, and before what was found is stored
            return found

    library.documents = Slow(library.documents)
    library.find("red?")
    library.documents = {"9": "red"}
    assert library.find("red?") == ("9",)


def test_corpora_are_apart() -> None:
    store = MemoryStore()
    one, other = Library(store), Library(store, "other")
    one.find("red?")
    before = one.cache.engine.position(one.corpus.log)
    other.corpus.added()
    one.documents.clear()
    assert one.find("red?") == ("1",)
    assert one.cache.engine.position(one.corpus.log) == before


@given(st.integers(1, 4), st.integers(0, 8))
def test_a_log_that_was_lost_never_makes_valid_what_was_stored_before(before: int, since: int) -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    library = Library(store)
    for _ in range(before):
        library.corpus.changed(["0"])
    assert library.find("red?") == ("1",)
    library.documents.clear()
    library.corpus.changed(["1"])
    del store._spaces[library.corpus.log]
    clock.advance(1)
    for _ in range(since):  # up to where it was before, and beyond
        library.corpus.changed(["0"])
    for one in (library, Library(store)):  # who has seen the log that was lost, and who has not
        one.documents.clear()
        assert one.find("red?") == ()


def test_a_text_is_not_taken_for_a_list_of_ids() -> None:
    with pytest.raises(ConfigError, match="ids="):
        Library(MemoryStore()).corpus.changed("42")


@pytest.mark.parametrize("kind", ["a URL", "a store", "memory", "an encrypted one"])
def test_settings_of_a_retriever_alone_are_those_of_the_corpus_with_these_changed(
    kind: str, tmp_path: Path
) -> None:
    store: Any = (
        "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/cache.db" if kind == "a URL" else MemoryStore()
    )
    more: Any = {"encryption_keys": [b"1" * 16]} if kind == "an encrypted one" else {}
    corpus = Corpus(store, name="x", namespace="mine", **more)
    cache, same = cache_and_corpus(None, corpus, {"ttl": 3600})
    assert same is corpus and cache is not corpus.cache
    assert cache.engine.store_name == corpus.cache.engine.store_name
    assert (cache.engine.settings.ttl, cache.namespace) == (3600, "mine")
    corpus.cache.engine.position(corpus.log)
    corpus.added()
    assert cache.engine.position(corpus.log) == corpus.cache.engine.position(corpus.log) != None  # noqa: E711
    with pytest.raises(ConfigError, match="another store"):
        cache_and_corpus("memory://", corpus, {"ttl": 3600})
