"""What the command line costs: a page of ``ls`` against one full scan by the store's own client, and
``askonce export - | askonce import -`` against writing the same bytes with that client.

    python -m benchmarks.command_line [--seconds 15] [--rounds 3] [sqlite redis-8.2 mongodb]

A store is filled for that many seconds. Scan and page, and the transfer and the plain writing, run in turns.
"""

from __future__ import annotations

import argparse
import io
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymongo
import redis

from askonce.cli import entries
from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Place
from askonce.stores import Store, open_store
from askonce.stores.base import Record
from benchmarks.measure import Claim, Series, markdown
from tests.support import servers

NAMES = ("sqlite", "redis-8.2", "mongodb")
BATCH, PAYLOAD_BYTES = 500, 1_000
PAGE_LIMIT, TRANSFER_LIMIT = 0.1, 2.0
Rows = Iterator[list[tuple[bytes, bytes]]]


class OwnClient:
    """The store's own client, used as plainly as it can be: what the commands are compared with."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace

    def scan(self) -> int:
        """Read all values of the namespace; returns how many."""
        if self.url.startswith("sqlite"):
            with sqlite3.connect(self.url.removeprefix("sqlite:///")) as connection:
                query = "SELECT key, value FROM entry WHERE space = (SELECT id FROM space WHERE name = ?)"
                return sum(1 for _ in connection.execute(query, (self.namespace,)))
        if self.url.startswith("redis"):
            with redis.Redis.from_url(self.url) as client:
                return sum(1 for _ in client.hscan_iter(f"askonce:{{{self.namespace}.0}}:v", count=1000))
        with pymongo.MongoClient[dict[str, Any]](self.url) as client:
            return sum(1 for _ in client.get_default_database()["askonce.entries"].find({"ns": self.namespace}))

    def write(self, rows: Rows, folder: Path) -> None:
        """Write values under their keys, and nothing else, into a place of its own."""
        place = f"plain{uuid.uuid4().hex}"
        if self.url.startswith("sqlite"):
            connection = sqlite3.connect(folder / f"{place}.db", isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("CREATE TABLE entry (key BLOB PRIMARY KEY, value BLOB)")
            for batch in rows:
                connection.execute("BEGIN")
                connection.executemany("INSERT INTO entry VALUES (?, ?)", batch)
                connection.execute("COMMIT")
            connection.close()
        elif self.url.startswith("redis"):
            with redis.Redis.from_url(self.url) as client:
                for batch in rows:
                    pipeline = client.pipeline(transaction=False)
                    for key, value in batch:
                        pipeline.hset(place, key, value)
                    pipeline.execute()
                client.unlink(place)
        else:
            with pymongo.MongoClient[dict[str, Any]](self.url) as client:
                collection = client.get_default_database()[place]
                for batch in rows:
                    collection.insert_many([{"_id": key.hex(), "v": value} for key, value in batch])
                collection.drop()


def fill(store: Store, namespace: str, seconds: float) -> int:
    """Store entries for so long; returns how many."""
    codec, dice, count, ends = Codec(), random.Random(1), 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        records = []
        for _ in range(BATCH):
            place = Place(namespace, dice.randbytes(32))
            entry = Entry(dice.randbytes(PAYLOAD_BYTES), 1.0, cost_seconds=1.0, model="gpt-4o", tags=())
            records.append(Record(place.key, codec.encode(entry, bound_to=place.bound_to), None, 1.0))
        store.put(namespace, records)
        count += BATCH
    return count


def batches(store: Store, namespace: str) -> Rows:
    cursor, first = b"", True
    while first or cursor:
        page = store.page(namespace, cursor, BATCH)
        yield [(one.key, one.value) for one in page.records]
        cursor, first = page.cursor, False


def microseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1e6 * (time.perf_counter() - started)


def transfer(source: str, target: str, namespace: str) -> None:
    """``askonce export - | askonce import -``, as two programs."""
    program, of_namespace = (sys.executable, "-m", "askonce"), ("--namespace", namespace)
    export = subprocess.Popen(
        [*program, "export", "-", "--store", source, *of_namespace],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    subprocess.run(
        [*program, "import", "-", "--store", target],
        stdin=export.stdout,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    assert export.wait() == 0


def other_database(url: str, folder: Path, number: int) -> str:
    """Another place on the same server, or another file."""
    if url.startswith("sqlite"):
        return f"sqlite:///{folder / f'target{number}.db'}"
    if url.startswith("redis"):
        return url.rsplit("/", 1)[0] + "/1"
    return urlsplit(url)._replace(path="/other").geturl()


def page(url: str, namespace: str) -> None:
    """A page as the command prints it, without the start of a program."""
    with redirect_stdout(io.StringIO()):
        entries.ls(limit=50, store=url, namespace=namespace, as_json=True)


def of_store(name: str, seconds: float, rounds: int) -> tuple[list[str], list[Claim]]:
    namespace = f"bench{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        url = f"sqlite:///{folder / 'cache.db'}" if name == "sqlite" else servers.start(name).url  # type: ignore[arg-type]
        store, own = open_store(url, timeout_seconds=60), OwnClient(url, namespace)
        count = fill(store, namespace, seconds)
        series = {part: Series(part) for part in ("scan", "page", "write", "transfer")}
        rows = [one for batch in batches(store, namespace) for one in batch]
        for number in range(rounds):
            target = other_database(url, folder, number)
            times = {
                "scan": microseconds(own.scan),
                "page": microseconds(lambda: page(url, namespace)),
                "write": microseconds(
                    lambda: own.write((rows[at : at + BATCH] for at in range(0, len(rows), BATCH)), folder)
                ),
                "transfer": microseconds(lambda: transfer(url, target, namespace)),  # noqa: B023
            }
            with_all = open_store(target, timeout_seconds=60)
            assert with_all.size(namespace).entries == count, "something was lost"
            with_all.erase({namespace: None})
            with_all.close()
            for part, one in times.items():
                series[part].rounds.append(one)
        store.erase({namespace: None})
        store.close()
    print(
        f"{name}: {count:,} entries", {part: [round(x / 1000) for x in one.rounds] for part, one in series.items()}
    )
    claims = [
        Claim(f"{name}: a page of ls / a full scan", series["page"].over(series["scan"]), PAGE_LIMIT),
        Claim(
            f"{name}: export to import / plain writing", series["transfer"].over(series["write"]), TRANSFER_LIMIT
        ),
    ]
    return [name, f"{count:,}", *(f"{one.median / 1000:.0f}" for one in series.values())], claims


def measured(names: tuple[str, ...], seconds: float, rounds: int) -> str:
    found = [of_store(name, seconds, rounds) for name in names]
    heads = ("store", "entries", "scan, ms", "page, ms", "write, ms", "export to import, ms")
    claims = [claim.row() for _, some in found for claim in some]
    return (
        f"Medians of {rounds} rounds, values of {PAYLOAD_BYTES} bytes; nothing was lost.\n\n"
        f"{markdown(heads, [row for row, _ in found])}\n\n"
        + markdown(("claim", "measured (spread)", "limit", ""), claims)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; by default all")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(measured(tuple(given.names) or NAMES, given.seconds, given.rounds))


if __name__ == "__main__":
    main()
