"""Which documents an answer was made from."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

from askonce.entries.entry import Source
from askonce.provenance.retrieval_context import (
    begin_retrieval_context,
    current_sources,
    end_retrieval_context,
    record_retrieval,
)
from tests.provenance.sources import part


def ids() -> list[str]:
    return [one for source in current_sources("s") for one in source.ids]


def fresh(test):  # type: ignore[no-untyped-def]
    """Run a test in a context of its own."""
    return lambda: contextvars.Context().run(test)


@fresh
def test_documents_are_sources_of_the_next_answer() -> None:
    record_retrieval(part(1, "a", "b"), "s")
    record_retrieval(part(2, "b", "c"), "s")
    record_retrieval(part(1, "d"), "s")
    # Each as of its own position: had they the oldest, a change of "c" at 2 would concern what was found after it.
    assert current_sources("s") == (Source("c", 1, ("a", "b", "d")), Source("c", 2, ("b", "c")))


@fresh
def test_outside_a_run_a_retrieval_after_an_answer_starts_over() -> None:
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
def test_documents_that_a_run_only_retrieved_are_sources_of_a_later_answer() -> None:
    for question in ("a", "b"):
        for one in (question, question.upper()):
            begin_retrieval_context()
            record_retrieval(part(1, one), "s")
            end_retrieval_context()
        assert ids() == [question, question.upper()]


@fresh
def test_a_run_that_ends_in_another_context_has_ended() -> None:
    run = begin_retrieval_context()
    record_retrieval(part(1, "a"), "s")
    contextvars.Context().run(end_retrieval_context, run)
    assert ids() == ["a"]
    assert begin_retrieval_context() is not None
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


@fresh
def test_documents_of_a_run_are_sources_of_its_unfinished_answer() -> None:
    run = begin_retrieval_context()
    record_retrieval(part(1, "a"), "s")
    assert ids() == ["a"]
    end_retrieval_context(run, answering=True)
    assert ids() == ["a"]
    record_retrieval(part(1, "b"), "s")
    assert ids() == ["b"]


@fresh
def test_answers_in_another_store_have_no_sources_of_the_corpus() -> None:
    record_retrieval(part(1, "a"), "s")
    assert current_sources("another") == ()
    assert ids() == ["a"]


@fresh
def test_a_retrieval_context_does_not_grow_without_limit() -> None:
    begin_retrieval_context()
    for number in range(50):
        record_retrieval(part(number, *(f"{number}-{n}" for n in range(100))), "s")
    assert len(ids()) == 1000
    assert ids()[-1] == "49-99"
