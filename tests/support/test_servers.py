"""Every server that the tests promise starts, takes a write, gives it back and ends at the command to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pymongo
import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel

from tests.support import servers

VERSIONS = {"redis-6.2": "6.2.", "redis-7.0": "7.0.", "redis-8.2": "8.2.", "valkey-9.1": "9.1."}
OWN = {"redis-8.2": "ASKONCE_TEST_REDIS_URL", "mongodb": "ASKONCE_TEST_MONGODB_URL"}


def started(name: servers.Name) -> servers.Server:
    if reason := servers.available(name):
        pytest.skip(reason)
    return servers.start(name)


def addresses(url: str) -> list[tuple[str, int]]:
    pairs = (address.rsplit(":", 1) for address in urlsplit(url).netloc.split(","))
    return [(host, int(port)) for host, port in pairs]


def eventually(succeeds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            succeeds()
            return
        except (redis.RedisError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("name", VERSIONS)
def test_a_single_redis_writes_and_reads(name: servers.Name) -> None:
    with redis.Redis.from_url(started(name).url) as client:
        client.set("server", name)
        assert client.getdel("server") == name.encode()
        if not os.environ.get(OWN.get(name, "")):
            info = client.info("server")
            assert info.get("valkey_version", info["redis_version"]).startswith(VERSIONS[name])


def test_the_cluster_writes_and_reads_on_every_node() -> None:
    nodes = [ClusterNode(host, port) for host, port in addresses(started("redis-cluster").url)]
    with RedisCluster(startup_nodes=nodes) as client:
        keys = [f"key{number}" for number in range(50)]
        for key in keys:
            client.set(key, key)
        assert [client.get(key) for key in keys] == [key.encode() for key in keys]
        assert {client.get_node_from_key(key).port for key in keys} == {node.port for node in nodes}


def test_a_write_succeeds_again_after_the_sentinels_master_was_killed() -> None:
    if reason := servers.available("redis-sentinel"):
        pytest.skip(reason)
    with servers.start("redis-sentinel", private=True) as server:
        sentinel = Sentinel(addresses(server.url), socket_timeout=1)
        with (
            sentinel.master_for(urlsplit(server.url).path[1:], socket_timeout=1) as client,
            sentinel.sentinels[0],
        ):
            client.set("before", "yes")
            assert client.get("before") == b"yes"
            server.kill_master()
            eventually(lambda: client.set("after", "yes"))
            assert client.get("after") == b"yes"


def test_mongodb_writes_and_reads() -> None:
    with pymongo.MongoClient(started("mongodb").url) as client:
        collection = client.get_default_database()["servers"]
        collection.replace_one({"_id": b"key"}, {"value": b"value"}, upsert=True)
        assert collection.find_one_and_delete({"_id": b"key"}) == {"_id": b"key", "value": b"value"}


def test_a_server_is_started_once_and_shared() -> None:
    assert started("valkey-9.1") is servers.start("valkey-9.1")


def test_a_password_is_required_where_one_was_requested() -> None:
    if reason := servers.available("redis-8.2"):
        pytest.skip(reason)
    url = servers.start("redis-8.2", password="right").url
    with redis.Redis.from_url(url) as client:
        assert client.ping()
    with (
        redis.Redis.from_url(url.replace("right", "wrong")) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_a_paused_server_answers_again_when_resumed_and_a_stopped_one_on_the_same_port() -> None:
    if reason := servers.available("valkey-9.1"):
        pytest.skip(reason)
    with (
        servers.start("valkey-9.1", private=True) as server,
        redis.Redis.from_url(server.url, socket_timeout=0.2) as client,
    ):
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()
        server.stop()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.restart()
        assert client.ping()


def test_the_restarted_cluster_is_whole_again() -> None:
    server = started("redis-cluster")
    server.restart()
    nodes = [ClusterNode(host, port) for host, port in addresses(server.url)]
    with RedisCluster(startup_nodes=nodes) as client:
        assert client.set("key", "value")


def test_mongodb_keeps_its_data_over_a_restart() -> None:
    if reason := servers.available("mongodb"):
        pytest.skip(reason)
    with servers.start("mongodb", private=True) as server:
        with pymongo.MongoClient(server.url) as client:
            client.get_default_database()["servers"].insert_one({"_id": "kept"})
        server.restart()
        with pymongo.MongoClient(server.url) as client:
            assert client.get_default_database()["servers"].find_one() == {"_id": "kept"}


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := servers.available("valkey-9.1"):
        pytest.skip(reason)
    port = servers.start("valkey-9.1").nodes[0].port
    monkeypatch.setattr(servers, "_free_port", lambda: port)
    with pytest.raises(servers.ServerError, match=r"ended by itself[\s\S]*already in use"):
        servers.start("valkey-9.1", private=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_servers_end_with_their_process(number: signal.Signals) -> None:
    if reason := servers.available("valkey-9.1"):
        pytest.skip(reason)
    program = (
        "import signal, time; from tests.support import servers;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # which a shell's background jobs ignore
        "print(servers.start('valkey-9.1').nodes[0].pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.send_signal(number)
        process.wait(20)
    assert not alive(pid)
