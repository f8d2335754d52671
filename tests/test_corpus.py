"""What is kept falls with the documents that it was found in or made from."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce import Cache, ConfigError
from askonce.entries.entry import Answer, Hit, Source
from askonce.keys.normal_form import NormalForm
from askonce.provenance.additions import ADDED
from askonce.provenance.changes import ANYTHING, Changes, changed
from askonce.provenance.retrieval_context import (
    begin_retrieval_context,
    current_sources,
    end_retrieval_context,
    record_retrieval,
)
from askonce.retrieval.corpus import Corpus
from askonce.stores.base import LogPage
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock

# -- changes -------------------------------------------------------------------------------------------------------


def after(*events: bytes) -> Changes:
    changes = Changes()
    changes.learn(0, LogPage(list(enumerate(events, 1)), len(events)))
    return changes


def whole(position: int, *ids: str) -> Source:
    return Source("c", position, ids, whole=True)


def part(position: int, *ids: str) -> Source:
    return Source("c", position, ids)


def test_an_addition_concerns_retrievals_before_it_and_no_answer() -> None:
    changes = after(changed(["x"]), ADDED)
    assert changes.concern(whole(1, "a"))
    assert not changes.concern(whole(2, "a"))
    assert not changes.concern(part(1, "a"))


def test_a_changed_document_concerns_what_was_made_from_it_before() -> None:
    changes = after(changed(["x", "y"]), changed(["z"]))
    assert changes.concern(whole(0, "y", "b"))
    assert changes.concern(part(1, "z"))
    assert not changes.concern(part(1, "x"))
    assert not changes.concern(whole(0, "b"))


def test_what_is_older_than_the_log_is_outdated() -> None:
    changes = Changes()
    changes.learn(0, LogPage([(11, ADDED)], 11, truncated=True))
    assert changes.concern(part(9, "a"))
    assert not changes.concern(part(10, "a"))


def test_what_cannot_be_read_yet_may_concern_everything() -> None:
    changes = after(ADDED)
    changes.learn(1, LogPage([], 3))  # the event at 2 is still being written
    assert changes.concern(part(1, "a"))
    changes.learn(1, LogPage([(2, ADDED), (3, ADDED)], 3))
    assert not changes.concern(part(1, "a"))


def test_a_log_that_was_lost_outdates_what_it_left_behind() -> None:
    changes = after(ADDED, ADDED, ADDED)
    assert changes.learn(3, LogPage([], 1))
    changes.learn(0, LogPage([(1, changed(["x"]))], 1))
    assert changes.concern(part(3, "a"))
    assert not changes.concern(part(1, "a"))


def test_any_change_concerns_a_retrieval_that_weighs_more_than_it_returns() -> None:
    changes = after(changed(["x"]), changed(["y"]))
    assert changes.concern(Source("c", 1, ("a",), whole=True, any_change=True))
    assert not changes.concern(Source("c", 2, ("a",), whole=True, any_change=True))


def test_a_change_of_unknown_documents_concerns_everything_before() -> None:
    assert after(ANYTHING).concern(part(0, "a"))
    assert not after(ANYTHING).concern(whole(1, "a"))


def test_an_event_of_a_newer_kind_concerns_everything_before() -> None:
    assert after(b"?new").concern(part(0, "a"))
    assert after(b"-garbage").concern(part(0, "a"))


@given(st.lists(st.sampled_from(["+", "a", "b", "ab"]), max_size=12), st.data())
def test_pages_read_by_several_threads_at_once_give_the_same_as_one_after_the_other(
    kinds: list[str], data: st.DataObject
) -> None:
    events = [(n, ADDED if kind == "+" else changed(list(kind))) for n, kind in enumerate(kinds, 1)]
    changes, simple = Changes(), Changes()
    simple.learn(0, LogPage(events, len(events)))
    for _ in range(6):
        begin = data.draw(st.integers(0, changes.position))
        end = data.draw(st.integers(begin, len(events)))
        changes.learn(begin, LogPage(events[begin:end], end))
    changes.learn(changes.position, LogPage(events[changes.position :], len(events)))
    for position in range(len(events) + 1):
        for source in (whole(position, "a"), part(position, "b"), part(position, "c")):
            assert changes.concern(source) == simple.concern(source)


# -- corpus --------------------------------------------------------------------------------------------------------


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
            position = self.cache.position(self.corpus.log) or 0
            return tuple(sorted(one for one, text in self.documents.items() if text in question))

        def pack(ids: tuple[str, ...]) -> Answer:
            source = Source(self.corpus.log, position, ids, whole=True)
            return Answer(",".join(ids).encode(), sources=(source,))

        request = self.cache.request(lambda: NormalForm({"find": question}), from_sources=False)
        assert request is not None
        found = self.cache.answer(request, look, pack)
        if isinstance(found, Hit):
            self.cache.record_retrieval(found.entry.sources[0])
            return tuple(filter(None, found.entry.payload.decode().split(",")))
        self.cache.record_retrieval(Source(self.corpus.log, position, found))
        return found

    def answer(self, question: str) -> str:
        request = self.cache.request(lambda: NormalForm({"answer": question}))
        assert request is not None
        found = self.cache.answer(request, lambda: "fresh", lambda text: Answer(text.encode()))
        return "kept" if isinstance(found, Hit) else found


def test_retrievals_fall_with_additions_and_answers_with_their_documents() -> None:
    library = Library(MemoryStore())

    def ask(question: str) -> tuple[tuple[str, ...], str]:
        return contextvars.Context().run(lambda: (library.find(question), library.answer(question)))

    assert ask("red?") == (("1",), "fresh")
    assert ask("blue?") == (("2",), "fresh")
    assert ask("red?") == (("1",), "kept")
    library.documents["3"] = "red"
    library.corpus.added()
    assert ask("red?") == (("1", "3"), "kept")  # a real answer's prompt would hold the new document
    del library.documents["2"]
    library.corpus.changed(["2"])
    assert ask("blue?") == ((), "fresh")
    assert ask("red?") == (("1", "3"), "kept")


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
            library.corpus.added()  # comes after the look, and before what was found is kept
            return found

    library.documents = Slow(library.documents)
    library.find("red?")
    library.documents = {"9": "red"}
    assert library.find("red?") == ("9",)


def test_corpora_are_apart() -> None:
    store = MemoryStore()
    one, other = Library(store), Library(store, "other")
    one.find("red?")
    before = one.cache.position(one.corpus.log)
    other.corpus.added()
    one.documents.clear()
    assert one.find("red?") == ("1",)
    assert one.cache.position(one.corpus.log) == before


@given(st.integers(1, 4), st.integers(0, 8))
def test_a_log_that_was_lost_never_makes_valid_what_was_kept_before(before: int, since: int) -> None:
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


# -- trails --------------------------------------------------------------------------------------------------------


def ids() -> list[str]:
    return [one for source in current_sources("s") for one in source.ids]


def fresh(test):  # type: ignore[no-untyped-def]
    """Run a test in a context of its own."""
    return lambda: contextvars.Context().run(test)


@fresh
def test_documents_reach_the_answer_that_comes_next() -> None:
    record_retrieval(part(1, "a", "b"), "s")
    record_retrieval(part(2, "b", "c"), "s")
    record_retrieval(part(1, "d"), "s")
    # Each as of its own position: had they the oldest, a change of "c" at 2 would concern what was found after it.
    assert current_sources("s") == (Source("c", 1, ("a", "b", "d")), Source("c", 2, ("b", "c")))


@fresh
def test_outside_a_run_a_retrieval_after_an_answer_begins_anew() -> None:
    record_retrieval(part(1, "a"), "s")
    assert ids() == ["a"] == ids()
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


@fresh
def test_within_a_run_documents_add_up_through_threads_and_contexts() -> None:
    assert begin_retrieval_context() is not None
    assert begin_retrieval_context() is None
    with ThreadPoolExecutor(1) as threads:
        threads.submit(contextvars.copy_context().run, record_retrieval, part(1, "a"), "s").result()
    assert ids() == ["a"]
    contextvars.copy_context().run(record_retrieval, part(1, "b"), "s")
    assert ids() == ["a", "b"]
    end_retrieval_context()
    assert ids() == []


@fresh
def test_an_answer_in_a_run_is_made_from_what_was_retrieved_before_it() -> None:
    record_retrieval(part(1, "a"), "s")
    begin_retrieval_context()
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["a", "b"]
    end_retrieval_context()
    begin_retrieval_context()
    assert ids() == ["a"]  # it may speak of what came before
    record_retrieval(part(1, "c"), "s")
    assert ids() == ["c"]
    end_retrieval_context()
    record_retrieval(part(1, "d"), "s")
    assert ids() == ["d"]


@fresh
def test_what_a_run_only_retrieved_reaches_the_answer_after_it() -> None:
    for question in ("a", "b"):
        for one in (question, question.upper()):
            begin_retrieval_context()
            record_retrieval(part(1, one), "s")
            end_retrieval_context()
        assert ids() == [question, question.upper()]


@fresh
def test_a_run_that_ends_in_another_context_has_ended() -> None:
    trail = begin_retrieval_context()
    record_retrieval(part(1, "a"), "s")
    contextvars.Context().run(end_retrieval_context, trail)
    assert ids() == ["a"]
    assert begin_retrieval_context() is not None
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


def test_naming_what_is_made_from_no_documents_is_no_answer() -> None:
    library = Library(MemoryStore())

    def run() -> list[str]:
        library.find("red?")
        library.find("blue?")
        return [one for source in current_sources(library.cache._place) for one in source.ids]

    assert contextvars.Context().run(run) == ["1", "2"]


@fresh
def test_what_a_run_found_is_there_for_an_answer_that_is_still_being_made() -> None:
    trail = begin_retrieval_context()
    record_retrieval(part(1, "a"), "s")
    assert ids() == ["a"]
    end_retrieval_context(trail, answering=True)
    assert ids() == ["a"]
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


@fresh
def test_answers_in_another_store_know_nothing_of_a_corpus_that_it_cannot_follow() -> None:
    record_retrieval(part(1, "a"), "s")
    assert current_sources("another") == ()
    assert ids() == ["a"]


@fresh
def test_a_trail_does_not_grow_for_ever() -> None:
    begin_retrieval_context()
    for number in range(50):
        record_retrieval(part(number, *(f"{number}-{n}" for n in range(100))), "s")
    assert len(ids()) == 1000
    assert ids()[-1] == "49-99"
