"""Stores over clients that the application opened: they are used, and still open afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pymongo
import pytest
import redis
import redis.asyncio
import redis.sentinel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from llama_index.core.llms import MockLLM

from askonce import Cache, ConfigError, Corpus, open_store
from askonce import langchain as of_langchain
from askonce import llama_index as of_llama_index
from askonce.prefix import PrefixTracker
from askonce.routing import Always
from askonce.stores.base import Record, Store
from tests.support import servers


class Provider(redis.CredentialProvider):
    """As one for Entra ID or IAM: called for credentials by each connection."""

    def __init__(self) -> None:
        self.calls = 0

    def get_credentials(self) -> tuple[str, str]:
        self.calls += 1
        return "app", "token"


def everything(store: Store) -> None:
    """Use a store by threads and on two event loops."""
    space = uuid.uuid4().hex

    async def asynchronous(key: bytes) -> None:
        await store.aput(space, [Record(key, b"v", tags=("t",))])
        assert await asyncio.gather(*(store.aget(space, key) for _ in range(20))) == [b"v"] * 20

    store.put(space, [Record(b"k", b"v", tags=("t",))])
    assert store.get(space, b"k") == b"v"
    assert store.get_many(space, [b"k", b"other"]) == [b"v", None]
    asyncio.run(asynchronous(b"first"))
    asyncio.run(asynchronous(b"second"))
    assert store.size(space).entries == 3
    assert store.lease(space, b"k", "owner", 5)
    assert store.log_append(space, b"event") == store.log_read(space, 0).head
    assert store.delete_tag(space, "t") == 3
    store.clear(space)


@pytest.fixture(params=["redis-8.2", "redis-cluster", "redis-sentinel"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    if why := servers.available(request.param):
        pytest.skip(why)
    url = servers.start(request.param).url
    where, limits = url.partition("://")[2], {"socket_timeout": 20}
    hosts = [one.partition(":")[::2] for one in where.partition("/")[0].split(",")]
    client: Any
    if request.param == "redis-8.2":
        client = redis.Redis.from_url(url, **limits)
    elif request.param == "redis-cluster":
        nodes = [redis.cluster.ClusterNode(host, int(port)) for host, port in hosts]  # type: ignore[no-untyped-call]
        client = redis.RedisCluster(startup_nodes=nodes, **limits)
    else:
        sentinels = [(host, int(port)) for host, port in hosts]
        sentinel = redis.sentinel.Sentinel(sentinels, sentinel_kwargs=limits, **limits)  # type: ignore[no-untyped-call]
        client = sentinel.master_for(where.partition("/")[2].partition("/")[0])  # type: ignore[no-untyped-call]
    yield client
    client.close()


def test_a_client_of_redis_is_used_and_stays_open(client: Any) -> None:
    calls: list[object] = []
    original, client.execute_command = (
        client.execute_command,
        lambda *args, **kw: calls.append(args) or original(*args, **kw),
    )
    with closing(open_store(client, timeout_seconds=20)) as store:
        everything(store)
    assert calls
    client.execute_command = original
    assert client.get("none") is None


async def test_an_asynchronous_client_of_redis_is_used_and_stays_open() -> None:
    url = servers.start("redis-8.2").url
    async with redis.asyncio.Redis.from_url(url, socket_timeout=20) as client:
        store = open_store(client, timeout_seconds=20)
        await store.aput("n", [Record(b"k", b"v")])
        assert await store.aget("n", b"k") == b"v"
        assert len(client.connection_pool._available_connections) > 0  # type: ignore[attr-defined]
        await asyncio.to_thread(everything, store)
        await store.aclear("n")
        await store.aclose()
        assert await client.ping()


def test_credentials_come_from_a_provider() -> None:
    with servers.start("redis-8.2", private=True) as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "app", "on", ">token", "~askonce:*", "+@all")
            admin.execute_command("ACL", "SETUSER", "default", "off")
        provider, port = Provider(), int(server.url.rpartition(":")[2].partition("/")[0])
        with (
            redis.Redis(host="127.0.0.1", port=port, credential_provider=provider, socket_timeout=20) as client,
            closing(open_store(client, timeout_seconds=20)) as store,
        ):
            everything(store)
        assert provider.calls >= 3  # of the threads, and of both event loops
        assert "token" not in store.url


def test_a_client_of_mongodb_is_used_and_stays_open() -> None:
    if why := servers.available("mongodb"):
        pytest.skip(why)
    with pymongo.MongoClient[Any](servers.start("mongodb").url) as client:
        with closing(open_store(client, timeout_seconds=20)) as store:
            everything(store)
            assert store.url.endswith("/askonce")
        assert client.admin.command("ping")["ok"]


def test_a_client_that_cannot_be_used_is_refused() -> None:
    url = servers.start("redis-8.2").url
    with (
        redis.Redis.from_url(url, decode_responses=True) as client,
        pytest.raises(ConfigError, match="decode_responses"),
    ):
        open_store(client)
    with pytest.raises(ConfigError, match="MongoClient"):
        open_store(pymongo.AsyncMongoClient(connect=False))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="URL"):
        open_store(object())


def test_each_adapter_takes_a_client() -> None:
    with redis.Redis.from_url(servers.start("redis-8.2").url, socket_timeout=20) as client:
        space: Any = {"namespace": uuid.uuid4().hex, "timeout_seconds": 20}
        made: list[Callable[[], Any]] = [
            lambda: Cache(client, **space),
            lambda: Corpus(client, **space),
            lambda: of_langchain.AskOnceCache(client, **space),
            lambda: of_langchain.cached(FakeListChatModel(responses=["so"]), client, **space),
            lambda: of_langchain.Multiplexer(
                [FakeListChatModel(responses=["so"])] * 2,
                strategy=Always(0),
                store=client,
                costs=(1.0, 2.0),
                **space,
            ),
            lambda: of_llama_index.cached(MockLLM(), client, **space),
            lambda: of_llama_index.AskOnceKVStore(client, **space),
            lambda: of_llama_index.IngestionCache(client, **space),
            lambda: PrefixTracker(client, **space),
        ]
        for make in made:
            one = make()
            if hasattr(one, "invoke"):
                assert one.invoke("why?").text == "so"
            del one
        assert client.ping()
