"""A Redis server, a store over it, and a namespace of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from askonce.stores.redis import RedisStore
from tests.support import servers

PATIENT = 20.0
"""Seconds: in these tests a slow machine is no failure."""


@pytest.fixture
def server() -> servers.Server:
    return servers.start("redis-8.2")


@pytest.fixture
def store(server: servers.Server) -> Iterator[RedisStore]:
    store = RedisStore(server.url, timeout_seconds=PATIENT)
    yield store
    store.close()


@pytest.fixture
def admin(server: servers.Server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def private() -> Iterator[servers.Server]:
    with servers.start("redis-8.2", private=True) as server:
        yield server
