"""Documents that somebody else has damaged are misses, and are written anew; the store is not down for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from askonce import Cache
from tests.stores.damage import answers_anew
from tests.support import servers


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

        def damage_all() -> None:
            assert documents.update_many({"ns": namespace}, change).modified_count

        answers_anew(cache, damage_all)
        # The server itself refuses to count hits of a text: once for each time that hits are written.
        if not change.get("$set", {}).keys() & {"h", "w"}:
            assert not cache.stats().errors
