"""Documents that somebody else has damaged are misses, and are written anew; the store is not down for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from askonce import Cache
from tests.support import servers
from tests.support.application import Application

QUESTIONS = [f"question {number}" for number in range(6)]


@pytest.fixture
def url() -> str:
    if why := servers.available("mongodb"):
        pytest.skip(why)
    return servers.start("mongodb").url


@pytest.fixture
def documents(url: str) -> Iterator[Any]:
    with pymongo.MongoClient[Any](url) as client:
        yield client["askonce"]["askonce.entries"]


@pytest.mark.parametrize(
    "change",
    [
        *({"$unset": {name: 1}} for name in ("v", "s", "p", "x", "h", "g", "w")),
        *({"$set": {name: "text"}} for name in ("v", "s", "p", "x", "h", "g", "w")),
        {"$set": {"v": {"nested": [1]}}},
    ],
    ids=lambda change: "-".join(f"{kind[1:]}-{name}" for kind, fields in change.items() for name in fields),
)
def test_damaged_documents_are_misses_and_written_anew(url: str, documents: Any, change: dict[str, Any]) -> None:
    namespace = uuid.uuid4().hex
    with Cache(url, namespace=namespace, timeout_seconds=5, max_entries=10) as cache:
        application = Application(cache)
        for question in QUESTIONS:
            application.answer(question)
        cache.flush()
        assert documents.update_many({"ns": namespace}, change).modified_count
        for question in QUESTIONS:
            assert application.answer(question).endswith(f"{question}!")
        for question in QUESTIONS:
            assert application.answer(question) == f"exact: {question}!"
        for number in range(12):  # evicts
            application.answer(f"another {number}")
        assert 0 < len(list(cache.entries())) <= 10
        # The server itself refuses to count hits of a text.
        assert cache.stats().errors <= ("$set" in change and bool(change["$set"].keys() & {"h", "w"}))
        assert cache.stats().store == "up"
