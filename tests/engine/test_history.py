"""Which deletions concern a document that an answer is made from."""

from __future__ import annotations

import pytest

from askonce.engine.history import Deletion, RequestHistory
from askonce.entries.entry import Place
from askonce.totals.buckets import name_digest

PLACE, TAGS = Place("shop", b"key"), ("doc:one", "doc:two")
NAME = name_digest("tag", "doc:one")
OF_IT = {
    "its tag": {"tag": "doc:one"},
    "all": {},
    "an erasure of its source": {"within": True, "names": (NAME,)},
    "an erasure of a text": {"within": True},
}
OF_OTHERS = {
    "another tag": {"tag": "doc:three"},
    "one entry": {"key": b"key"},
    "an erasure of another source": {"within": True, "names": (name_digest("tag", "doc:three"),)},
    "another namespace": {"namespace": "other", "tag": "doc:one"},
}


def history_of(moment: float, **deletion: object) -> RequestHistory:
    history = RequestHistory()
    history.deleted(Deletion(**{"namespace": "shop", "at": 0.0, "moment": moment, **deletion}))  # type: ignore[arg-type]
    return history


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 10_000.0)


@pytest.mark.parametrize("name", OF_IT)
def test_a_deletion_concerns_what_was_found_before_it(name: str) -> None:
    history = history_of(9_900.0, **OF_IT[name])  # type: ignore[arg-type]
    assert history.was_document_deleted(PLACE, TAGS, 9_800.0)
    assert not history.was_document_deleted(PLACE, TAGS, 9_901.0)


@pytest.mark.parametrize("name", OF_OTHERS)
def test_a_deletion_of_others_does_not(name: str) -> None:
    assert not history_of(9_900.0, **OF_OTHERS[name]).was_document_deleted(PLACE, TAGS, 0.0)  # type: ignore[arg-type]


def test_long_after_a_deletion_only_one_by_name_concerns_a_document() -> None:
    for name, deletion in OF_IT.items():
        history = history_of(1_000.0, **deletion)  # type: ignore[arg-type]
        assert history.was_document_deleted(PLACE, TAGS, 0.0) == (name in ("its tag", "an erasure of its source"))


def test_many_deletions_of_others_concern_no_document() -> None:
    history = history_of(9_000.0, tag="doc:one")
    for number in range(3_000):
        history.deleted(Deletion("shop", 0.0, f"doc:{number}", moment=9_999.0))
    assert history.was_document_deleted(PLACE, TAGS, 8_000.0)
    assert not history.was_document_deleted(PLACE, ("doc:other",), 8_000.0)
