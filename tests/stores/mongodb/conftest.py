"""A MongoDB server, a database of one's own, and stores over it."""

from __future__ import annotations

import gc
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from askonce.stores.mongodb import MongoDBStore
from askonce.testing import FakeClock
from tests.support import servers

PATIENT_SECONDS = 20.0
"""No test is about speed; a loaded machine may take its time."""


@pytest.fixture(scope="module")
def server() -> servers.Server:
    return servers.start("mongodb")


@pytest.fixture(scope="module")
def own_server() -> Iterator[servers.Server]:
    """To pause, stop and restart."""
    with servers.start("mongodb", private=True) as server:
        yield server


@pytest.fixture
def sockets_forgotten() -> Iterator[None]:
    """For pymongo 4.20, which leaves a socket open whose connect is cancelled with its loop."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def database(server: servers.Server) -> Iterator[Any]:
    with pymongo.MongoClient[dict[str, Any]](server.url) as client:
        name = f"askonce-{uuid.uuid4().hex}"
        yield client[name]
        client.drop_database(name)


@pytest.fixture(scope="module")
def database_url(server: servers.Server, database: Any) -> str:
    return server.url.replace("/askonce", f"/{database.name}")


@pytest.fixture(autouse=True)
def emptied(database: Any) -> Iterator[None]:
    """What is left over costs time: to sort, the server of these tests reads a whole collection."""
    yield
    database["askonce.entries"].delete_many({})


@pytest.fixture
def stores(database_url: str, clock: FakeClock) -> Iterator[list[MongoDBStore]]:
    """Two, as if of two processes."""
    pair = [MongoDBStore(database_url, timeout_seconds=PATIENT_SECONDS, clock=clock) for _ in range(2)]
    for store in pair:
        store.check()
    yield pair
    for store in pair:
        store.close()
