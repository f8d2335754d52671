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
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage

from askonce import Cache, ConfigError, Corpus, StoreError, StoreUnavailable
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.langchain import Multiplexer, cached
from askonce.routing import Learned
from askonce.stores import Record
from askonce.stores.memory import MemoryStore
from askonce.stores.sqlite.store import SQLiteStore
from askonce.testing import FakeClock
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


@pytest.mark.xfail(
    strict=True,
    raises=(AssertionError, subprocess.TimeoutExpired),
    reason="threads that wait for a task hold the executor that the task needs",
)
def test_threads_and_tasks_that_ask_the_same_do_not_wait_for_each_other_for_ever() -> None:
    done = program(
        """
        import asyncio, os, time
        from langchain_core.language_models import BaseChatModel
        from langchain_core.language_models.fake_chat_models import FakeListChatModel
        from askonce import Cache
        from askonce.langchain import cached
        from askonce.stores.memory import MemoryStore

        class Slow(MemoryStore):
            async def alease(self, *a, **k):
                await asyncio.sleep(0.5)
                return self.lease(*a, **k)

        class Synchronous(FakeListChatModel):
            def _call(self, messages, *a, **k):
                time.sleep(0.1)
                return "because"
            _agenerate = BaseChatModel._agenerate

        async def main():
            model = cached(Synchronous(responses=["so"]), Cache(Slow(), timeout_seconds=2))
            first = asyncio.create_task(model.ainvoke("why?"))
            await asyncio.sleep(0.1)  # it leads
            others = [asyncio.create_task(asyncio.to_thread(model.invoke, "why?")) for _ in range(40)]
            done, waiting = await asyncio.wait([first, *others], timeout=4)
            print(len(done), len(waiting), flush=True)
            os._exit(0)

        asyncio.run(main())
        """
    )
    assert done.stdout == "41 0\n"


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a forked child inherits locks that threads of its parent held"
)
def test_a_forked_child_asks_while_threads_of_its_parent_are_in_look_ups() -> None:
    done = program(
        """
        import os, random, signal, sys, threading, time
        from askonce import Cache
        from askonce.entries.entry import Answer
        from askonce.keys.normal_form import Form

        cache = Cache("memory://", lease_seconds=0, max_entries=100)

        def ask(question):
            cache.engine.answer(cache.engine.request("answer", lambda: Form({"q": question})), lambda: b"because",
            Answer)

        def busy():
            while True:
                ask(random.random())

        for _ in range(8):
            threading.Thread(target=busy, daemon=True).start()
        hung = 0
        for number in range(6):
            child = os.fork()
            if not child:
                ask(number)
                os._exit(0)
            deadline = time.monotonic() + 1.5
            while not (ended := os.waitpid(child, os.WNOHANG)[0]) and time.monotonic() < deadline:
                time.sleep(0.02)
            if not ended:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                hung += 1
                break
        print(hung, flush=True)
        os._exit(0)
        """
    )
    assert done.stdout == "0\n"


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a lease ends by the clock of the process that took it"
)
def test_a_lease_lasts_no_longer_where_the_clock_of_its_owner_is_ahead(tmp_path: Path) -> None:
    ahead, right = FakeClock(1_000_060.0), FakeClock(1_000_000.0)
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with closing(SQLiteStore(url, clock=ahead)) as one, closing(SQLiteStore(url, clock=right)) as other:
        assert one.lease("n", b"key", "one", 5.0)
        right.advance(6)
        assert other.lease("n", b"key", "other", 5.0)


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
        from askonce.keys.normal_form import Form

        file = sys.argv[1]
        cache = Cache(f"sqlite:///{file}", timeout_seconds=5)

        def ask(number):
            cache.engine.answer(cache.engine.request("answer", lambda: Form({"q": number})), lambda:
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


# -- a store that fails --------------------------------------------------------------------------------------------


class Full(MemoryStore):
    """Reads well, and cannot write once it is full."""

    full = False

    def put(self, *rest: Any, **more: Any) -> int:
        if self.full:
            raise StoreUnavailable("the disk is full")
        return super().put(*rest, **more)


def keep(cache: Cache, questions: Iterable[object]) -> None:
    """Keep answers to several questions, each by itself, as threads do whose models answer at the same time."""
    for question in questions:
        cache.engine.store_many([named(cache, question)], [Answer(PAYLOAD)], 1.0)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="failed writes open the circuit breaker for reads too"
)
def test_a_store_that_cannot_write_still_serves_what_it_holds() -> None:
    store = Full()
    with Cache(store) as cache:
        keep(cache, ["kept"])
        store.full = True
        keep(cache, range(5))
        assert ask(cache, "kept")[0] == "exact"


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="each read that succeeds closes the circuit breaker, and further writes open it again",
)
def test_a_store_that_cannot_write_is_told_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    store = Full()
    with Cache(store) as cache:
        keep(cache, ["kept"])
        store.full = True
        for _ in range(10):
            keep(cache, range(5))
            now[0] += 2
            ask(cache, "kept")
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) <= 2


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


@pytest.mark.xfail(
    strict=True,
    raises=RecursionError,
    reason="a request that is nested too deeply to be named raises, and is not passed on",
)
def test_a_request_that_is_nested_too_deeply_goes_to_the_model() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"deeper": deep}
    with Cache("memory://") as cache:
        model = cached(FakeListChatModel(responses=["so"]), cache)
        message = HumanMessage("why?")
        message.additional_kwargs["deep"] = deep
        assert model._generate([message]).generations[0].text == "so"
        assert cache.stats().bypassed == 1


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
