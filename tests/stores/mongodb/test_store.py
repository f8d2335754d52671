"""The MongoDB store satisfies the contract of all stores; its accounts, and its timeouts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pymongo
import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from askonce.errors import ForeignStoreError, StoreError
from askonce.eviction.policy import Budget
from askonce.stores import open_store
from askonce.stores.base import Clock, Record, Size, Store
from askonce.stores.mongodb import MongoDBStore, log
from askonce.testing import FakeClock, StoreConformance
from tests.stores.mongodb.conftest import PATIENT_SECONDS
from tests.support import servers


class TestMongoDB(StoreConformance):
    # The server of these tests is a slow one.
    trace_examples = 10
    work_rounds = 20
    scan_records = 1_100

    @pytest.fixture
    def open(self, database_url: str) -> Callable[..., Store]:
        def open_store(clock: Clock = time.time) -> Store:
            return MongoDBStore(database_url, timeout_seconds=PATIENT_SECONDS, clock=clock)

        return open_store

    @pytest.fixture
    def url(self, database_url: str) -> str:
        return database_url

    @pytest.fixture
    def log_length(self, monkeypatch: pytest.MonkeyPatch) -> int:
        monkeypatch.setattr("askonce.stores.mongodb.log.LOG_LENGTH", 100)
        monkeypatch.setattr("askonce.stores.mongodb.log.TRIM_EVERY", 50)
        return 100


def test_a_reader_of_the_log_waits_for_an_event_in_progress(
    stores: list[MongoDBStore], database: Any, space: str, clock: FakeClock
) -> None:
    store, other = stores
    first = store.log_append(space, b"one")
    under_way = log.append(database, space, b"two", clock)
    drawn = under_way.send(None)
    other.log_append(space, b"three")
    assert other.log_read(space, 0).events == [(first, b"one")]
    under_way.send(drawn)
    assert other.log_read(space, 0).events == list(enumerate([b"one", b"two", b"three"], first))
    log.append(database, space, b"four", clock).send(None)  # its writer dies
    other.log_append(space, b"five")
    page = other.log_read(space, first + 2)
    assert (page.events, page.head) == ([], first + 4)
    clock.advance(3)
    page = other.log_read(space, first + 2)
    assert (page.events, page.truncated) == ([(first + 4, b"five")], True)
    log.append(database, space, b"six", clock).send(None)
    assert other.log_read(space, first + 4).head == first + 4  # not yet visible to readers
    clock.advance(3)
    page = other.log_read(space, first + 4)
    assert (page.events, page.head, page.truncated) == ([], first + 5, True)


@pytest.mark.parametrize("collection", ["askonce.log", "askonce.spaces"])
def test_a_lost_log_begins_beyond_its_last_sequence(
    stores: list[MongoDBStore], database: Any, space: str, clock: FakeClock, collection: str
) -> None:
    store, other = stores
    last = [store.log_append(space, b"%d" % number) for number in range(3)][-1]
    database[collection].delete_many({})
    clock.advance(60)
    page = other.log_read(space, last - 1)
    assert page.truncated or page.head == 0
    head = store.log_append(space, b"new")
    assert head > last
    clock.advance(3)  # no event can be under way any more
    page = other.log_read(space, 0)
    assert (page.events, page.head) == ([(head, b"new")], head)
    assert other.log_read(space, last - 1).truncated


def test_a_record_too_large_for_a_document_is_refused(stores: list[MongoDBStore], space: str) -> None:
    with pytest.raises(StoreError, match="more than a MongoDB document can hold"):
        stores[0].put(space, [Record(b"k", b"v"), Record(b"large", bytes(16_000_001))])
    assert stores[0].size(space) == Size()


class _Commands(CommandListener):
    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass


def test_a_call_costs_few_commands_however_many_records_it_has(
    database_url: str, stores: list[MongoDBStore], space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = _Commands()
    monkeypatch.setattr(pymongo.monitoring, "_LISTENERS", pymongo.monitoring._Listeners([], [], [], [], []))
    pymongo.monitoring.register(commands)
    store = MongoDBStore(database_url, timeout_seconds=PATIENT_SECONDS)
    store.check()

    def sent(call: Callable[..., object], *args: Any) -> list[str]:
        commands.names.clear()
        call(*args)
        return list(commands.names)

    keys = [b"%d" % number for number in range(500)]
    records = [Record(key, b"v" * 100, weight=1.0) for key in keys]
    assert len(sent(store.put, space, records)) <= 5
    assert sent(store.get, space, b"7") == ["find"]
    assert sent(store.get_many, space, keys) == ["find"]
    assert len(sent(store.touch, space, dict.fromkeys(keys, 1))) == 2
    assert len(sent(store.put, space, records, Budget(max_entries=500))) <= 5
    fresh = [Record(b"new " + key, b"v") for key in keys[:100]]
    assert len(sent(store.put, space, fresh, Budget(max_entries=500))) <= 9
    assert len(sent(store.lease, space, b"7", "anna", 60)) == 1
    assert len(sent(store.delete, space, keys)) <= 5
    store.close()


def test_indexes_exist_and_are_used(stores: list[MongoDBStore], database: Any, space: str) -> None:
    stores[0].put(space, [Record(b"k", b"v", tags=("t",))])
    stores[0].check()
    entries = database["askonce.entries"]
    assert entries.index_information()["gone"]["expireAfterSeconds"] == 86_400
    assert "gone" in database["askonce.leases"].index_information()
    by_priority = entries.find({"ns": space}).sort([("p", 1), ("_id", 1)]).hint("ns_p_id_s")
    for cursor, index in [
        (by_priority.limit(9), "ns_p_id_s"),
        (entries.find({"ns": space, "t": "t"}), "ns_t"),
        (entries.find({"ns": space, "x": {"$lte": 1.0}}), "ns_x"),
    ]:
        assert f"'indexName': '{index}'" in str(cursor.explain()["queryPlanner"]["winningPlan"])


def test_a_newer_format_is_not_changed(server: servers.Server, space: str) -> None:
    url = server.url.replace("/askonce", f"/{space}")
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        client[space]["askonce.spaces"].insert_one({"_id": 0, "format": 99})
        with pytest.raises(ForeignStoreError, match="newer"):
            open_store(url, timeout_seconds=PATIENT_SECONDS)
        client.drop_database(space)
