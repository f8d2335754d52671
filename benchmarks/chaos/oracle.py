"""Processes of many threads that write and read one store, against a dict of each thread."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from askonce.errors import StoreUnavailable
from askonce.stores import open_store
from askonce.stores.base import Record, Store
from benchmarks.chaos.processes import PROCESSES, accounts_off
from tests.stores.sqlite.files import assert_sound

NAMESPACE = "oracle"
MEMBERS, THREADS, KEYS = 8, 8, 40


@dataclass
class Seen:
    """What one or more threads saw."""

    operations: int = 0
    wrong: int = 0
    unavailable: int = 0

    def __add__(self, other: Seen) -> Seen:
        return Seen(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def value_of(key: bytes, version: int) -> bytes:
    """A value that shows its key and its version, and whether it is whole."""
    text = b"%b %d " % (key, version) + random.Random(version).randbytes(version % 600)
    return hashlib.sha256(text).digest() + text


def is_whole(key: bytes, value: bytes) -> bool:
    return hashlib.sha256(value[32:]).digest() == value[:32] and value[32:].startswith(key + b" ")


class Member:
    """One thread: it writes keys of its own, and reads those of all.

    What became of a write that failed is not known, so that its key is given up for another one.
    """

    def __init__(self, store: Store, name: str, seed: int) -> None:
        self.store, self.name, self.seen = store, name, Seen()
        self.chance = random.Random(seed)
        self.held: dict[bytes, bytes | None] = {}
        self.tagged: set[bytes] = set()
        self.version = 0
        self.keys = [b"%b.%d.0" % (name.encode(), number) for number in range(KEYS)]

    def work(self, seconds: float) -> Seen:
        ways = [self.put, self.put, self.put_many, self.get, self.get, self.get_many, self.foreign]
        ways += [self.delete, self.touch]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            way = self.delete_tag if self.chance.random() < 0.02 else self.chance.choice(ways)
            keys = self.chance.sample(self.keys, self.chance.randrange(1, 5))
            self.seen.operations += 1
            try:
                way(keys)
            except StoreUnavailable:
                self.seen.unavailable += 1
        return self.seen

    def finish(self) -> int:
        """How many keys do not hold at the end what they ought to."""
        return sum(self.store.get(NAMESPACE, key) != self.held.get(key) for key in self.keys)

    def writing(self, keys: list[bytes], write: Callable[[], object], after: dict[bytes, bytes | None]) -> None:
        try:
            write()
        except StoreUnavailable:
            for key in keys:
                name, _, generation = key.rpartition(b".")
                self.keys[self.keys.index(key)] = b"%b.%d" % (name, int(generation) + 1)
                self.tagged.discard(key)
            raise
        self.held.update(after)

    def records(self, keys: list[bytes]) -> list[Record]:
        records = []
        for key in keys:
            self.version += 1
            tags = (self.name,) if self.chance.random() < 0.3 else ()
            records.append(Record(key, value_of(key, self.version), tags=tags))
        return records

    def put_many(self, keys: list[bytes]) -> None:
        records = self.records(keys)
        self.writing(keys, lambda: self.store.put(NAMESPACE, records), {one.key: one.value for one in records})
        for one in records:
            (self.tagged.add if one.tags else self.tagged.discard)(one.key)

    def put(self, keys: list[bytes]) -> None:
        self.put_many(keys[:1])

    def delete(self, keys: list[bytes]) -> None:
        self.writing(keys, lambda: self.store.delete(NAMESPACE, keys), dict.fromkeys(keys))
        self.tagged.difference_update(keys)

    def delete_tag(self, _: list[bytes]) -> None:
        keys = list(self.tagged)
        self.writing(keys, lambda: self.store.delete_tag(NAMESPACE, self.name), dict.fromkeys(keys))
        self.tagged.clear()

    def touch(self, keys: list[bytes]) -> None:
        self.store.touch(NAMESPACE, dict.fromkeys(keys, 1))

    def get(self, keys: list[bytes]) -> None:
        self.seen.wrong += self.store.get(NAMESPACE, keys[0]) != self.held.get(keys[0])

    def get_many(self, keys: list[bytes]) -> None:
        self.seen.wrong += self.store.get_many(NAMESPACE, keys) != [self.held.get(key) for key in keys]

    def foreign(self, _: list[bytes]) -> None:
        key = b"%d-%d.%d.0" % (*map(self.chance.randrange, (MEMBERS, THREADS, KEYS)),)
        value = self.store.get(NAMESPACE, key)
        self.seen.wrong += value is not None and not is_whole(key, value)


def work(number: int, url: str, seconds: float, seed: int) -> Seen:
    """Be one of the processes."""
    store = open_store(url)
    members = [Member(store, f"{number}-{one}", seed * 1000 + number * 100 + one) for one in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        seen = sum(threads.map(lambda member: member.work(seconds), members), Seen())
    store.close()
    final = open_store(url, timeout_seconds=60)
    for member in members:
        member.store = final
        seen.wrong += member.finish()
    final.close()
    return seen


def against_a_dict(url: str, seconds: float, seed: int) -> tuple[str, ...]:
    """What the processes saw: operations, wrong results, calls that the store was too slow for, accounts."""
    with closing(open_store(url, timeout_seconds=30)) as store:
        store.clear(NAMESPACE)
        with ProcessPoolExecutor(MEMBERS, PROCESSES) as pool:
            works = [pool.submit(work, number, url, seconds, seed) for number in range(MEMBERS)]
            total = sum((one.result() for one in works), Seen())
        off = accounts_off(store, NAMESPACE)
    if url.startswith("sqlite"):
        assert_sound(Path(url.removeprefix("sqlite:///")))
    return f"{total.operations:,}", str(total.wrong), f"{total.unavailable / total.operations:.2%}", str(off)
