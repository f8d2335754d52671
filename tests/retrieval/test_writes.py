"""Writes of documents are announced before and after: whatever happens in between, nothing outdated outlives it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from askonce import Cache, ConfigError, Corpus
from askonce.changelog.journal import Journal
from askonce.provenance.changes import Change
from askonce.stores.memory import MemoryStore
from tests.support import kills, servers
from tests.support.change_log import changes_of, shown


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", ["sqlite", "redis-8.2", "mongodb"])
def test_a_process_that_is_killed_in_a_write_leaves_nothing_outdated(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db" if name == "sqlite" else servers.start(name).url
    killed, wrong = kills.campaign(url, tmp_path / "files", namespace="kills", encryption_keys=[os.urandom(16)])
    assert killed == 48
    assert not wrong


def test_the_lease_of_a_long_write_is_renewed() -> None:
    corpus = Corpus(Cache(MemoryStore(), lease_seconds=0.4))
    with corpus.writing(["a"]):
        time.sleep(1)
        assert corpus.cache.engine.position(corpus.log).is_stable is False  # type: ignore[union-attr]
    assert [shown(one) for one in changes_of(corpus)] == ["[a", "a+]"]


def test_a_write_whose_lease_ran_out_begins_again() -> None:
    corpus = Corpus(Cache(MemoryStore(), lease_seconds=0.4))
    engine = corpus.cache.engine
    with corpus.writing(["a"]):
        write = changes_of(corpus)[0].begins
        corpus.cache.store.release(corpus.log, write, write.hex())
        assert engine.position(corpus.log).is_stable  # type: ignore[union-attr]  # a reader took its lease
        lost = threading.Event()
        while not (position := engine.position(corpus.log)) or position.is_stable:
            assert not lost.wait(0.05)
    assert [shown(one) for one in changes_of(corpus)] == ["[a", "*]", "[a", "a+]"]
    assert engine.position(corpus.log).is_stable  # type: ignore[union-attr]


def test_a_write_whose_lease_ran_out_before_it_was_done_begins_again_first() -> None:
    """The process was suspended between the lease and the write, and a reader took the lease."""

    class Suspended(MemoryStore):
        times = 1

        def log_append(self, namespace: str, event: bytes) -> int:
            sequence = super().log_append(namespace, event)
            if self.times:
                self.times -= 1
                assert engine.position(corpus.log).is_stable is False  # type: ignore[union-attr]
                time.sleep(0.6)
                assert engine.position(corpus.log).is_stable  # type: ignore[union-attr]
            return sequence

    store = Suspended()
    corpus = Corpus(Cache(store, lease_seconds=0.4))
    engine = corpus.cache.engine
    with corpus.writing(["a"]):
        assert [shown(one) for one in changes_of(corpus)] == ["[a", "*]", "[a"]
        assert engine.position(corpus.log).is_stable is False  # type: ignore[union-attr]
    assert [shown(one) for one in changes_of(corpus)] == ["[a", "*]", "[a", "a+]"]
    assert engine.position(corpus.log).is_stable  # type: ignore[union-attr]


def test_a_log_is_sealed_where_entries_are() -> None:
    store = MemoryStore()
    corpus = Corpus(Cache(store, encryption_keys=[b"1" * 16]))
    with corpus.writing(["salary of ann"]):
        pass
    assert "salary" not in str(store.log_read(corpus.log, 0).events)
    other = Corpus(Cache(store, encryption_keys=[b"2" * 16]))
    assert len(changes_of(corpus)) == 2
    event = Journal(other.cache.engine.codec, other.log).write(Change(("a",)))
    store.log_append(other.log, event)  # which nobody else can read, and so concerns anything
    position = corpus.cache.engine.position(corpus.log)
    assert position is not None and position.is_stable


def test_a_failed_write_is_reported_as_one_that_ended() -> None:
    corpus = Corpus(Cache(MemoryStore()))
    with pytest.raises(OSError, match="disk"), corpus.writing(["a"], added=False):
        raise OSError("disk")
    assert [shown(one) for one in changes_of(corpus)] == ["[a", "a]"]


def test_a_name_or_an_id_that_cannot_be_stored_is_an_error() -> None:
    with pytest.raises(ConfigError, match="the name of a corpus is not valid Unicode"):
        Corpus(MemoryStore(), name="caf\udce9")
    corpus = Corpus(MemoryStore())
    with pytest.raises(ConfigError, match="an id is not valid Unicode"):
        corpus.changed(["a", "caf\udce9"])
    assert not changes_of(corpus)
