"""Which changes of documents concern what was made from them."""

from hypothesis import given
from hypothesis import strategies as st

from askonce.entries.entry import Source
from askonce.provenance.changes import ANYTHING, Change, Changes, ChangesPage
from tests.provenance.sources import part, whole

ADDED = Change(added=True)


def changed(ids: list[str]) -> Change:
    return Change(tuple(ids))


def after(*events: Change | None) -> Changes:
    changes = Changes()
    changes.learn(0, ChangesPage(list(enumerate(events, 1)), len(events)))
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
    changes.learn(0, ChangesPage([(11, ADDED)], 11, truncated=True))
    assert changes.concern(part(9, "a"))
    assert not changes.concern(part(10, "a"))


def test_an_unreadable_event_concerns_everything() -> None:
    changes = after(ADDED)
    changes.learn(1, ChangesPage([], 3))  # the event at 2 is still being written
    assert changes.concern(part(1, "a"))
    changes.learn(1, ChangesPage([(2, ADDED), (3, ADDED)], 3))
    assert not changes.concern(part(1, "a"))


def test_a_lost_log_outdates_all_earlier_entries() -> None:
    changes = after(ADDED, ADDED, ADDED)
    assert changes.learn(3, ChangesPage([], 1))
    changes.learn(0, ChangesPage([(1, changed(["x"]))], 1))
    assert changes.concern(part(3, "a"))
    assert not changes.concern(part(1, "a"))


def test_any_change_concerns_a_retrieval_that_weighs_more_than_it_returns() -> None:
    changes = after(changed(["x"]), changed(["y"]))
    assert changes.concern(Source("c", 1, ("a",), whole=True, any_change=True))
    assert not changes.concern(Source("c", 2, ("a",), whole=True, any_change=True))


def test_a_change_of_unknown_documents_concerns_all_earlier_entries() -> None:
    assert after(ANYTHING).concern(part(0, "a"))
    assert not after(ANYTHING).concern(whole(1, "a"))


def test_an_event_that_cannot_be_read_concerns_all_earlier_entries() -> None:
    assert after(None).concern(part(0, "a"))
    assert not after(None).concern(part(1, "a"))


def test_a_change_of_others_concerns_an_answer_from_documents_without_ids_and_an_addition_does_not() -> None:
    nameless = Source("c", 1, (), any_change=True)
    assert not after(ANYTHING, ADDED).concern(nameless)
    assert after(ANYTHING, changed(["x"])).concern(nameless)


def test_what_is_found_while_documents_are_written_counts_only_once_the_write_has_ended() -> None:
    changes = after(ANYTHING, Change(("x",), begins=b"1"), Change(begins=b"2"))
    assert changes.open_writes == (b"1", b"2")
    assert not changes.concern(whole(1, "a"))  # found before
    assert changes.concern(whole(1, "x"))
    for position in (2, 3):
        assert changes.concern(whole(position, "a"))
        assert changes.concern(part(position, "a"))
    changes.learn(3, ChangesPage([(4, Change(("x",), ends=b"1"))], 4))
    assert changes.concern(whole(4, "a"))
    changes.learn(4, ChangesPage([(5, Change(ends=b"2"))], 5))
    assert not changes.open_writes
    assert not changes.concern(whole(2, "a"))
    assert changes.concern(whole(3, "x"))
    assert not changes.concern(whole(5, "x"))


@given(st.lists(st.sampled_from(["+", "a", "b", "ab"]), max_size=12), st.data())
def test_pages_can_be_read_by_several_threads(kinds: list[str], data: st.DataObject) -> None:
    events = [(n, ADDED if kind == "+" else changed(list(kind))) for n, kind in enumerate(kinds, 1)]
    changes, simple = Changes(), Changes()
    simple.learn(0, ChangesPage(events, len(events)))
    for _ in range(6):
        begin = data.draw(st.integers(0, changes.position))
        end = data.draw(st.integers(begin, len(events)))
        changes.learn(begin, ChangesPage(events[begin:end], end))
    changes.learn(changes.position, ChangesPage(events[changes.position :], len(events)))
    for position in range(len(events) + 1):
        for source in (whole(position, "a"), part(position, "b"), part(position, "c")):
            assert changes.concern(source) == simple.concern(source)
