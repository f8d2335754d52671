"""What is deleted while it is made is not stored afterwards, whichever process deletes it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from askonce import Cache, cache_options
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.stores import LogPage, Store, open_store
from askonce.stores.memory import MemoryStore
from tests.support import servers

OPTIONS: dict[str, Any] = {"namespace": "jane", "tags": ["prices"]}


def within(call: Callable[[], object]) -> Callable[[], object]:
    """A call in the tenant's namespace."""

    def run() -> object:
        with cache_options(namespace="jane"):
            return call()

    return run


DELETIONS: dict[str, Callable[[Cache], Callable[[], object]]] = {
    "invalidate": lambda cache: within(lambda: cache.invalidate("prices")),
    "clear": lambda cache: within(cache.clear),
    "erase a tenant": lambda cache: lambda: cache.erase(tenant="jane"),
    "erase a tag": lambda cache: lambda: cache.erase(tag="prices"),
    "erase a text": lambda cache: lambda: cache.erase(text="costs"),
}
OTHERS: dict[str, Callable[[Cache], Callable[[], object]]] = {
    "another tag": lambda cache: within(lambda: cache.invalidate("news")),
    "another tenant": lambda cache: cache.clear,
}


def answer_to(cache: Cache, meanwhile: Callable[[], object] = lambda: None) -> str:
    """The answer to one question; ``meanwhile`` runs in another thread while the model is called."""

    def call() -> str:
        thread = threading.Thread(target=meanwhile)
        thread.start()
        thread.join()
        return "costs"

    with cache_options(**OPTIONS):
        request = cache.engine.request("answer", lambda: NormalForm({"question": "price?"}))
        assert request is not None
        found = cache.engine.answer(request, call, lambda text: Answer(text.encode()))
    return found.kind if isinstance(found, Hit) else "made"


@pytest.mark.parametrize("name", DELETIONS)
def test_an_answer_in_progress_is_not_stored_after_its_deletion(name: str) -> None:
    with Cache("memory://") as cache:
        assert answer_to(cache, DELETIONS[name](cache)) == "made"
        assert cache.stats().not_stored_reasons == {"deleted": 1}
        assert [answer_to(cache), answer_to(cache)] == ["made", "exact"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_deletion_of_others_does_not_concern_it(name: str) -> None:
    with Cache("memory://") as cache:
        assert answer_to(cache, OTHERS[name](cache)) == "made"
        assert answer_to(cache) == "exact"


def test_a_batch_in_progress_is_not_stored_after_its_deletion() -> None:
    with Cache("memory://") as cache:
        request = cache.engine.request("embedding", lambda: NormalForm({"text": "a"}))
        assert request is not None
        began = time.monotonic()
        time.sleep(0.01)
        cache.clear()
        cache.engine.store_many([request], [Answer(b"1")], time.monotonic() - began)
        assert cache.stats().entries == 0


def test_asynchronous_answers_in_progress_too() -> None:
    with Cache("memory://") as cache:

        async def call() -> str:
            await cache.aclear()
            return "costs"

        async def run() -> None:
            request = cache.engine.request("answer", lambda: NormalForm({"question": "price?"}))
            assert request is not None
            await cache.engine.aanswer(request, call, lambda text: Answer(text.encode()))

        asyncio.run(run())
        assert cache.stats().entries == 0


# -- by another process, or another cache over the same store ----------------------------------------------------

STORES = ["memory", "sqlite", "redis-8.2", "redis-cluster", "mongodb"]


@pytest.fixture(params=STORES)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param in ("memory", "sqlite"):
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/cache.db"
    elif reason := servers.available(request.param):
        pytest.skip(reason)
    else:
        url = servers.start(request.param).url
    store = open_store(url, timeout_seconds=20)
    yield store
    store.close()


@pytest.fixture
def own() -> dict[str, Any]:
    """Settings of the caches of one test."""
    return {"namespace": f"deleted{uuid.uuid4().hex[:12]}", "timeout_seconds": 20}


@pytest.mark.parametrize("name", DELETIONS)
@pytest.mark.parametrize("keys", [[], [b"k" * 32], [b"l" * 32, b"k" * 32]], ids=["open", "sealed", "rotated"])
def test_another_cache_deletes_it(shared: Store, own: dict[str, Any], name: str, keys: list[bytes]) -> None:
    own["encryption_keys"] = keys
    with Cache(shared, **own) as cache, Cache(shared, **own) as other:
        assert answer_to(cache, DELETIONS[name](other)) == "made"
        assert cache.stats().not_stored_reasons == {"deleted": 1}
        assert [answer_to(cache), answer_to(cache)] == ["made", "exact"]
        DELETIONS[name](other)()  # before it is made anew, which is no reason
        assert [answer_to(cache), answer_to(cache), answer_to(other)] == ["made", "exact", "exact"]


@pytest.mark.parametrize("name", OTHERS)
def test_another_cache_deletes_others(shared: Store, own: dict[str, Any], name: str) -> None:
    with Cache(shared, **own) as cache, Cache(shared, **own) as other:
        assert answer_to(cache, OTHERS[name](other)) == "made"
        assert answer_to(cache) == "exact"


def test_another_process_deletes_it(shared: Store, own: dict[str, Any]) -> None:
    if shared.url == "memory://":
        pytest.skip("it is in the memory of one process")
    code = "from askonce import Cache; Cache(*{!r}, **{!r}).erase(tenant='jane')"
    url = servers.start("mongodb").url if shared.url.startswith("mongodb") else shared.url
    command = [sys.executable, "-c", code.format((url,), own)]
    with Cache(shared, **own) as cache:
        assert answer_to(cache, lambda: subprocess.run(command, check=True)) == "made"
        assert [answer_to(cache), answer_to(cache)] == ["made", "exact"]


def test_another_cache_deletes_a_batch_and_what_is_answered_asynchronously(
    shared: Store, own: dict[str, Any]
) -> None:
    with Cache(shared, **own) as cache, Cache(shared, **own) as other:
        requests = [cache.engine.request("embedding", lambda n=n: NormalForm({"text": n})) for n in range(3)]
        assert not [one for one in cache.engine.lookup_many(requests) if isinstance(one, Hit)]
        began = time.monotonic()
        other.clear()
        cache.engine.store_many(requests, [Answer(b"1")] * 3, time.monotonic() - began)
        assert cache.stats().entries == 0

        async def run() -> list[str]:
            async def call() -> str:
                await other.aclear()
                return "costs"

            request = cache.engine.request("answer", lambda: NormalForm({"question": "price?"}))
            assert request is not None
            await cache.engine.aanswer(request, call, lambda text: Answer(text.encode()))
            return [key.hex() async for key, _ in cache.store.ascan(cache.namespace)]

        assert asyncio.run(run()) == []


def test_a_deletion_is_seen_although_the_log_began_anew(shared: Store, own: dict[str, Any]) -> None:
    with Cache(shared, **own) as cache, Cache(shared, **own) as other:
        other.clear()
        assert answer_to(cache) == "made"

        def erase_the_log() -> None:
            with cache_options(namespace="jane"):
                other.clear()
            shared.erase({f"{own['namespace']}:deletions": None})

        cache.clear()
        with cache_options(namespace="jane"):
            cache.clear()
        assert answer_to(cache, erase_the_log) == "made"
        assert [answer_to(cache), answer_to(cache)] == ["made", "exact"]


class Reading(MemoryStore):
    """Counts what is read of logs."""

    reads = 0

    def log_read(self, *args: Any) -> LogPage:
        self.reads += 1
        return super().log_read(*args)


def test_a_hit_reads_no_log() -> None:
    store = Reading()
    with Cache(store) as cache:
        assert answer_to(cache) == "made"
        before = store.reads
        assert [answer_to(cache), answer_to(cache)] == ["exact", "exact"]
        assert store.reads == before
