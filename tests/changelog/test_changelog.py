"""Whatever n processes learn, and in whatever order they use the store, all have the same state in the end."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askonce.changelog.follower import Follower
from askonce.changelog.journal import Journal
from askonce.changelog.seen import Seen
from askonce.entries.codec import Codec
from askonce.errors import CodecError, StoreUnavailable
from askonce.stores import open_store
from askonce.stores.base import Store
from askonce.stores.circuit_breaker import CircuitBreaker
from askonce.stores.health import Lane
from askonce.stores.memory import MemoryStore

LOG = "n:log"
SEALED = Codec([b"k" * 32])


class Words(msgspec.Struct, frozen=True):
    """How often words were spoken."""

    counts: dict[str, int]

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.counts.values()):
            raise ValueError("words are spoken once or more")


class Vocabulary:
    """Counts words: the simplest state that shows a delta that was lost, or counted twice."""

    delta_type = snapshot_type = Words

    def __init__(self) -> None:
        self.counted: dict[str, int] = {}
        self.new: dict[str, int] = {}

    def say(self, word: str) -> None:
        for counts in (self.counted, self.new):
            counts[word] = counts.get(word, 0) + 1

    def take(self) -> Words | None:
        new, self.new = self.new, {}
        return Words(new) if new else None

    def merge(self, delta: Words, *, is_new: bool) -> None:
        for word, count in delta.counts.items() if is_new else ():
            self.counted[word] = self.counted.get(word, 0) + count

    def snapshot(self) -> tuple[Words | None, Words]:
        return self.take(), Words(dict(self.counted))

    def restart(self, snapshot: Words | None) -> None:
        if snapshot is not None:
            self.counted = dict(snapshot.counts)
            self.merge(Words(self.new), is_new=True)


class Process:
    def __init__(self, store: Store, codec: Codec = SEALED, **options: Any) -> None:
        self.words = Vocabulary()
        self.breaker = CircuitBreaker(store, 10)
        self.follower = Follower(self.breaker, codec, LOG, self.words, **{"snapshot_after": 3, **options})


class Fragile(MemoryStore):
    """Fails on demand, before or after a call was done."""

    fails = ""

    def log_append(self, namespace: str, event: bytes) -> int:
        if self.fails == "before":
            raise StoreUnavailable("down")
        sequence = super().log_append(namespace, event)
        if self.fails == "after":
            raise StoreUnavailable("the answer was lost")
        return sequence


steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["say", "say", "step", "save", "down", "unsure", "restart"])),
    max_size=60,
)


def play(what: list[tuple[int, str]], store: Fragile, **options: Any) -> tuple[list[Process], dict[str, int]]:
    """Let processes speak and stop in that order; returns all of them, synchronized, and what was spoken."""
    processes = [Process(store, **options) for _ in range(4)]
    spoken: dict[str, int] = {}
    for number, (at, step) in enumerate(what):
        process = processes[at]
        if step == "say":
            word = f"w{number % 5}"
            process.words.say(word)
            spoken[word] = spoken.get(word, 0) + 1
        elif step in ("down", "unsure"):
            store.fails = "before" if step == "down" else "after"
            process.follower.step()
            store.fails = ""
            process.breaker.after_fork()  # it is up again
        elif step == "save":
            process.follower.save()
        else:
            process.follower.step()
            if step == "restart":
                processes[at] = Process(store, **options)
    for _ in range(2):
        for process in processes:
            assert process.follower.step()
    return processes, spoken


@settings(max_examples=150, deadline=None)
@given(steps, st.booleans())
def test_any_interleaving_leads_to_the_same_state(what: list[tuple[int, str]], in_records: bool) -> None:
    options: dict[str, Any] = {"expires_at": lambda _: 1e12} if in_records else {}
    processes, spoken = play(what, Fragile(), **options)
    assert [process.words.counted for process in processes] == [spoken] * 4


@settings(max_examples=50, deadline=None)
@given(steps)
def test_a_new_process_begins_from_the_snapshot_when_the_log_is_trimmed(what: list[tuple[int, str]]) -> None:
    store = Fragile()
    processes, _ = play(what, store)
    processes[0].follower.save()
    away = processes[1]
    log = store._space(LOG).log
    while len(log) > 1:
        log.popleft()
    for number in range(3):
        processes[2].words.say(f"late{number}")
        processes[2].follower.save()
    counted = processes[2].words.counted
    fresh = Process(store)
    for process in (fresh, away):
        assert process.follower.step()
        assert process.words.counted == counted


def test_a_process_that_missed_deltas_begins_from_the_snapshot() -> None:
    store = MemoryStore()
    one, away = Process(store), Process(store)
    for process in (one, away):
        process.words.say("first")
        process.follower.step()
    away.words.say("not published yet")
    for _ in range(5):
        one.words.say("missed")
        one.follower.save()
    store._space(LOG).log.clear()
    store.log_append(LOG, b"not a delta")
    assert away.follower.step()
    one.follower.step()
    assert away.words.counted == one.words.counted == {"first": 2, "missed": 5, "not published yet": 1}


def test_a_lost_log_begins_again() -> None:
    store = MemoryStore()
    one = Process(store)
    one.words.say("before")
    assert one.follower.step()
    after = MemoryStore()
    one.follower._store = after
    one.words.say("after")
    assert one.follower.step() and one.follower.step()
    fresh = Process(after)
    assert fresh.follower.step()
    assert fresh.words.counted == {"after": 1} and one.words.counted == {"before": 1, "after": 1}


def test_deltas_in_records_expire(tmp_path: Path) -> None:
    now = [1e9]
    store = MemoryStore(clock=lambda: now[0])
    options: dict[str, Any] = {"expires_at": lambda _: now[0] + 60, "snapshot_after": None}
    one = Process(store, **options)
    one.words.say("soon forgotten")
    assert one.follower.step()
    assert store.size(LOG).entries == 1
    now[0] += 61
    late = Process(store, **options)
    assert late.follower.step() and late.words.counted == {} and store.size(LOG).entries == 0


@pytest.mark.parametrize("in_records", [False, True])
def test_nothing_is_in_the_store_in_clear(tmp_path: Path, in_records: bool) -> None:
    for codec, sealed in ((Codec(), False), (SEALED, True)):
        path = tmp_path / f"{in_records}-{sealed}.db"
        store = open_store(f"sqlite:///{path}")
        one = Process(store, codec, **({"expires_at": lambda _: 1e12} if in_records else {}))
        one.words.say("marker-4711")
        assert one.follower.save()
        store.close()
        content = b"".join(file.read_bytes() for file in tmp_path.glob(f"{path.name}*"))
        assert (b"marker-4711" in content) is not sealed


@pytest.mark.parametrize("foreign", [Codec(), Codec([b"x" * 32])], ids=["unsealed", "another key"])
def test_deltas_sealed_with_another_key_are_ignored_and_logged_once(foreign: Codec, caplog: Any) -> None:
    store = MemoryStore()
    other, one = Process(store, foreign), Process(store)
    for _ in range(5):
        other.words.say("forged")
        other.follower.save()
    with caplog.at_level(logging.INFO):
        assert one.follower.step() and one.words.counted == {}
    assert len(caplog.records) == 1 and "invalid shared state" in caplog.text


def test_invalid_deltas_are_ignored(caplog: Any) -> None:
    store = MemoryStore()
    one, other = Process(store), Process(store)
    one.words.new = {"never": 1}
    delta = one.words.take()
    assert delta is not None
    delta.counts["never"] = 0
    one.follower._enqueue(delta)
    assert one.follower.step()
    for event in (b"", b"noise", b"\x01" * 40):
        store.log_append(LOG, event)
    one.words.say("valid")
    assert one.follower.step() and other.follower.step()
    assert other.words.counted == {"valid": 1} and caplog.text.count("invalid shared state") >= 1


def test_the_store_is_not_called_while_the_breaker_is_open() -> None:
    store = MemoryStore()
    one = Process(store)
    one.words.say("later")
    for _ in range(3):
        one.breaker.health.failed(Lane("read"), StoreUnavailable("down"), math.inf)
    calls: list[str] = []
    for name in ("get", "get_many", "put", "log_append", "log_read", "lease", "release"):
        setattr(store, name, lambda *_, name=name: calls.append(name))
    assert not one.follower.step() and not one.follower.save() and not one.follower.is_current
    assert calls == [] and one.words.counted == {"later": 1}


def test_a_process_that_did_nothing_makes_no_calls_when_it_ends() -> None:
    store = MemoryStore()
    for name in ("get", "log_read", "lease"):
        setattr(store, name, None)
    assert Process(store).follower.save()


def test_bytes_are_bound_to_their_log_kind_and_key() -> None:
    journal = Journal(SEALED, LOG)
    data = journal.write(Words({"a": 1}), b"key")
    assert journal.read(data, Words, b"key") == Words({"a": 1})
    for other, key in ((journal, b"other"), (Journal(SEALED, "n:other"), b"key")):
        with pytest.raises(CodecError):
            other.read(data, Words, key)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.integers(1, 2000)), max_size=200))
def test_a_delta_is_new_once(deltas: list[tuple[bytes, int]]) -> None:
    seen, once = Seen(), set()
    for source, number in deltas:
        is_new = seen.add(source, number)
        assert not (is_new and (source, number) in once)
        once.add((source, number))
        seen = Seen(seen.stored())
    assert not any(seen.add(source, number) for source, number in once)
