"""Which changes of documents concern what was made from them."""

from hypothesis import given
from hypothesis import strategies as st

from askonce.entries.entry import Source
from askonce.provenance.additions import ADDED
from askonce.provenance.changes import ANYTHING, Changes, changed
from askonce.stores.base import LogPage
from tests.provenance.sources import part, whole


def after(*events: bytes) -> Changes:
    changes = Changes()
    changes.learn(0, LogPage(list(enumerate(events, 1)), len(events)))
    return changes


def test_an_addition_concerns_earlier_retrievals_and_no_answer() -> None:
    changes = after(changed(["x"]), ADDED)
    assert changes.concern(whole(1, "a"))
    assert not changes.concern(whole(2, "a"))
    assert not changes.concern(part(1, "a"))


def test_a_changed_document_concerns_what_was_made_from_it() -> None:
    changes = after(changed(["x", "y"]), changed(["z"]))
    assert changes.concern(whole(0, "y", "b"))
    assert changes.concern(part(1, "z"))
    assert not changes.concern(part(1, "x"))
    assert not changes.concern(whole(0, "b"))


def test_entries_older_than_the_log_are_outdated() -> None:
    changes = Changes()
    changes.learn(0, LogPage([(11, ADDED)], 11, truncated=True))
    assert changes.concern(part(9, "a"))
    assert not changes.concern(part(10, "a"))


def test_an_unreadable_event_concerns_everything() -> None:
    changes = after(ADDED)
    changes.learn(1, LogPage([], 3))  # the event at 2 is still being written
    assert changes.concern(part(1, "a"))
    changes.learn(1, LogPage([(2, ADDED), (3, ADDED)], 3))
    assert not changes.concern(part(1, "a"))


def test_a_lost_log_outdates_all_earlier_entries() -> None:
    changes = after(ADDED, ADDED, ADDED)
    assert changes.learn(3, LogPage([], 1))
    changes.learn(0, LogPage([(1, changed(["x"]))], 1))
    assert changes.concern(part(3, "a"))
    assert not changes.concern(part(1, "a"))


def test_any_change_concerns_a_retrieval_that_weighs_more_than_it_returns() -> None:
    changes = after(changed(["x"]), changed(["y"]))
    assert changes.concern(Source("c", 1, ("a",), whole=True, any_change=True))
    assert not changes.concern(Source("c", 2, ("a",), whole=True, any_change=True))


def test_a_change_of_unknown_documents_concerns_all_earlier_entries() -> None:
    assert after(ANYTHING).concern(part(0, "a"))
    assert not after(ANYTHING).concern(whole(1, "a"))


def test_an_event_of_a_newer_kind_concerns_all_earlier_entries() -> None:
    assert after(b"?new").concern(part(0, "a"))
    assert after(b"-garbage").concern(part(0, "a"))


@given(st.lists(st.sampled_from(["+", "a", "b", "ab"]), max_size=12), st.data())
def test_pages_can_be_read_by_several_threads(kinds: list[str], data: st.DataObject) -> None:
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
