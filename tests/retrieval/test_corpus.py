"""What is stored is deleted with the documents that it was found in or made from."""

import contextvars
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce import Cache, ConfigError
from askonce.entries.entry import Answer, Hit, Source
from askonce.keys.normal_form import NormalForm
from askonce.provenance.retrieval_context import begin_retrieval_context, current_retrieval_context
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
        self.result: object = None

    def find(self, question: str) -> tuple[str, ...]:
        position, moment = -1, time.monotonic()

        def look() -> tuple[str, ...]:
            nonlocal position, moment
            moment = time.monotonic()
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
            [
                RetrievedDocument(self.corpus.log, position, (one,), TEXTS[one], TEXTS[one], None, moment)
                for one in found
            ],
            self.result,
        )
        return found

    def answer(self, question: str, says: str = "") -> str:
        request = self.cache.engine.request("answer", lambda: NormalForm({"answer": question}))
        assert request is not None
        found = self.cache.engine.answer(
            request, lambda: "fresh", lambda text: Answer(msgspec.msgpack.encode(says or text))
        )
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


LATE: dict[str, Callable[[Cache], object]] = {
    "invalidate": lambda cache: cache.invalidate("doc:1"),
    "erase": lambda cache: cache.erase(source="1"),
    "clear": lambda cache: cache.clear(),
}


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("is_other", [False, True], ids=["this cache", "another"])
@pytest.mark.parametrize("is_hit", [False, True], ids=["searched", "hit"])
def test_no_answer_is_stored_that_is_made_from_a_document_deleted_before(
    name: str, is_other: bool, is_hit: bool
) -> None:
    """Also in a process whose first look at the deletions comes after that."""
    store = MemoryStore()
    deleting = Library(store)
    if is_hit:
        contextvars.Context().run(deleting.find, "red?")
    library = Library(store)

    def late() -> str:
        with pipeline_run():
            library.find("red?")
            LATE[name](deleting.cache if is_other else library.cache)
            return library.answer("It is red. Red?")

    def later() -> str:
        with pipeline_run():
            library.find("red?")
            return library.answer("It is red. Red?")

    assert contextvars.Context().run(late) == "fresh"
    assert contextvars.Context().run(later) == "fresh"
    assert contextvars.Context().run(later) == "stored"


@contextmanager
def pipeline_run() -> Iterator[None]:
    one = begin_retrieval_context(current_retrieval_context())
    yield
    one.end()


def test_a_deletion_of_another_document_or_before_it_was_found_does_no_harm() -> None:
    library = Library(MemoryStore())

    def answer_late() -> str:
        library.cache.invalidate("doc:1")
        with pipeline_run():
            library.find("red?")
            library.cache.invalidate("doc:2")
            return library.answer("It is red. Red?")

    def answer() -> str:
        return contextvars.Context().run(library.answer, "It is red. Red?")

    assert contextvars.Context().run(answer_late) == "fresh"
    assert answer() == "stored"


def test_no_answer_is_stored_that_quotes_an_answer_made_from_a_document_deleted_before() -> None:
    library = Library(MemoryStore())

    def late() -> str:
        with pipeline_run():
            with pipeline_run():
                library.find("red?")
                library.answer("It is red. Red?", "it is red as a poppy is")
            library.cache.invalidate("doc:1")
            return library.answer("Once more: it is red as a poppy is")

    assert contextvars.Context().run(late) == "fresh"
    assert contextvars.Context().run(library.answer, "Once more: it is red as a poppy is") == "fresh"


def test_a_stored_result_found_again_after_a_deletion_elsewhere_may_be_used_in_plain_code() -> None:
    """The answers are in another namespace than the retrieval, which so outlives the deletion."""
    store = MemoryStore()
    library, elsewhere = Library(store), Cache(store, namespace="answers")
    library.result = "stored"

    def answer() -> str:
        contextvars.Context().run(library.find, "red?")
        request = elsewhere.engine.request("answer", lambda: NormalForm({"text": "It is: red."}))
        assert request is not None
        found = elsewhere.engine.answer(request, lambda: "fresh", lambda text: Answer(text.encode()))
        return str([one.ids for one in found.entry.sources]) if isinstance(found, Hit) else found

    assert [answer(), answer()] == ["fresh", "[('1',)]"]
    elsewhere.invalidate("doc:1")
    assert [answer(), answer()] == ["fresh", "[('1',)]"]
    Cache(store, namespace="answers").invalidate("doc:1")
    # This one reads of the deletion only after the document was found: once too much is made anew.
    assert [answer(), answer(), answer()] == ["fresh", "fresh", "[('1',)]"]


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
