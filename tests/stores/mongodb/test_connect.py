"""URLs and options that are wrong, servers that are down or slow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pymongo
import pytest

from askonce.errors import ConfigError, StoreError, StoreUnavailable
from askonce.stores import open_store
from askonce.stores.base import Record
from askonce.stores.mongodb import MongoDBStore
from askonce.stores.mongodb.connect import Clients
from tests.stores.mongodb.conftest import PATIENT_SECONDS
from tests.support import servers


@pytest.mark.parametrize(
    ("code", "advice"), [(18, "user name and password"), (13, "role readWrite"), (40324, "lacks what is needed")]
)
def test_a_persistent_refusal_is_a_config_error(code: int, advice: str) -> None:
    clients = Clients("mongodb://user:secret@localhost/db", "mongodb://localhost/db")
    with pytest.raises(StoreError) as caught, clients.bounded(1):
        raise pymongo.errors.OperationFailure("refused", code)
    with pytest.raises(ConfigError, match=advice):
        clients.refuse(caught.value)
    clients.close()


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb://user:sec:ret@host/db",
        "mongodb://user:sec/ret@host/db",
        "mongodb://user:secret@host:port/db",
        "mongodb://user:secret@host/bad name",
    ],
)
def test_the_error_for_an_invalid_url_does_not_show_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MongoDBStore(url)
    assert not any(part in str(caught.value) for part in ("sec", "ret"))


@pytest.mark.parametrize("option", ["foo=bar", "maxPoolSize=many"])
def test_an_invalid_option_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"(?i){option.partition('=')[0]}"):
        MongoDBStore(f"mongodb://host/db?w=majority&retryWrites=true&{option}")
    with pytest.raises(ConfigError, match="options") as caught:
        MongoDBStore(f"mongodb://user:secret@host/db?{option}")
    assert "secret" not in str(caught.value)


READ_AT_THE_END = """
import sys
from askonce.errors import StoreUnavailable
from askonce.stores.mongodb import MongoDBStore
class Last:
    store = MongoDBStore(sys.argv[1])
    def __del__(self, sys=sys, StoreUnavailable=StoreUnavailable):
        assert sys.is_finalizing()
        try:
            self.store.get("n", b"k")
        except StoreUnavailable as error:
            print(error)
last = Last()
last.store.check()
last.store.close()
"""


def test_a_call_while_the_interpreter_ends_is_refused(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_AT_THE_END, database_url], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert "shutting down" in done.stdout


@pytest.mark.usefixtures("sockets_forgotten")
def test_a_server_that_is_down_is_unavailable() -> None:
    store = MongoDBStore("mongodb://user:secret@127.0.0.1:9/askonce")
    for call in (store.check, lambda: store.get("n", b"k"), lambda: asyncio.run(store.aget("n", b"k"))):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert "secret" not in str(caught.value)
        assert "127.0.0.1:9" in str(caught.value)
        assert not any(detail in str(caught.value) for detail in ("Topology", "configured", "Timeout:"))
    store.close()


@pytest.mark.usefixtures("sockets_forgotten")
def test_calls_to_a_hanging_server_time_out_and_later_ones_succeed(own_server: servers.Server, space: str) -> None:
    store = open_store(own_server.url, timeout_seconds=0.5)
    with asyncio.Runner() as runner:
        calls: list[Callable[[], object]] = [
            lambda: store.get(space, b"k"),
            lambda: store.put(space, [Record(b"k", b"v")]),
            lambda: runner.run(store.aget(space, b"k")),
            lambda: runner.run(store.aput(space, [Record(b"k", b"v")])),
        ]
        for call in calls:
            _patiently(call)
        own_server.pause()
        try:
            for call in calls:
                started = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    call()
                assert time.monotonic() - started < 40
        finally:
            own_server.resume()
        for call in calls:
            _patiently(call)
        runner.run(store.aclose())


def test_a_store_uses_a_server_that_starts_later_or_restarts(own_server: servers.Server, space: str) -> None:
    own_server.stop()
    store = open_store(own_server.url, timeout_seconds=PATIENT_SECONDS)  # a warning, no error
    own_server.restart()
    store.put(space, [Record(b"k", b"v")])
    with pymongo.MongoClient[dict[str, Any]](own_server.url) as client:
        assert "gone" in client["askonce"]["askonce.entries"].index_information()
    own_server.restart()
    assert store.get(space, b"k") == b"v"
    store.close()


def _patiently(call: Callable[[], object]) -> None:
    for attempt in range(40):
        try:
            call()
            return
        except StoreUnavailable:
            if attempt == 39:
                raise
            time.sleep(0.2)
