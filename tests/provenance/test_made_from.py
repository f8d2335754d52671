"""Which documents an answer was made from."""

import contextvars
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec

from askonce.entries.entry import Source
from askonce.keys.normal_form import NormalForm
from askonce.provenance.made_from import MadeFrom
from askonce.provenance.retrieval_context import (
    Answered,
    RetrievalContext,
    begin_retrieval_context,
    current_retrieval_context,
    record_retrieval,
)
from askonce.provenance.retrieved import RetrievedDocument, retrieved
from tests.provenance.sources import found

numbers = itertools.count()


class Place:
    """A store of its own, in which nothing was retrieved."""

    def __init__(self) -> None:
        self.store, self.tenants = f"store {next(numbers)}", ("ann",)

    def retrieve(self, *documents: RetrievedDocument) -> None:
        record_retrieval(documents, self.store, self.tenants)

    def made_from(
        self,
        prompt: str,
        tenants: tuple[str, ...] = ("ann",),
        has_changed: Callable[[Source], bool] = lambda _: False,
        was_deleted: Callable[[tuple[str, ...], float], bool] = lambda _ids, _moment: False,
    ) -> MadeFrom:
        texts = retrieved.get((self.store, tenants))
        return MadeFrom(
            current_retrieval_context(),
            texts,
            self.store,
            lambda: NormalForm({"messages": [{"content": prompt}]}),
            namespace="c",
            has_changed=has_changed,
            was_deleted=was_deleted,
        )

    def ids(self, prompt: str, answer: str = "") -> list[str]:
        made_from = self.made_from(prompt)
        ids = [one for source in made_from.sources for one in source.ids]
        made_from.answered(msgspec.msgpack.encode({"text": answer}), made_from.sources)
        return ids


@contextmanager
def run(*, is_tool: bool = False) -> Iterator[RetrievalContext]:
    one = begin_retrieval_context(current_retrieval_context(), is_tool=is_tool)
    yield one
    one.end()


def apart(test: Callable[[Place], None]) -> Callable[[], None]:
    """Run a test in a context of its own."""

    def call() -> None:
        contextvars.Context().run(test, Place())

    call.__name__ = test.__name__
    return call


@apart
def test_in_plain_code_the_documents_in_the_prompt_count_and_no_others(place: Place) -> None:
    place.retrieve(found("the salary of bob", "bob"))
    place.retrieve(found("thirty days of leave", "leave"), found("twenty days", "old"))
    assert place.ids("Thirty days of leave!\nHow many days?") == ["leave"]


@apart
def test_what_plain_code_retrieved_before_a_run_is_no_source_by_a_word(place: Place) -> None:
    """A search endpoint and a chain share a thread."""
    place.retrieve(found("Yes", "one"), found("Salary", "two"))
    for _ in range(2):
        with run():
            place.retrieve(found("thirty days of leave", "leave"))
            assert place.ids("From: thirty days of leave. Yes or no, and my salary?") == ["leave"]
    assert place.ids("From this: Yes. Is it so?") == ["one"]
    assert place.ids("Yes or no, and my salary?") == []


@apart
def test_a_text_that_is_found_again_as_another_document_is_of_that_one(place: Place) -> None:
    """Ingested anew with another id; a warm-up at the start of the program found the old one."""
    old, new = found("thirty days of leave", "old"), found("thirty days of leave", "new", position=3)
    elsewhere = msgspec.structs.replace(found("thirty days of leave", "there"), corpus="d")

    def has_changed(source: Source) -> bool:
        return source.position < 2 and source.corpus == "c"

    def ids() -> list[str]:
        made_from = place.made_from("From: thirty days of leave. How many?", has_changed=has_changed)
        return [one for source in made_from.sources for one in source.ids]

    place.retrieve(old)
    assert ids() == ["old"]
    place.retrieve(new)
    assert ids() == ["new"]
    place.retrieve(old)
    assert contextvars.Context().run(ids) == ["new"]  # the old one was there before it
    with run():
        place.retrieve(new)
        assert ids() == ["new"]
    with run():
        place.retrieve(old)
        place.retrieve(msgspec.structs.replace(new, moment=old.moment + 1))
        assert ids() == ["new"]
    place.retrieve(old)
    assert ids() == ["new"]  # it has not changed

    def in_another_corpus() -> list[str]:
        place.retrieve(old)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(contextvars.Context().run, place.retrieve, elsewhere).result()
        return ids()

    assert contextvars.Context().run(in_another_corpus) == ["new", "there"]


def elsewhere(place: Place, *documents: RetrievedDocument) -> None:
    """Retrieve in another thread."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(contextvars.Context().run, place.retrieve, *documents).result()


@apart
def test_of_two_documents_of_one_text_that_two_users_found_both_count(place: Place) -> None:
    """Before a run that was interrupted goes on in another thread, another user finds the same text."""
    elsewhere(place, found("thirty days of leave", "ann's"))
    elsewhere(place, found("Thirty days of leave.", "bob's"))
    elsewhere(place, found("thirty days of leave", "cy's"))
    assert set(place.ids("From: thirty days of leave. How many?")) == {"ann's", "bob's", "cy's"}


@apart
def test_of_one_text_documents_of_another_namespace_count_only_if_there_are_no_others(place: Place) -> None:
    own = msgspec.structs.replace(found("thirty days of leave", "own"), corpus="c:corpus:c")
    other = msgspec.structs.replace(found("thirty days of leave", "other"), corpus="cc:corpus:c")
    elsewhere(place, other)
    assert place.ids("From: thirty days of leave.") == ["other"]  # answers and documents may be apart
    elsewhere(place, own)
    elsewhere(place, other)
    assert place.ids("From: thirty days of leave.") == ["own"]


@apart
def test_a_document_that_was_deleted_is_no_source_where_its_text_was_found_again_elsewhere(place: Place) -> None:
    def ids() -> list[str]:
        made_from = place.made_from("thirty days of leave", was_deleted=lambda ids, _: ids == ("one",))
        return [one for source in made_from.sources for one in source.ids]

    elsewhere(place, found("thirty days of leave", "one"))
    assert ids() == ["one"]
    elsewhere(place, found("thirty days of leave", "two"))
    assert ids() == ["two"]


@apart
def test_of_two_versions_the_prompt_shows_what_both_have_of_that_has_not_changed(place: Place) -> None:
    words = " ".join(f"word{number}" for number in range(100))
    elsewhere(place, found(f"{words} until Friday", "new"))
    elsewhere(place, found(f"{words} until Thursday", "old", position=0))
    made_from = place.made_from(words[:500], has_changed=lambda source: source.position < 1)
    assert [source.ids for source in made_from.sources] == [("new",)]


@apart
def test_what_the_thread_found_before_counts_as_it_was_found_last_anywhere(place: Place) -> None:
    """A stream may be read in the context of one that was read before it."""
    place.retrieve(found("thirty days of leave", "leave"))
    again = found("thirty days of leave", "leave", position=2)
    with ThreadPoolExecutor(1) as threads:
        threads.submit(contextvars.Context().run, place.retrieve, again).result()
    made_from = place.made_from("From: thirty days of leave.")
    assert made_from.found.moments == ((("leave",), again.moment),)
    assert [source.position for source in made_from.sources] == [2]


@apart
def test_a_document_is_found_wherever_it_was_retrieved(place: Place) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(contextvars.Context().run, place.retrieve, found("thirty days of leave", "leave")).result()
    assert place.ids("From this: thirty days of leave. How many?") == ["leave"]
    assert not place.made_from("From this: thirty days of leave. How many?", ("bob",)).sources
    assert not Place().made_from("From this: thirty days of leave. How many?").sources


@apart
def test_of_the_same_text_the_documents_of_the_own_run_count(place: Place) -> None:
    contextvars.Context().run(place.retrieve, found("days of leave", "other"))
    with run():
        place.retrieve(found("days of leave", "own"))
        assert place.ids("days of leave") == ["own"]


@apart
def test_what_a_run_retrieved_and_no_prompt_shows_counts(place: Place) -> None:
    with run():
        with run(is_tool=True):
            place.retrieve(found("thirty days of leave", "leave"))
            assert place.ids("Summarize: thirty days of leave") == ["leave"]
        assert place.ids("A month, says the tool.") == ["leave"]
        with run():
            place.retrieve(found("the salary of bob", "bob"))  # to be cut off, say
        assert place.ids("How much?") == ["leave", "bob"]
    assert place.ids("How much?") == []


@apart
def test_runs_side_by_side_share_nothing(place: Place) -> None:
    with run() as both:
        one, other = RetrievalContext(outer=both), RetrievalContext(outer=both)
        one.add([found("the salary of bob", "bob")], place.store)
        other.add([found("thirty days of leave", "leave")], place.store)
        for each, name in ((one, "bob"), (other, "leave")):
            made_from = MadeFrom(each, None, place.store, lambda: NormalForm({"prompt": "?"}))
            assert [source.ids for source in made_from.sources] == [(name,)]


@apart
def test_of_parts_that_run_side_by_side_what_one_has_shown_is_no_source_of_another(place: Place) -> None:
    with run() as both:
        with run():
            place.retrieve(found("the salary of bob", "bob"))
            assert place.ids("the salary of bob?") == ["bob"]
            both.documents(place.store)  # as another part's answer does, before this one has ended
        with run():
            assert place.ids("Something else?") == []


@apart
def test_of_one_question_after_the_other_in_a_run_each_has_its_own(place: Place) -> None:
    with run():
        for name in ("bob", "ann"):
            with run():
                place.retrieve(found(f"the salary of {name}", name))
                assert place.ids(f"the salary of {name}?", answer=f"that much for {name}") == [name]
        assert place.ids("Sum up: that much for ann.") == ["ann"]
        assert place.ids("Sum up: That much\nfor bob, that much for ann.") == ["bob", "ann"]


@apart
def test_a_hit_accounts_for_the_documents_of_its_entry(place: Place) -> None:
    with run():
        place.retrieve(found("the salary of bob", "bob"))
        place.made_from("the salary of bob?").answered(b"", (Source("c", 1, ("bob",)),))
        assert place.ids("Something else?") == []


@apart
def test_of_one_document_the_last_position_counts_and_without_ids_any_change(place: Place) -> None:
    with run():
        place.retrieve(found("the salary of bob", "bob", position=1), found("no id at all", position=1))
        place.retrieve(found("the salary of bob", "bob", position=2))
        sources = place.made_from("the salary of bob, no id at all").sources
    assert set(sources) == {Source("c", 2, ("bob",)), Source("c", 1, (), any_change=True)}


@apart
def test_of_one_text_that_was_found_before_the_run_and_in_it_the_last_position_counts(place: Place) -> None:
    place.retrieve(found("the salary of bob", "bob", position=1), found("days of leave", "leave", position=1))
    with run():
        place.retrieve(found("the salary of bob", "bob", position=2))
        sources = place.made_from("the salary of bob; days of leave").sources
        assert set(sources) == {Source("c", 2, ("bob",)), Source("c", 1, ("leave",))}
        place.retrieve(found("the salary of bob and ann", "bob", position=3))
        sources = place.made_from("the salary of bob; and: the salary of bob and ann").sources
        assert set(sources) == {Source("c", 2, ("bob",)), Source("c", 3, ("bob",))}  # the prompt shows the old one


@apart
def test_of_two_texts_of_one_document_that_others_found_both_count(place: Place) -> None:
    for position, text in ((1, "the salary of bob"), (2, "no salary of ann at all")):
        contextvars.Context().run(place.retrieve, found(text, "bob", position=position))
    sources = place.made_from("the salary of bob; no salary of ann at all").sources
    assert set(sources) == {Source("c", 1, ("bob",)), Source("c", 2, ("bob",))}


@apart
def test_the_scope_is_of_the_documents_that_count(place: Place) -> None:
    place.retrieve(found("the salary of bob", "bob", scope=None), found("days of leave", "leave", scope=b"1"))
    place.retrieve(found("hours of work", "work", scope=b"2"))
    one, two = (place.made_from(prompt).scope for prompt in ("days of leave", "days of leave; hours of work"))
    assert one is not None and two is not None and one != two
    assert place.made_from("the salary of bob; days of leave").scope is None
    assert place.made_from("nothing of it").scope is None


@apart
def test_a_retrieval_context_does_not_grow_without_limit(place: Place) -> None:
    with run() as one:
        for number in range(50):
            place.retrieve(*(found("", f"{number}-{n}") for n in range(100)))
        names = [document.ids[0] for document, _ in one.documents()]
    assert len(names) == 1000 and names[-1] == "49-99"


def test_what_another_thread_is_just_looking_at_is_no_source() -> None:
    run_around, document = RetrievalContext(), found("the salary of bob", "bob")
    looks, may_go_on = threading.Event(), threading.Event()

    def shown() -> list[RetrievedDocument]:
        looks.set()
        assert may_go_on.wait(30)
        return [document]

    run_around.add([document], "store")
    run_around.answered(Answered(b"", ()), "store", shown)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run_around.documents)
        assert looks.wait(30)
        second = threads.submit(run_around.documents)
        inner = RetrievalContext(outer=run_around)
        inner.end()  # never waits: the garbage collector may do that
        assert not second.done()
        may_go_on.set()
        assert first.result() == second.result() == [(document, True)]


@apart
def test_of_many_hits_in_one_run_none_is_a_source_of_what_follows(place: Place) -> None:
    with run():
        for number in range(300):
            with run():
                place.retrieve(found(f"the salary of person {number}", str(number)))
                made_from = place.made_from(f"the salary of person {number}?")
                made_from.answered(b"", ())  # a hit, of which nobody needs the sources
        with run():
            assert place.ids("Something else?") == []
