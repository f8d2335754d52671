"""The store in MongoDB keeps the contract of all stores, its accounts, and its time."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pymongo
import pytest
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from askonce.errors import ConfigError, ForeignStoreError, StoreError, StoreUnavailable
from askonce.eviction.policy import Budget
from askonce.stores import open_store
from askonce.stores.base import Clock, Record, Size, Store
from askonce.stores.mongodb import MongoDBStore, log
from askonce.stores.mongodb.connect import Clients
from askonce.testing import FakeClock, StoreConformance
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


@pytest.fixture
def space() -> str:
    return uuid.uuid4().hex


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


# -- accounts ------------------------------------------------------------------------------------------------


def _exact(store: Store, space: str) -> Size:
    rows = list(store.scan(space))
    return Size(len(rows), sum(len(value) for _, value in rows))


def _finish(steps: Generator[Any, Any, Any], result: Any) -> Any:
    while True:
        try:
            result = steps.send(result)
        except StopIteration as end:
            return end.value


TIGHT = Budget(max_entries=3)
RIVALS: dict[str, Callable[[Store, str], object]] = {
    "put": lambda store, space: store.put(space, [Record(b"b", b"rival"), Record(b"d", b"rival")], TIGHT),
    "delete": lambda store, space: store.delete(space, [b"a", b"b"]),
    "evict": lambda store, space: store.evict(space, Budget(max_entries=1)),
    "touch": lambda store, space: store.touch(space, {b"a": 5, b"b": 1, b"c": 2}),
    "clear": lambda store, space: store.clear(space),
}


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("operation", ["put", "delete", "evict"])
def test_a_rival_at_any_moment_leaves_the_accounts_exact(
    stores: list[MongoDBStore], database: Any, operation: str, rival: str
) -> None:
    mine, other = stores
    for moment in range(30):
        space = uuid.uuid4().hex
        mine.put(space, [Record(b"a", b"1", weight=1.0), Record(b"b", b"22", weight=2.0), Record(b"c", b"333")])
        steps = {
            "put": lambda space=space: mine._records.put(
                database, space, [Record(b"b", b"new", weight=1.0), Record(b"d", b"4444")], TIGHT
            ),
            "delete": lambda space=space: mine._records.delete_where(database, space, {}),
            "evict": lambda space=space: mine._records.evict(database, space, Budget(max_entries=1)),
        }[operation]()
        result = None
        try:
            for _ in range(moment):
                result = steps.send(result)
        except StopIteration:
            return  # every moment has had its rival
        RIVALS[rival](other, space)
        _finish(steps, result)
        exact = _exact(other, space)
        assert other.size(space) == exact, f"interrupted after {moment} calls"
        if operation != "delete":
            assert exact.entries <= 3


@pytest.mark.parametrize("calls", range(1, 7))
def test_a_put_that_dies_leaves_sums_too_large_until_they_are_counted_anew(
    stores: list[MongoDBStore], database: Any, space: str, clock: FakeClock, calls: int
) -> None:
    mine, other = stores
    database["askonce.spaces"].delete_many({"_id": {"$ne": 0}})  # only so many are counted anew by one `check`
    mine.put(space, [Record(b"a", b"1"), Record(b"b", b"22"), Record(b"c", b"333")])
    steps, result = mine._records.put(database, space, [Record(b"b", b"2"), Record(b"d", b"4444")], TIGHT), None
    for _ in range(calls):
        try:
            result = steps.send(result)
        except StopIteration:
            break
    steps.close()
    exact, size = _exact(other, space), other.size(space)
    assert size.entries >= exact.entries
    assert size.size_bytes >= exact.size_bytes
    clock.advance(3_601)
    other.check()
    assert other.size(space) == exact


def test_a_record_put_while_the_one_before_it_is_removed_stays(
    stores: list[MongoDBStore], database: Any, space: str
) -> None:
    mine, other = stores
    mine.put(space, [Record(b"k", b"old")])
    removal, result = mine._records.delete(database, space, [b"k"]), None
    for _ in range(3):  # what it finds, its charge, its writes
        result = removal.send(result)
    assert other.get(space, b"k") is None
    other.put(space, [Record(b"k", b"new")])
    assert _finish(removal, result) == 1
    assert other.get(space, b"k") == b"new"
    assert other.size(space) == _exact(other, space) == Size(1, 3)


def test_an_eviction_that_finds_nothing_counts_anew(
    stores: list[MongoDBStore], database: Any, space: str, clock: FakeClock
) -> None:
    store, _ = stores
    store.put(space, [Record(b"a", b"1")])
    database["askonce.spaces"].update_one({"_id": space}, {"$inc": {"entries": 7, "size": 700}})
    clock.advance(60)
    budget = Budget(max_entries=5)
    store.put(space, [Record(b"b", b"22")], budget)
    assert store.size(space) == _exact(store, space) == Size(2, 3)


def test_a_reader_of_the_log_waits_for_an_event_under_way(
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
    assert other.log_read(space, first + 4).head == first + 4  # nobody was told of it yet
    clock.advance(3)
    page = other.log_read(space, first + 4)
    assert (page.events, page.head, page.truncated) == ([], first + 5, True)


@pytest.mark.parametrize("collection", ["askonce.log", "askonce.spaces"])
def test_a_log_that_was_lost_begins_beyond_what_it_had_reached(
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


def test_a_record_that_no_document_can_hold_is_refused(stores: list[MongoDBStore], space: str) -> None:
    with pytest.raises(StoreError, match="more than a MongoDB document can hold"):
        stores[0].put(space, [Record(b"k", b"v"), Record(b"large", bytes(16_000_001))])
    assert stores[0].size(space) == Size()


# -- round trips and indexes ---------------------------------------------------------------------------------


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
    assert len(sent(store.put, space, fresh, Budget(max_entries=500))) <= 8
    assert len(sent(store.lease, space, b"7", "anna", 60)) == 1
    assert len(sent(store.delete, space, keys)) <= 5
    store.close()


def test_indexes_are_there_and_used(stores: list[MongoDBStore], database: Any, space: str) -> None:
    stores[0].put(space, [Record(b"k", b"v", tags=("t",))])
    stores[0].check()
    entries = database["askonce.entries"]
    assert entries.index_information()["gone"]["expireAfterSeconds"] == 86_400
    assert "gone" in database["askonce.concurrency.leases"].index_information()
    by_priority = entries.find({"ns": space}).sort([("p", 1), ("_id", 1)]).hint("ns_p_id_s")
    for cursor, index in [
        (by_priority.limit(9), "ns_p_id_s"),
        (entries.find({"ns": space, "t": "t"}), "ns_t"),
        (entries.find({"ns": space, "x": {"$lte": 1.0}}), "ns_x"),
    ]:
        assert f"'indexName': '{index}'" in str(cursor.explain()["queryPlanner"]["winningPlan"])


def test_a_newer_format_is_not_touched(server: servers.Server, space: str) -> None:
    url = server.url.replace("/askonce", f"/{space}")
    with pymongo.MongoClient[dict[str, Any]](url) as client:
        client[space]["askonce.spaces"].insert_one({"_id": 0, "format": 99})
        with pytest.raises(ForeignStoreError, match="newer"):
            open_store(url, timeout_seconds=PATIENT_SECONDS)
        client.drop_database(space)


@pytest.mark.parametrize(
    ("code", "advice"), [(18, "user name and password"), (13, "role readWrite"), (40324, "lacks what is needed")]
)
def test_what_the_server_will_never_allow_is_an_error_of_configuration(code: int, advice: str) -> None:
    clients = Clients("mongodb://user:secret@localhost/db", "mongodb://localhost/db")
    with pytest.raises(StoreError) as caught, clients.bounded(1):
        raise pymongo.errors.OperationFailure("refused", code)
    with pytest.raises(ConfigError, match=advice):
        clients.refuse(caught.value)
    clients.close()


# -- servers that are wrong, down or slow --------------------------------------------------------------------


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
def test_a_url_that_cannot_work_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MongoDBStore(url)
    assert not any(part in str(caught.value) for part in ("sec", "ret"))


@pytest.mark.parametrize("option", ["foo=bar", "maxPoolSize=many"])
def test_an_option_that_cannot_be_used_is_refused(option: str) -> None:
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
def test_calls_come_back_from_a_server_that_hangs_and_go_on_after_it(
    own_server: servers.Server, space: str
) -> None:
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
                assert time.monotonic() - started < 10
        finally:
            own_server.resume()
        for call in calls:
            _patiently(call)
        runner.run(store.aclose())


def test_a_store_uses_a_server_that_comes_up_later_and_again(own_server: servers.Server, space: str) -> None:
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
