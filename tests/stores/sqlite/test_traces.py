"""What remains in the file and beside it: nothing that was deleted by request, and no more space than is needed."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard

from askonce import Cache, cache_options
from askonce.entries.entry import Answer
from askonce.eviction.policy import UNLIMITED, Budget
from askonce.keys.normal_form import NormalForm
from askonce.stores.base import Record
from askonce.stores.sqlite.store import SQLiteStore

_FRAME = re.compile(re.escape(b"\x28\xb5\x2f\xfd"))


def texts(folder: Path) -> Iterator[bytes]:
    """The bytes of all files of a store, and what is in every zstandard frame within them, whole or not."""
    for file in folder.iterdir():
        data = file.read_bytes()
        yield data
        for frame in _FRAME.finditer(data):
            opened = zstandard.ZstdDecompressor().decompressobj()
            piece = b""
            with suppress(zstandard.ZstdError):
                for at in range(frame.start(), min(frame.start() + 60_000, len(data)), 64):
                    piece += opened.decompress(data[at : at + 64])
            yield piece


def found(markers: list[bytes], folder: Path) -> list[bytes]:
    whole = list(texts(folder))
    return [marker for marker in markers if any(marker in text for text in whole)]


def clear(cache: Cache) -> None:
    cache.clear()


def invalidate(cache: Cache) -> None:
    cache.invalidate("secret")


@pytest.mark.parametrize("delete", [clear, invalidate])
def test_what_was_deleted_by_request_is_gone_from_the_files(delete: Callable[[Cache], Any], tmp_path: Path) -> None:
    rng = random.Random(3)
    short, long = [b"<short %016x>" % rng.getrandbits(64) for _ in range(60)], []
    with Cache(f"sqlite:///{tmp_path / 'cache.db'}", timeout_seconds=10) as cache, cache_options(tags=["secret"]):

        def store_answer(question: str, payload: bytes) -> None:
            request = cache.engine.request("answer", lambda: NormalForm({"question": question}))
            assert request is not None
            cache.engine.answer(request, lambda: payload, Answer)

        for number, marker in enumerate(short):
            store_answer(f"short {number}", marker)
            if number % 2:
                long.append(b"<long %016x>" % rng.getrandbits(64))
                store_answer(
                    f"long {number}", b"once upon a time " * 200 + long[-1] + rng.randbytes(rng.randrange(5000))
                )
            with cache_options(refresh=number % 7 == 0):  # an older answer, too, is gone
                store_answer("called again", marker)
        before = found(short, tmp_path), found(long, tmp_path)
        assert before == (short, long)  # they can be found at all
        delete(cache)
        assert cache.stats().entries == 0
        assert found([*short, *long], tmp_path) == []


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def put(store: SQLiteStore, number: int, budget: Budget = UNLIMITED, *, seed: int = 1) -> None:
    rng = random.Random(seed)
    for _ in range(number):
        store.put("n", [Record(rng.randbytes(32), rng.randbytes(10_000))], budget)


def test_the_files_shrink_with_a_lower_limit_and_after_clear(tmp_path: Path) -> None:
    with closing(SQLiteStore(f"sqlite:///{tmp_path / 'cache.db'}", timeout_seconds=10)) as store:
        put(store, 2000)
        assert size_of(tmp_path) > 20_000_000
        put(store, 10, Budget(max_bytes=200_000), seed=2)
        assert size_of(tmp_path) < 6_000_000  # of which up to 4 MB are the log
        put(store, 500, seed=3)
        store.clear("n")
        assert size_of(tmp_path) < 200_000


def test_the_log_stays_in_proportion_while_other_processes_read(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with (
        closing(SQLiteStore(f"sqlite:///{path}", timeout_seconds=10)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
    ):
        longest = 0
        for seed in range(40):
            put(store, 30, Budget(max_bytes=1_000_000), seed=seed)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM entry").fetchall()
            put(store, 5, Budget(max_bytes=1_000_000), seed=100 + seed)
            reader.execute("COMMIT")
            longest = max(longest, path.with_name("cache.db-wal").stat().st_size)
    assert longest < 8_000_000


def test_a_deletion_while_another_process_reads_leaves_no_trace_once_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with (
        closing(SQLiteStore(f"sqlite:///{path}", timeout_seconds=0.2)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as reader,
    ):
        store.put("n", [Record(b"k", b"<marker>" * 10)])
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM entry").fetchall()
        store.clear("n")
        assert store.get("n", b"k") is None
        reader.execute("COMMIT")
        store.put("n", [Record(b"other", b"v")])
        assert found([b"<marker>"], tmp_path) == []
