"""What failing stores, killed processes and damaged files cost an application.

    make bench BENCH=chaos
    make bench BENCH=chaos ARGS="--seconds 20 --only redis-full fork"

Threads and tasks request stored and new answers while a fault goes on: how many of the stored questions that the
store could have served were served from it, what the cache added to a call (the model's time is taken off), and the
lines in the log. An answer that is not the question's, and an error that reaches a caller, end the run.

``forks``: children that hang. ``kills``: writers that are killed, and what they had stored. ``oracle``: 8 processes
of 8 threads against dicts. ``damage``: files damaged at rest. ``flights``: callers of one question, whose leaders
are killed. ``soak``: what a process holds after a while. Needs the servers of the tests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.chaos import damage, faults, oracle, processes
from benchmarks.chaos.load import measure
from benchmarks.chaos.soak import soak
from benchmarks.measure import markdown
from tests.concurrency.test_fork import PROGRAM
from tests.support import servers

Row = tuple[str, ...]


class Chaos:
    """The campaigns."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self.options = options
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.stack = stack

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def urls(self, name: str) -> dict[str, str]:
        """The stores that processes share; a SQLite file of its own for each campaign."""
        return {
            "SQLite": f"sqlite:///{self.file(name)}",
            "Redis": servers.start("redis-8.2").url,
            "MongoDB": servers.start("mongodb").url,
        }

    def wanted(self, name: str) -> bool:
        return not self.options.only or any(name.startswith(one) for one in self.options.only)

    def under_load(self) -> Iterator[Row]:
        server = self.stack.enter_context(servers.start("redis-8.2", private=True))
        url, file = server.url, self.file("load")
        sqlite = f"sqlite:///{file}"
        rows: dict[str, tuple[str, faults.Fault]] = {
            "sqlite": (sqlite, faults.none),
            "sqlite-writer": (sqlite, faults.a_writer(file)),
            "sqlite-full": (sqlite, faults.a_full_disk),
            "redis": (url, faults.none),
            "redis-full": (url, faults.full_memory(url)),
            "redis-paused": (url, faults.paused(server)),
            "redis-killed": (url, faults.stopped(server)),
        }
        for name, (store, fault) in rows.items():
            if self.wanted(name):
                yield from self.row(name, store, fault, "" if name in ("redis-paused", "redis-killed") else None)
        for late in (0.02, 0.4):
            if self.wanted(name := f"redis-{late:g} s late"):
                away = faults.FarAway(url)
                yield from self.row(name, away.url, away.by(late), "" if late > 0.25 else None)
                away.close()
        if self.wanted("sentinel-failover"):
            with servers.start("redis-sentinel", private=True) as sentinel:
                yield from self.row("sentinel-failover", sentinel.url, faults.a_failover(sentinel))
        for number in (0, 2):  # clients take the first one for what any node could do
            if self.wanted(name := f"cluster-node-{number}-dead"):
                with servers.start("redis-cluster", private=True) as cluster:
                    dead = f":{cluster.nodes[number].port}"
                    yield from self.row(name, cluster.url, faults.a_dead_node(cluster, number), dead)
        mongo: dict[str, Callable[[servers.Server], faults.Fault]] = {
            "mongodb": lambda _: faults.none,
            "mongodb-paused": faults.paused,
            "mongodb-killed": faults.stopped,
        }
        for name, made in mongo.items():
            if self.wanted(name):
                with servers.start("mongodb", private=True) as database:
                    yield from self.row(name, database.url, made(database), None if name == "mongodb" else "")

    def row(self, name: str, url: str, fault: faults.Fault, dead: str | None = None) -> Iterator[Row]:
        return measure(name, url, self.options.seconds, fault, self.options.seed, dead)

    def forks(self) -> Iterator[Row]:
        for name, url in {"memory": "memory://", **self.urls("forks")}.items():
            if name != "MongoDB":
                command = [sys.executable, "-c", PROGRAM, url, str(self.options.forks), "0.002"]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                yield name, f"{self.options.forks:,}", done.stdout.strip()

    def kills(self) -> Iterator[Row]:
        for name, url in self.urls("kills").items():
            with tempfile.TemporaryDirectory() as folder:
                yield name, *processes.kills(url, Path(folder), self.options.rounds, self.options.seed)

    def oracle(self) -> Iterator[Row]:
        for name, url in self.urls("oracle").items():
            yield name, *oracle.against_a_dict(url, self.options.long, self.options.seed)

    def damage(self) -> Iterator[Row]:
        yield from damage.damaged(self.options.files, self.options.seed)

    def flights(self) -> Iterator[Row]:
        for name, url in self.urls("flights").items():
            for leaders in (0, 3):
                with tempfile.TemporaryDirectory() as folder:
                    yield name, *processes.flights(url, Path(folder), leaders)

    def soak(self) -> Iterator[Row]:
        for name, url in self.urls("soak").items():
            yield name, *soak(url, self.options.long)


def table(heads: Sequence[str], rows: Iterator[Row]) -> str:
    seen = []
    for row in rows:
        seen.append(row)
        print(*row, sep="  ", flush=True)
    return markdown(heads, seen) if seen else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each fault, for threads and for tasks")
    parser.add_argument("--long", type=float, default=60.0, help="seconds of oracle and soak, on each store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=60, help="of kills, on each store")
    parser.add_argument("--files", type=int, default=500, help="that are damaged")
    parser.add_argument("--only", nargs="*", default=[], help="names of rows or campaigns, or their beginnings")
    options = parser.parse_args()
    with ExitStack() as stack:
        chaos = Chaos(options, stack)
        heads = ("fault", "calls", "served", "p50 ms", "p99 ms", "max ms", "lines")
        tables = [table(heads, chaos.under_load())]
        campaigns: dict[str, tuple[Callable[[], Iterator[Row]], Sequence[str]]] = {
            "forks": (chaos.forks, ("forks on", "children", "hang")),
            "kills": (
                chaos.kills,
                ("killed on", "rounds", "kills", "stored", "lost", "wrong", "errors", "accounts off"),
            ),
            "oracle": (chaos.oracle, ("against dicts on", "operations", "wrong", "too slow", "accounts off")),
            "damage": (
                chaos.damage,
                ("damaged", "files", "refused", "set aside", "served", "made anew", "wrong", "errors"),
            ),
            "flights": (
                chaos.flights,
                ("one question on", "leaders killed", "answered", "model calls", "longest", "wrong", "hang"),
            ),
            "soak": (
                chaos.soak,
                ("soak on", "calls", "cancelled", "event loops", "wrong", "MB", "descriptors", "threads",
                 "flights and leases left"),
            ),
        }  # fmt: skip
        for name, (campaign, columns) in campaigns.items():
            if chaos.wanted(name):
                print(f"\n{name}", flush=True)
                tables.append(table(columns, campaign()))
    print("\n" + "\n\n".join(one for one in tables if one))


if __name__ == "__main__":
    main()
