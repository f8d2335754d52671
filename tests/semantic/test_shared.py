"""The large index of one process is there for the next."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from pathlib import Path

import pytest

from askonce import Cache
from askonce.semantic.entries import QuestionEntries
from askonce.semantic.index import shared
from tests.semantic.faq import Desk, semantic_hit
from tests.semantic.test_cache import semantic


@pytest.fixture(autouse=True)
def saved_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shared, "_SAVE_INDEX_FROM", 100)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def test_a_process_begins_with_the_saved_index_and_later_deltas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, semantic=semantic()) as cache:
        Desk(cache).work(400)
        late = Cache(url, semantic=semantic())
        Desk(late).answer("where is my refund?")
    Desk(late).answer("where is my parcel, which nobody asked for before?")
    late.flush()
    late.engine.flow.semantic._shared._file = None  # type: ignore[union-attr]
    late.close()
    (saved,) = (tmp_path / "home/askonce/questions").iterdir()
    assert saved.stat().st_mode & 0o777 == 0o600 and saved.parent.stat().st_mode & 0o777 == 0o700

    def not_read(*_: object) -> None:
        raise AssertionError("the entries need not be read")

    monkeypatch.setattr(QuestionEntries, "scan", not_read)
    with Cache(url, semantic=semantic()) as cache:
        assert semantic_hit(Desk(cache))
        cache.flush()
        index = cache.engine.flow.semantic._questions._index  # type: ignore[union-attr]
        assert any("nobody asked for" in one.text for one in index.patrol(10_000) + index.patrol(10_000))


def test_an_unreadable_saved_index_is_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, semantic=semantic()) as cache:
        Desk(cache).work(400)
    (saved,) = (tmp_path / "home/askonce/questions").iterdir()
    saved.write_bytes(saved.read_bytes()[:-100])
    with (
        caplog.at_level(logging.WARNING),
        Cache(url, semantic=semantic()) as cache,
    ):
        assert semantic_hit(Desk(cache))
    assert "is not used" in caplog.text


def test_a_process_that_missed_deltas_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with (
        Cache(url, semantic=semantic()) as one,
        Cache(url, semantic=semantic()) as other,
    ):
        Desk(other).answer("where is my refund?")
        other.flush()
        Desk(one).work(400)
        one.engine.flow.semantic._shared.save()  # type: ignore[union-attr]
        follower = other.engine.flow.semantic._shared._follower  # type: ignore[union-attr]
        follower.position = 1  # as if the deltas after it were gone
        other.flush()
        assert semantic_hit(Desk(other))


def test_the_saved_index_of_a_store_that_was_lost_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with Cache(f"sqlite:///{path}", semantic=semantic()) as cache:
        Desk(cache).work(400)
    for file in tmp_path.glob("cache.db*"):
        file.unlink()
    with Cache(f"sqlite:///{path}", semantic=semantic()) as cache:
        Desk(cache).answer("where is my refund?")
        assert cache.flush()
        assert cache.stats().semantic.questions == 1  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_shares_what_it_learns_and_waits_for_no_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    with Cache(url, semantic=semantic()) as cache:
        Desk(cache).answer("where is my refund?")
        assert cache.flush()
        with cache.engine.flow.semantic._rule._lock:  # type: ignore[union-attr]
            child = multiprocessing.get_context("fork").Process(target=_request_in_child, args=(cache,))
            held = threading.Thread(target=child.start)  # so that the lock is another thread's
            held.start()
            held.join()
            child.join(20)
        code = child.exitcode
        child.kill()
        assert code == 0
        assert cache.flush()
        stats = cache.stats().semantic
    assert stats is not None and (stats.requests, stats.questions) == (2, 2)


def _request_in_child(cache: Cache) -> None:
    Desk(cache).answer("how do I get my voucher?")
    assert cache.flush()
    stats = cache.stats().semantic
    assert stats is not None and stats.requests == 2
