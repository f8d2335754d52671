"""Servers that reject a password, are read-only, or fail over, each played by a proxy before a real one."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from askonce import Cache, ConfigError, StoreError, StoreUnavailable, open_store
from askonce.cli.app import app
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.stores.base import Record, Size
from askonce.stores.mongodb import MongoDBStore
from tests.stores.mongodb.proxy import READS, WRITES, FaultyServer

pytestmark = pytest.mark.usefixtures("sockets_forgotten")


@pytest.fixture
def faulty(database_url: str) -> Iterator[FaultyServer]:
    with FaultyServer(database_url) as server:
        yield server


def send(cache: Cache, question: object) -> str:
    request = cache.engine.request("answer", lambda: NormalForm({"question": str(question)}))
    assert request is not None
    found = cache.engine.answer(request, lambda: b"because", Answer)
    return found.kind if isinstance(found, Hit) else "fresh"


@pytest.mark.parametrize(
    ("code", "name", "advice"),
    [(18, "AuthenticationFailed", "user name and password"), (13, "Unauthorized", "readWrite")],
)
def test_a_refused_user_is_a_config_error_at_the_start(
    faulty: FaultyServer, code: int, name: str, advice: str
) -> None:
    faulty.fail(READS | WRITES, code, name)
    with pytest.raises(ConfigError, match=advice):
        open_store(faulty.url, timeout_seconds=5)


def test_a_password_that_is_changed_meanwhile_costs_hits_and_nothing_else(
    faulty: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Cache(faulty.url, namespace=uuid.uuid4().hex, timeout_seconds=5, lease_seconds=0) as cache:
        assert [send(cache, 1), send(cache, 1)] == ["fresh", "exact"]
        faulty.fail(READS | WRITES, 18, "AuthenticationFailed")
        assert [send(cache, 1) for _ in range(5)] == ["fresh"] * 5
        assert cache.stats().store == "down"
    assert all(record.exc_info is None for record in caplog.records if record.levelno >= logging.WARNING)


@pytest.mark.parametrize(
    ("code", "name", "error"),
    [(13, "Unauthorized", StoreError), (10107, "NotWritablePrimary", StoreUnavailable)],
    ids=["rights", "secondary"],
)
def test_a_server_that_became_read_only_still_gives_what_it_holds(
    faulty: FaultyServer, space: str, code: int, name: str, error: type[Exception]
) -> None:
    store = MongoDBStore(faulty.url, timeout_seconds=5)
    store.put(space, [Record(b"k", b"v")])
    faulty.fail(WRITES, code, name)
    with pytest.raises(error):
        store.put(space, [Record(b"other", b"v")])
    assert store.get(space, b"k") == b"v"
    assert store.size(space) == Size(1, 1)
    store.close()


def test_after_a_failover_the_store_goes_on(faulty: FaultyServer, space: str) -> None:
    store = MongoDBStore(faulty.url, timeout_seconds=5)
    store.put(space, [Record(b"k", b"v")])
    for code, name in ((10107, "NotWritablePrimary"), (11600, "InterruptedAtShutdown"), (91, "ShutdownInProgress")):
        faulty.fail(READS | WRITES, code, name)
        with pytest.raises(StoreUnavailable):
            store.get(space, b"k")
        with pytest.raises(StoreUnavailable):
            store.put(space, [Record(b"k", b"new")])
        faulty.recover()
        store.put(space, [Record(b"k", b"v")])
        assert store.get(space, b"k") == b"v"
    assert store.size(space) == Size(1, 1)
    store.close()


def test_doctor_names_the_rights_that_a_user_lacks(faulty: FaultyServer) -> None:
    faulty.fail(frozenset({"delete"}), 13, "Unauthorized")
    done = CliRunner().invoke(app, ["doctor", "--store", faulty.url, "--json"])
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}["permissions"]
    assert (done.exit_code, found["level"]) == (1, "problem")
    assert "Unauthorized" in found["value"] and "readWrite" in found["advice"]
    faulty.recover()
    done = CliRunner().invoke(app, ["doctor", "--store", faulty.url, "--json"])
    assert done.exit_code == 0
