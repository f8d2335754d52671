"""A cluster some of whose nodes are down, or whose slots move."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from redis.crc import key_slot

from askonce.errors import StoreUnavailable
from askonce.stores import Record
from askonce.stores.redis import RedisStore, plans
from tests.stores.redis.conftest import PATIENT
from tests.support import servers

SPACE = "cluster"
KEYS = [b"%d" % number for number in range(60)]


@pytest.fixture
def cluster() -> Iterator[servers.Server]:
    with servers.start("redis-cluster", private=True) as cluster:
        for node in cluster.nodes:
            command(node, "CONFIG SET", "cluster-require-full-coverage", "no")
        with closing(RedisStore(cluster.url, timeout_seconds=PATIENT)) as store:
            store.put(SPACE, [Record(key, b"v") for key in KEYS])
        yield cluster


def command(node: servers.Node, *words: object) -> object:
    with redis.Redis(servers.HOST, node.port) as client:
        return client.execute_command(*words)  # type: ignore[no-untyped-call]


def served_by(store: RedisStore, node: servers.Node) -> set[bytes]:
    return {key for key in KEYS if store.part(SPACE, key).endswith(f":{node.port}")}


async def found_by(store: RedisStore, keys: list[bytes]) -> dict[bytes, object]:
    found = await asyncio.gather(*(store.aget(SPACE, key) for key in keys), return_exceptions=True)
    return dict(zip(keys, found, strict=True))


@pytest.mark.parametrize("number", range(3))
def test_a_node_that_dies_fails_only_lookups_of_its_own(cluster: servers.Server, number: int) -> None:
    async def look() -> None:
        store = RedisStore(cluster.url, timeout_seconds=PATIENT)
        assert set((await found_by(store, KEYS)).values()) == {b"v"}
        lost = served_by(store, cluster.nodes[number])
        cluster.nodes[number].stop(signal.SIGKILL)
        for _ in range(3):
            found = await found_by(store, KEYS)
            assert {key for key, value in found.items() if isinstance(value, StoreUnavailable)} == lost
            assert {value for key, value in found.items() if key not in lost} == {b"v"}
        await store.aclose()

    asyncio.run(look())


@pytest.mark.parametrize("number", range(3))
def test_a_cluster_with_a_dead_node_can_be_opened(cluster: servers.Server, number: int) -> None:
    cluster.nodes[number].stop(signal.SIGKILL)
    with closing(RedisStore(cluster.url, timeout_seconds=PATIENT)) as store:
        other = cluster.nodes[number - 1]
        store.get(SPACE, next(key for key in KEYS if is_on(other, key)))
        living = sorted(set(KEYS) - served_by(store, cluster.nodes[number]))
        assert {store.get(SPACE, key) for key in living} == {b"v"}

    async def look() -> None:
        store = RedisStore(cluster.url, timeout_seconds=PATIENT)
        assert set((await found_by(store, living)).values()) == {b"v"}
        await store.aclose()

    asyncio.run(look())


def is_on(node: servers.Node, key: bytes) -> bool:
    """Whether a node itself says that it serves a key."""
    name = plans.shard(SPACE, plans.shard_of(key, plans.CLUSTER_SHARDS)).values
    try:
        return bool(command(node, "EXISTS", name))
    except redis.ResponseError:  # it is moved
        return False


def move(slot: int, to: servers.Node, *nodes: servers.Node) -> None:
    owner = command(to, "CLUSTER MYID")
    for node in (to, *nodes):
        command(node, "CLUSTER SETSLOT", slot, "NODE", owner)


def test_a_slot_that_moves_is_found(cluster: servers.Server) -> None:
    async def follow() -> None:
        store = RedisStore(cluster.url, timeout_seconds=PATIENT)
        assert await store.aget("moves", b"k") is None
        name = plans.shard("moves", plans.shard_of(b"k", plans.CLUSTER_SHARDS)).values
        here = next(node for node in cluster.nodes if store.part("moves", b"k").endswith(f":{node.port}"))
        there, third = (node for node in cluster.nodes if node is not here)
        move(key_slot(name), there, here, third)
        await store.aput("moves", [Record(b"k", b"v")])
        assert await store.aget("moves", b"k") == b"v"
        again = await asyncio.gather(*(store.aget("moves", b"k") for _ in range(20)))
        assert set(again) == {b"v"}
        assert command(there, "EXISTS", name) == 1
        await store.aclose()

    asyncio.run(follow())


def test_several_commands_follow_a_slot_that_moves(cluster: servers.Server) -> None:
    async def follow() -> None:
        store = RedisStore(cluster.url, timeout_seconds=PATIENT)
        await store.aclear("moves")  # finds the nodes
        for slot in {key_slot(plans.shard("moves", number).values) for number in range(3)}:
            move(slot, cluster.nodes[slot % 3], *cluster.nodes)
        await store.aput("moves", [Record(key, b"v") for key in KEYS])
        assert await store.aget_many("moves", KEYS) == [b"v"] * len(KEYS)
        await store.aclose()

    asyncio.run(follow())


def test_another_node_that_takes_the_place_of_a_dead_one_is_found(cluster: servers.Server) -> None:
    async def follow() -> bytes | None:
        store = RedisStore(cluster.url, timeout_seconds=PATIENT)
        assert set((await found_by(store, KEYS)).values()) == {b"v"}
        dead, heir = cluster.nodes[0], cluster.nodes[1]
        key = min(served_by(store, dead))
        slot = key_slot(plans.shard(SPACE, plans.shard_of(key, plans.CLUSTER_SHARDS)).values)
        dead.stop(signal.SIGKILL)
        for node in cluster.nodes[1:]:  # as in a failover, which needs replicas
            command(node, "CLUSTER DELSLOTS", slot)
        command(heir, "CLUSTER ADDSLOTS", slot)
        command(heir, "CLUSTER BUMPEPOCH")
        until = time.monotonic() + 20
        while time.monotonic() < until:
            found = (await found_by(store, [key]))[key]
            if not isinstance(found, StoreUnavailable):
                break
            await asyncio.sleep(0.2)
        await store.aput(SPACE, [Record(key, b"of the heir")])
        value = await store.aget(SPACE, key)
        await store.aclose()
        return value

    assert asyncio.run(follow()) == b"of the heir"
