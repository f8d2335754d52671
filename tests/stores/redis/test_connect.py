"""URLs, passwords, TLS and servers that do not match their URL."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import suppress

import pytest
import redis

from askonce.errors import ConfigError
from askonce.stores import Record, open_store
from askonce.stores.redis import RedisStore
from tests.stores.redis.conftest import PATIENT
from tests.support import servers


@pytest.mark.parametrize("credentials", ["", ":wrong-secret@", "nobody:wrong-secret@"])
@pytest.mark.parametrize("kind", ["redis", "redis+cluster"])
def test_the_error_for_a_wrong_password_does_not_show_it(credentials: str, kind: str) -> None:
    server = servers.start("redis-8.2", password="right")
    fault = "is wrong$" if credentials else "is missing in the URL"
    with pytest.raises(ConfigError, match=f"password .*{fault}") as caught:
        open_store(f"{kind}://{credentials}127.0.0.1:{server.nodes[0].port}")
    error: BaseException | None = caught.value
    while error is not None:
        assert "wrong-secret" not in str(error)
        error = error.__cause__ or error.__context__


def test_the_right_password_opens(space: str) -> None:
    server = servers.start("redis-8.2", password="right")
    store = open_store(server.url)
    assert store.put(space, [Record(b"k", b"v")]) == 0
    assert "right" not in store.url
    store.close()


def test_a_user_who_may_only_use_our_keys_is_enough(server: servers.Server, admin: redis.Redis, space: str) -> None:
    admin.execute_command("ACL", "SETUSER", "cache", "on", ">pw", "~askonce:*", "+@all", "-@dangerous")
    admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~other:*", "+@read", "+info", "+client")
    port = server.nodes[0].port
    store = open_store(f"redis://cache:pw@127.0.0.1:{port}", timeout_seconds=PATIENT)
    store.put(space, [Record(b"k", b"v")])
    assert store.get(space, b"k") == b"v"
    store.close()
    with pytest.raises(ConfigError, match="askonce:"):
        open_store(f"redis://reader:pw@127.0.0.1:{port}", timeout_seconds=PATIENT)
    admin.execute_command("ACL", "DELUSER", "cache", "reader")


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:port",
        "redis://host:99999",
        "redis://host/first",
        "redis://host?colour=red",
        "redis://host?socket_timeout=soon",
        "redis://a:1,b:2",
        "redis://:pa:ss/word@host",
        "redis+cluster://a:1,b:2/3",
        "redis+sentinel://a:1,b:2",
        "redis+sentinel://a:1,b:x/service",
    ],
)
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisStore(url)
    assert "pa:ss" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_error_for_a_wrong_scheme_gives_the_right_one(server: servers.Server) -> None:
    node = servers.start("redis-cluster").nodes[0]
    with pytest.raises(ConfigError, match=r"redis\+cluster://"):
        open_store(f"redis://127.0.0.1:{node.port}", timeout_seconds=PATIENT)
    with pytest.raises(ConfigError, match="use redis://"):
        open_store(server.url.replace("redis://", "redis+cluster://"), timeout_seconds=PATIENT)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("redis://127.0.0.1:{port}/99", "database number: 0–15"),
        ("redis+sentinel://127.0.0.1:{port}/main", "is not a Sentinel: use redis://"),
        ("rediss://127.0.0.1:{port}", "port speaks TLS"),
        ("rediss+cluster://127.0.0.1:{port}", "port speaks TLS"),
        ("redis://:secret@127.0.0.1:{port}", "has no password"),
        ("redis://user:secret@127.0.0.1:{port}", "password in the URL is wrong$"),
    ],
)
def test_a_persistent_error_is_a_config_error(server: servers.Server, url: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as caught:
        open_store(url.format(port=server.nodes[0].port), timeout_seconds=1)
    assert "secret" not in str(caught.value)


def test_a_port_of_another_protocol_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(10_000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConfigError, match="port speaks TLS"):
            open_store(f"rediss://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=PATIENT)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_silent_tls_port_is_only_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_store(f"rediss://127.0.0.1:{listener.getsockname()[1]}", timeout_seconds=0.2).close()
    assert "is this a TLS port?" in caplog.text


def test_options_of_the_url_reach_the_connection(server: servers.Server, space: str) -> None:
    store = RedisStore(f"redis://127.0.0.1:{server.nodes[0].port}/3?client_name=shop&socket_timeout=5")
    store.put(space, [Record(b"k", b"v")])
    with redis.Redis(port=server.nodes[0].port, db=3) as admin:
        assert admin.exists(f"askonce:{{{space}.0}}:v")
        assert "shop" in {client["name"] for client in admin.client_list()}
    store.close()


def test_a_socket_can_be_an_address(space: str) -> None:
    node = servers.Node(servers._redis_command("redis-8.2", "--unixsocket", "redis.sock"))
    try:
        servers._start_redis(node)
        store = open_store(f"unix://{node.directory}/redis.sock?db=1", timeout_seconds=PATIENT)
        store.put(space, [Record(b"k", b"v")])
        assert asyncio.run(store.aget(space, b"k")) == b"v"
        store.close()
    finally:
        node.close()


def test_a_server_that_evicts_by_itself_logs_a_warning(
    private: servers.Server, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(private.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
    with caplog.at_level(logging.WARNING, "askonce"):
        open_store(private.url, timeout_seconds=PATIENT).close()
    [warning] = caplog.messages
    assert "allkeys-lru" in warning and "noeviction" in warning
