"""What counting costs, whether it is exact, and how long reading the totals takes.

    python -m benchmarks.totals [--seconds 90] [--rounds 15] [--entries 1000000]

* A hit with ``totals=True`` against the same hit with ``totals=False``: blocks of hits in turns, by the CPU time of
  the whole process, what runs in the background included.
* 8 processes send requests as often as the time allows. In the first half all end by themselves; in the second each
  is killed with SIGKILL after a while and another one begins. A killed one may lose what it counted since the last
  write.
* ``askonce stats`` and ``askonce top`` against one scan of all entries by the store's own client, in turns: the
  command alone, and with the start of Python, which takes most of it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis
from typer.testing import CliRunner

from askonce import Cache, open_store
from askonce.cli.app import app
from askonce.engine.events import _FLUSH_SECONDS
from askonce.entries.entry import Answer, Hit, Usage
from askonce.keys.normal_form import NormalForm
from askonce.stores.base import Record, Store
from askonce.totals.writer import WRITE_SECONDS
from benchmarks.measure import Claim, Ratio, markdown
from tests.support import servers

PROCESSES, QUESTIONS, BLOCK = 8, 100, 500
INTERVAL_SECONDS = _FLUSH_SECONDS + WRITE_SECONDS
ANSWER = Answer(b"because " * 150, Usage(500, 170), "gpt-4o")


def send(cache: Cache, number: int) -> bool:
    request = cache.engine.request("answer", lambda: NormalForm({"question": f"why {number}?"}, model="gpt-4o"))
    assert request is not None
    return isinstance(cache.engine.answer(request, lambda: ANSWER, lambda one: one), Hit)


# -- the cost of a hit ---------------------------------------------------------------------------------------------


def cost(folder: Path, rounds: int) -> tuple[Ratio, float]:
    """Blocks of hits with totals over such without, and the CPU time of a hit without them in microseconds."""
    url = f"sqlite:///{folder / 'cost.db'}"
    caches = [Cache(url, totals=totals, timeout_seconds=5) for totals in (True, False)]
    for number in range(QUESTIONS):
        send(caches[0], number)

    def block(cache: Cache) -> float:
        began = time.process_time()
        for number in range(8 * BLOCK):
            assert send(cache, number % QUESTIONS)
        cache.flush()
        return time.process_time() - began

    ratios, plain = [], []
    for number in range(rounds + 1):
        times = {one: block(one) for one in (caches if number % 2 else caches[::-1])}
        if number:  # the first one warms up
            ratios.append(times[caches[0]] / times[caches[1]])
            plain.append(times[caches[1]] / (8 * BLOCK) * 1e6)
    for cache in caches:
        cache.close()
    return Ratio(ratios), min(plain)


# -- exactness -----------------------------------------------------------------------------------------------------


def child(url: str, log: str, seconds: float) -> None:
    """Send requests, and write down after each few requests how many there were."""
    cache, end, done = Cache(url, timeout_seconds=5), time.time() + seconds, 0
    with open(log, "ab", buffering=0) as file:
        while time.time() < end:
            for number in range(20):
                send(cache, (done + number) % QUESTIONS)
            done += 20
            file.write(f"{time.time()} {done}\n".encode())
    cache.close()


def filled(url: str) -> int:
    """Have the answers stored, so that no process waits for another; returns how many requests that took."""
    with Cache(url, timeout_seconds=5) as cache:
        for number in range(QUESTIONS):
            send(cache, number)
    return QUESTIONS


def start(url: str, folder: Path, seconds: float, number: int) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"{number}.log"
    command = [sys.executable, "-m", "benchmarks.totals", "--child", url, str(log), str(seconds)]
    return subprocess.Popen(command), log


def done_in(log: Path, until: float = float("inf")) -> int:
    """How many requests a process had done by then."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return max((int(done) for at, done in lines if float(at) <= until), default=0)


def exact(url: str, folder: Path, seconds: float) -> tuple[int, int]:
    """Requests of processes that end by themselves, and how many were counted."""
    done = filled(url)
    started = [start(url, folder, seconds, number) for number in range(PROCESSES)]
    for process, _ in started:
        assert process.wait() == 0
    with Cache(url) as cache:
        total = cache.totals()
    return done + sum(done_in(log) for _, log in started), total.hits + total.misses


def killed(url: str, folder: Path, seconds: float) -> tuple[int, int, int, int]:
    """Kills; requests of processes that are killed; how many were counted; and how many of them may be lost."""
    end, number, kills, done, may_be_lost = time.time() + seconds, 0, 0, filled(url), 0
    running: dict[Path, subprocess.Popen[bytes]] = {}
    ends_at: dict[Path, float] = {}
    while time.time() < end or running:
        while len(running) < PROCESSES and time.time() < end - 5:
            number += 1
            process, log = start(url, folder, 3600, number)
            running[log] = process
        time.sleep(0.02)
        for log, process in list(running.items()):
            if log.exists():  # it has begun
                ends_at.setdefault(log, min(time.time() + random.uniform(5, 12), max(end, time.time() + 5)))
            if time.time() < ends_at.get(log, float("inf")):
                continue
            os.kill(process.pid, signal.SIGKILL)
            died = time.time()
            process.wait()
            del running[log]
            kills += 1
            done += done_in(log)
            # Requests since the last line in the log were not written down: 20 at most.
            may_be_lost += done_in(log) - done_in(log, died - INTERVAL_SECONDS)
    with Cache(url) as cache:
        total = cache.totals()
    return kills, done, total.hits + total.misses, may_be_lost


# -- reading -------------------------------------------------------------------------------------------------------


def fill(store: Store, entries: int, seconds: float) -> int:
    """Put entries of about a kilobyte, for so long at most."""
    end, value = time.time() + seconds, os.urandom(500) + b"because " * 60
    for start_at in range(0, entries, 500):
        if time.time() > end:
            return start_at
        store.put("default", [Record(os.urandom(32), value, weight=1e-6) for _ in range(500)])
    return entries


def scan_sqlite(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return sum(1 for _ in connection.execute("SELECT key, value FROM entry"))


def scan_redis(url: str) -> int:
    client, count = redis.Redis.from_url(url), 0
    for name in client.scan_iter("askonce:{default.*}:v"):
        count += sum(1 for _ in client.hscan_iter(name, count=1000))
    client.close()
    return count


def command(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "askonce.cli", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def reading(name: str, url: str, scan: Callable[[], int], entries: int, seconds: float, rounds: int) -> list[Claim]:
    with Cache(url, timeout_seconds=5) as cache:
        for number in range(2 * QUESTIONS):
            send(cache, number % QUESTIONS)
    store = open_store(url, timeout_seconds=5)
    count = fill(store, entries, seconds)
    store.close()
    shares: dict[str, list[float]] = {}
    runner = CliRunner()
    for _ in range(rounds):
        whole = timed(scan)
        for one in ("stats", "top"):
            arguments = [one, "--store", url, "--json"]
            shares.setdefault(one, []).append(timed(lambda: runner.invoke(app, arguments)) / whole)  # noqa: B023
            shares.setdefault(f"{one}, the start of Python included", []).append(command(*arguments) / whole)
    print(f"{name}: {count:,} entries, one scan {whole:.2f} s", flush=True)
    return [
        Claim(f"{name}, {one} over a scan of {count:,} entries", Ratio(of), None if "," in one else 0.1)
        for one, of in shares.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=3)
    arguments = parser.parse_args()
    if arguments.child:
        url, log, seconds = arguments.child
        child(url, log, float(seconds))
        return
    claims = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ratio, plain = cost(folder, arguments.rounds)
        print(f"a hit without totals takes {plain:.1f} µs of CPU time", flush=True)
        claims.append(Claim("a hit, counted for all over not", ratio, 1.03))
        for kind in ("exact", "killed"):
            (folder / kind).mkdir()
        half = arguments.seconds / 2
        done, counted = exact(f"sqlite:///{folder / 'exact.db'}", folder / "exact", half)
        print(f"{PROCESSES} processes that end by themselves: {done:,} requests, {counted:,} counted", flush=True)
        url = f"sqlite:///{folder / 'killed.db'}"
        kills, done, counted, may_be_lost = killed(url, folder / "killed", half)
        lost = f"{done - counted:,} lost, of {may_be_lost:,} in the last {INTERVAL_SECONDS:g} s of each"
        print(f"{kills} killed processes: {done:,} requests, {counted:,} counted, {lost}", flush=True)
        path = folder / "large.db"
        budget = arguments.seconds * 2 / 3
        sizes = arguments.entries, budget, 3
        claims += reading("SQLite", f"sqlite:///{path}", lambda: scan_sqlite(path), *sizes)
        server = servers.start("redis-8.2")
        claims += reading("Redis", server.url, lambda: scan_redis(server.url), *sizes)
    print(markdown(("what", "ratio (least–most)", "aim", ""), [claim.row() for claim in claims]))


if __name__ == "__main__":
    main()
