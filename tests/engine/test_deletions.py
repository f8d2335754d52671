"""What is deleted while it is made is not stored afterwards."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from askonce import Cache, cache_options
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm

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


def ask(cache: Cache, meanwhile: Callable[[], object] = lambda: None) -> str:
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
        assert ask(cache, DELETIONS[name](cache)) == "made"
        assert cache.stats().not_stored_reasons == {"deleted": 1}
        assert [ask(cache), ask(cache)] == ["made", "exact"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_deletion_of_others_does_not_concern_it(name: str) -> None:
    with Cache("memory://") as cache:
        assert ask(cache, OTHERS[name](cache)) == "made"
        assert ask(cache) == "exact"


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
