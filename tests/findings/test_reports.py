"""Known faults that users of such caches report; each test says what is right, and fails until it is so."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from langchain_core.outputs import Generation

from askonce import Cache
from askonce.langchain import AskOnceCache
from askonce.stores import open_store
from askonce.stores.base import Record, Size
from tests.support import servers


def test_cleared_answers_are_gone_from_the_file(cache: Cache, tmp_path: Path) -> None:
    answers = AskOnceCache(cache)
    for number in range(300):
        answers.update(f"who is {number}?", "model", [Generation(text=f"Patient {number} is ill")])

    def is_there() -> bool:
        return any(b"Patient 123 is ill" in file.read_bytes() for file in tmp_path.iterdir())

    assert is_there()
    cache.clear()
    assert not is_there()


# -- embeddings --------------------------------------------------------------------------------------------------


async def test_a_put_that_is_cut_off_leaves_the_account_right(monkeypatch: pytest.MonkeyPatch) -> None:
    store, space, writing = open_store(servers.start("mongodb").url), uuid.uuid4().hex, asyncio.Event()

    async def hang(*args: Any, **kwargs: Any) -> None:
        writing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("pymongo.asynchronous.collection.AsyncCollection.bulk_write", hang)
    put = asyncio.create_task(store.aput(space, [Record(b"k" * 32, b"value")]))
    await writing.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    size = await store.asize(space)
    await store.aclose()
    assert size == Size(0, 0)


# -- what a hit reports ------------------------------------------------------------------------------------------


# -- parts of applications ---------------------------------------------------------------------------------------
