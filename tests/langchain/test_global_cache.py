"""LangChain's cache hook: its standard tests, the laws of its keys, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite

from askonce import Cache, cache_options
from askonce.langchain import AskOnceCache
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.langchain.keys.forms import LLM
from tests.support import servers

STORES = ["memory", "sqlite", "redis-8.2", "mongodb"]


def open_cache(store: str, folder: Path, **options: Any) -> AskOnceCache:
    if store == "memory":
        return AskOnceCache("memory://", namespace=str(folder), **options)
    url = f"sqlite:///{folder / 'cache.db'}" if store == "sqlite" else servers.start(store).url  # type: ignore[call-overload]
    return AskOnceCache(url, namespace=str(folder), **options)


class TestStandardSync(SyncCacheTestSuite):
    @pytest.fixture(params=STORES)
    def cache(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache]:
        cache = open_cache(request.param, tmp_path, timeout_seconds=20)
        yield cache
        cache.clear()
        cache.close()


class TestStandardAsync(AsyncCacheTestSuite):
    @pytest.fixture(params=STORES)
    async def cache(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        cache = open_cache(request.param, tmp_path, timeout_seconds=20)
        yield cache
        await cache.aclear()
        await cache.aclose()


async def test_options_hold_for_sync_and_async_calls() -> None:
    cache = AskOnceCache("memory://", namespace="options")
    one, two = [Generation(text="one")], [Generation(text="two")]
    cache.update("p", LLM, one)
    with cache_options(bypass=True):
        assert cache.lookup("p", LLM) is None
        assert await cache.alookup("p", LLM) is None
        await cache.aupdate("p", LLM, two)
    with cache_options(namespace="tenant"):
        assert await cache.alookup("p", LLM) is None
        await cache.aupdate("p", LLM, two)
        assert cache.lookup("p", LLM) == two
    assert cache.lookup("p", LLM) == one
    with cache_options(refresh=True, tags=["prices"]):
        assert cache.lookup("p", LLM) is None
        cache.update("p", LLM, two)
    assert await cache.alookup("p", LLM) == two
    assert await cache.ainvalidate("prices") == 1
    assert await cache.alookup("p", LLM) is None
    assert (await cache.astats()).entries == 0


def test_a_time_to_live_of_a_block_holds(clock: FakeClock) -> None:
    cache = AskOnceCache(Cache(MemoryStore(clock=clock), clock=clock))
    with cache_options(ttl=60):
        cache.update("p", LLM, [Generation(text="one")])
    clock.advance(59)
    assert cache.lookup("p", LLM) == [Generation(text="one")]
    clock.advance(2)
    assert cache.lookup("p", LLM) is None
