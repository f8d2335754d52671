"""What stores, damaged data and other threads may do to an application, and what leaves it unsealed."""

from __future__ import annotations

import itertools
import math
import os
import sqlite3
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from askonce import Cache, ConfigError, Corpus, StoreError
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.langchain import Multiplexer
from askonce.routing import Learned
from askonce.stores import Record
from askonce.stores.memory import MemoryStore
from tests.support import servers

KEY = bytes(range(32))
PAYLOAD = bytes(range(256)) * 2


def named(cache: Cache, question: object) -> Request:
    request = cache.engine.request("answer", lambda: NormalForm({"question": str(question)}))
    assert request is not None
    return request


def ask(cache: Cache, question: object) -> tuple[str, bytes]:
    found = cache.engine.answer(named(cache, question), lambda: PAYLOAD, Answer)
    return (found.kind, found.entry.payload) if isinstance(found, Hit) else ("fresh", found)


def program(code: str, *arguments: object, seconds: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run a program of its own; one that hangs is killed."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds)


# -- threads, tasks and processes ----------------------------------------------------------------------------------


# -- damaged data --------------------------------------------------------------------------------------------------


def damaged(change: Callable[[bytes], Any]) -> Cache:
    """A cache that holds the answer to ``why?``, as damage to its store has left it."""

    class Damaged(MemoryStore):
        def get(self, namespace: str, key: bytes) -> Any:
            value = super().get(namespace, key)
            return None if value is None else change(value)

    cache = Cache(Damaged())
    ask(cache, "why?")
    return cache


def test_a_flipped_bit_never_gives_another_answer() -> None:
    wrong = 0
    for at in range(18, 18 + len(PAYLOAD), 7):
        cache = damaged(lambda value, at=at: value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :])  # type: ignore[misc]
        wrong += ask(cache, "why?")[1] != PAYLOAD
    assert wrong == 0


def nested(value: bytes) -> bytes:
    """The entry in MessagePack by hand, with a further field that is nested deeply."""
    body = b"\x9a\xc4\x01a\xcb" + bytes(8) + b"\xc0\x00\xc0\x94\0\0\0\0\x90\x90\xc0" + b"\x91" * 3000 + b"\xc0"
    return value[:18] + body


@pytest.mark.parametrize("change", [nested, lambda value: 5], ids=["nested deeply", "a number"])
def test_an_entry_that_cannot_be_decoded_is_a_miss(change: Callable[[bytes], Any]) -> None:
    assert ask(damaged(change), "why?") == ("fresh", PAYLOAD)


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def of_a_newer_format(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 2")


@pytest.mark.xfail(
    strict=True,
    raises=(StoreError, ConfigError),
    reason="a file that cannot be read, or not by this version, raises at the start",
)
@pytest.mark.parametrize("change", [cut_in_half, of_a_newer_format])
def test_an_application_starts_whatever_became_of_the_default_file(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Cache(timeout_seconds=5) as cache:
        for number in range(300):
            ask(cache, number)
    [file] = tmp_path.rglob("cache.db")
    change(file)
    with Cache(timeout_seconds=5) as cache:
        assert ask(cache, "why?") == ("fresh", PAYLOAD)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="readers map the file into memory, so that a shorter file is a SIGBUS",
)
def test_a_database_file_that_is_emptied_does_not_kill_the_application(tmp_path: Path) -> None:
    done = program(
        """
        import os, sqlite3, sys
        from askonce import Cache
        from askonce.entries.entry import Answer
        from askonce.keys.normal_form import NormalForm

        file = sys.argv[1]
        cache = Cache(f"sqlite:///{file}", timeout_seconds=5)

        def ask(number):
            cache.engine.answer(cache.engine.request("answer", lambda: NormalForm({"q": number})), lambda:
            os.urandom(1000), Answer)

        for number in range(300):
            ask(number)
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        for number in range(5):
            ask(number)
        os.truncate(file, 0)
        for number in range(300):
            ask(number)
        print("goes on", flush=True)
        os._exit(0)
        """,
        tmp_path / "cache.db",
    )
    assert (done.returncode, done.stdout) == (0, "goes on\n")


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="a damaged document counts as a failure of the store")
def test_damaged_documents_do_not_take_the_store_for_down() -> None:
    if why := servers.available("mongodb"):
        pytest.skip(why)
    url, namespace = servers.start("mongodb").url, uuid.uuid4().hex
    with Cache(url, namespace=namespace, timeout_seconds=5) as cache, pymongo.MongoClient[Any](url) as client:
        for number in range(6):
            ask(cache, number)
        client["askonce"]["askonce.entries"].update_many({"ns": namespace}, {"$unset": {"v": 1}})
        assert [ask(cache, number)[0] for number in range(6)] == ["fresh"] * 6
        assert (cache.stats().errors, cache.stats().store) == (0, "up")


# -- what applications ask for -------------------------------------------------------------------------------------


@pytest.mark.xfail(
    strict=True,
    raises=(TypeError, StoreError, pytest.fail.Exception),
    reason="a tag is handed to the store unchecked, and MongoDB takes a mapping for a query",
)
@pytest.mark.parametrize("name", ["memory", "sqlite", "mongodb"])
def test_a_tag_that_is_no_text_is_refused(name: str, tmp_path: Path) -> None:
    if name == "mongodb" and (why := servers.available("mongodb")):
        pytest.skip(why)
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'cache.db'}"}
    url = servers.start("mongodb").url if name == "mongodb" else urls[name]
    tag: Any = {"$gt": ""}
    with (
        Cache(url, namespace=uuid.uuid4().hex, timeout_seconds=5) as cache,
        pytest.raises(ConfigError, match="tag"),
    ):
        cache.invalidate(tag)


# -- what a key leaves unsealed ------------------------------------------------------------------------------------


class Watched(MemoryStore):
    """Keeps all that is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def put(self, namespace: str, records: Sequence[Record], *rest: Any, **more: Any) -> int:
        self.written += [record.value for record in records]
        return super().put(namespace, records, *rest, **more)

    def log_append(self, namespace: str, event: bytes, *rest: Any, **more: Any) -> Any:
        self.written.append(event)
        return super().log_append(namespace, event, *rest, **more)


def embedding(text: str = "") -> list[float]:
    """Of length one, and to be known again among other bytes."""
    return [at / 4 for at in (1, -1, 1, 1, -1, 1, 1, 1, -1, -1, 1, -1, 1, 1, -1, 1)]


def is_in(store: Watched) -> bool:
    """Whether the embedding was written, or a multiple of it."""
    wanted = np.array(embedding())
    for event in store.written:
        for kind, at in itertools.product((np.float16, np.float32, np.float64), range(8)):
            size = np.dtype(kind).itemsize
            numbers = (
                np.frombuffer(event, kind, (len(event) - at) // size, at) if len(event) > at + 16 * size else ()
            )
            for first in range(len(numbers) - 15):
                with np.errstate(all="ignore"):
                    found = np.asarray(numbers[first : first + 16], np.float64)
                if not np.isfinite(found).all() or np.abs(found).max() > 1e6:
                    continue
                length = math.sqrt(math.fsum(found * found))
                if length > 1e-3 and abs(math.fsum(found * wanted)) / length > 0.9999:
                    return True
    return False


@pytest.mark.parametrize("learns", ["judge", "feedback"])
def test_a_multiplexer_over_a_sealed_cache_writes_no_embedding_of_a_question(learns: str) -> None:
    store = Watched()
    outcomes: dict[str, Any] = {"judge": lambda *_: True} if learns == "judge" else {"feedback": True}
    strategy = Learned(min_quality=0.1, seed=1, embed=embedding, **outcomes)
    models = [FakeListChatModel(responses=["so"]), FakeListChatModel(responses=["so", "no"])]
    with Cache(store, encryption_keys=[KEY]) as cache:
        model = Multiplexer(models, strategy=strategy, store=cache, costs=(0.001, 0.01))
        for number in range(20):
            model.invoke(f"question {number}")
        model.close()
    assert store.written
    assert not is_in(store)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="the change log of a corpus is written without a seal"
)
def test_a_corpus_over_a_sealed_cache_writes_no_embedding_of_a_document() -> None:
    store = Watched()
    with Cache(store, encryption_keys=[KEY]) as cache:
        Corpus(cache, near_margin=0.0).added([embedding()])
    assert store.written
    assert not is_in(store)
