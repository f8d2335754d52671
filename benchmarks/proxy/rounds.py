"""Measures all subjects in turns: within a round each point is measured of one after the other."""

from __future__ import annotations

import hashlib
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from askonce import Cache
from askonce.wire.replies import packed, request_to
from askonce.wire.requests import read_request
from benchmarks.measure import Ratio
from benchmarks.proxy import programs
from benchmarks.proxy.load import PATH, Load, Point, body_of, calls_of, first_event_ms, load
from benchmarks.proxy.subjects import KEY, Subject, litellm, ours, served
from tests.support import servers

CONNECTIONS = (1, 16, 64)
HITS = tuple(Point(connections, streams) for streams in (False, True) for connections in CONNECTIONS)
MISSES = tuple(Point(connections, prompts="new", delay=delay) for delay in (300, 0) for connections in (1, 16))
STREAMED_MISS = Point(16, True, "new", 300)
OURS, LOCAL, REDIS, TWO = "askonce SQLite", "askonce local cache", "askonce Redis", "askonce SQLite, two workers"
THEIR_DISK, THEIR_LOCAL, THEIR_REDIS = "LiteLLM disk", "LiteLLM local", "LiteLLM Redis"
NO_SECRET = hashlib.blake2b(b"").digest()
F, F_TWO, FORWARDER, DIRECT = "F", "F, two workers", "forwarder (httpx)", "no proxy"


@dataclass
class Figures:
    """What was measured: of each subject at each point, a value for each round.

    Attributes:
        loads: by subject and point.
        first_events: milliseconds until the first event of a streamed miss, by subject.
        starts: seconds to start, by subject.
        memory: megabytes after the start and at the end, by subject.
        skipped: what was not measured, and why.
    """

    loads: dict[tuple[str, Point], list[Load]] = field(default_factory=lambda: defaultdict(list))
    first_events: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def of(self, subject: str, point: Point, what: str) -> list[float]:
        """One figure of `Load` in each round."""
        return [getattr(one, what) for one in self.loads[subject, point]]

    def ratio(self, mine: str, theirs: str, point: Point, what: str = "rate") -> Ratio | None:
        """One subject's figure over another's in each round; ``None`` if one was not measured."""
        pairs = zip(self.of(mine, point, what), self.of(theirs, point, what), strict=False)
        values = [one / other for one, other in pairs if other]
        return Ratio(values) if values else None

    def added(self, subject: str, point: Point, share: str = "p50") -> Ratio | None:
        """The milliseconds that a proxy adds to the provider's."""
        pairs = zip(self.of(subject, point, share), self.of(DIRECT, point, share), strict=False)
        values = [mine - bare for mine, bare in pairs]
        return Ratio(values) if values else None


class Bench:
    """All subjects, running.

    Args:
        folder: for stores and logs.
        stack: ends them.
        log: is given a line about each step.
        rivals: LiteLLM is measured too.
    """

    def __init__(self, folder: Path, stack: ExitStack, log: Callable[[str], object], *, rivals: bool) -> None:
        self._folder, self._stack, self._log = folder, stack, log
        self.figures = Figures()
        self.subjects: dict[str, Subject] = {}
        python = programs.environment()
        self._upstream = stack.enter_context(served(DIRECT, python, folder, "upstream"))
        redis = servers.start("redis-8.2", private=True)
        stack.callback(redis.close)
        self.makers: dict[str, Callable[[], Subject]] = {
            OURS: lambda: self._ours(OURS, self._sqlite("plain")),
            LOCAL: lambda: self._ours(LOCAL, self._sqlite("local"), "--local-ttl", "60"),
            REDIS: lambda: self._ours(REDIS, redis.url),
            TWO: lambda: self._ours(TWO, self._sqlite("two"), "--workers", "2"),
            F: lambda: served(F, python, folder, "bare"),
            F_TWO: lambda: served(F_TWO, python, folder, "bare", workers=2),
            FORWARDER: lambda: served(FORWARDER, python, folder, "forwarder", self._upstream.url),
        }
        if rivals:
            port = redis.url.rpartition(":")[2].partition("/")[0]
            caches: dict[str, dict[str, object]] = {
                THEIR_DISK: {"type": "disk", "disk_cache_dir": str(folder / "litellm-disk-cache")},
                THEIR_LOCAL: {"type": "local"},
                THEIR_REDIS: {"type": "redis", "host": "127.0.0.1", "port": int(port)},
            }
            for name, cache in caches.items():
                self.makers[name] = lambda name=name, cache=cache: litellm(  # type: ignore[misc]
                    name, python, folder, self._upstream.url, cache
                )
        self.names = list(self.makers)

    def _ours(self, name: str, store: str, *options: str) -> Subject:
        return ours(name, self._folder, self._upstream.url, store, *options)

    def _sqlite(self, name: str) -> str:
        return f"sqlite:///{self._folder}/{name}.db"

    def start(self) -> None:
        """Start all, and give each its first request."""
        for name in self.names:
            self._log(f"starting {name}")
            self.subjects[name] = subject = self._stack.enter_context(self.makers[name]())
            self.figures.starts[name].append(subject.start_seconds)
        self.subjects[DIRECT] = self._upstream
        for name in self.names:
            for point in (HITS[0], HITS[3]):
                load(self.subjects[name], point, 1)

    def start_again(self, name: str) -> None:
        """Start a second process, to see how long that takes."""
        second = self.makers[name]()
        with second:
            self.figures.starts[name].append(second.start_seconds)

    def measure(self, point: Point, names: Sequence[str], seconds: float) -> None:
        """Measure some subjects in turns at a point."""
        for name in names:
            if name not in self.subjects:
                continue
            if point.prompts == "one":
                load(self.subjects[name], point, 1)  # to warm it up
            calls = calls_of(self._upstream)
            found = load(self.subjects[name], point, seconds)
            self.figures.loads[name, point].append(found)
            calls = calls_of(self._upstream) - calls
            self._check(name, point, found, calls)
            self._log(f"  {name:28} {point}: {found.rate:8.1f}/s p50 {found.p50:7.2f} p99 {found.p99:8.2f} ms")

    def _check(self, name: str, point: Point, found: Load, calls: int) -> None:
        """See that hits were hits, and misses misses."""
        if found.errors:
            self.figures.skipped.append(f"{name}, {point}: {found.errors} requests failed")
        if point.prompts != "new" and calls and name not in (DIRECT, FORWARDER):
            self.figures.skipped.append(f"{name}, {point}: {calls} calls of the provider, where all are hits")

    def first_events(self, names: Sequence[str], seconds: float) -> None:
        """Measure how soon a streamed miss begins."""
        for name in names:
            if name in self.subjects:
                found = first_event_ms(self.subjects[name], STREAMED_MISS, seconds)
                self.figures.first_events[name].append(found)
                self._log(f"  {name:28} first event of a streamed miss: {found:.1f} ms")

    def fill(self, entries: int) -> Point:
        """Store answers to so many prompts in our SQLite store, as the proxy does; the point reads them.

        LiteLLM has no other way than to call the provider for each, at its 80 a second.
        """
        point = Point(16, prompts="many", among=entries)
        answer = served_body(self._upstream)
        headers = [("authorization", f"Bearer {KEY}"), ("content-type", "application/json")]
        with Cache(self._sqlite("plain")) as cache:
            for start in range(0, entries, 1000):
                requests, answers = [], []
                for number in range(start, min(start + 1000, entries)):
                    body = body_of(point, f" {number}").encode()
                    wire = read_request("POST", self._upstream.url + PATH, headers, body, secret=NO_SECRET)
                    assert wire is not None
                    request = request_to(cache.engine, wire)
                    assert request is not None
                    requests.append(request)
                    answers.append(packed(wire, 200, headers[1:], answer))
                cache.engine.store_many(requests, answers, 1.0)
        return point

    def finish(self) -> Figures:
        """Read the memory of all, and return the figures."""
        for name in self.names:
            if name in self.subjects:
                subject = self.subjects[name]
                self.figures.memory[name] = (subject.start_mb, subject.memory_mb())
        return self.figures


def served_body(upstream: Subject) -> bytes:
    """The answer of the provider."""
    sent = urllib.request.Request(upstream.url + PATH, body_of(Point(1), "x").encode(), {})
    with urllib.request.urlopen(sent) as reply:
        found: bytes = reply.read()
        return found


def measured(folder: Path, log: Callable[[str], object], *, rounds: int, quick: bool, rivals: bool) -> Figures:
    """Measure all.

    Args:
        folder: for stores and logs.
        log: is given a line about each step.
        rounds: how often.
        quick: only 16 connections, and few seconds.
        rivals: LiteLLM too.
    """
    with ExitStack() as stack:
        bench = Bench(folder, stack, log, rivals=rivals)
        bench.start()
        many = bench.fill(2_000 if quick else 100_000)
        for number in range(rounds):
            log(f"round {number + 1} of {rounds}")
            for point in HITS:
                if quick and point.connections != 16:
                    continue
                bench.measure(point, (OURS, LOCAL, REDIS, F), 1 if quick else 2)
                if point.connections < 64 or not point.streams:
                    theirs = (THEIR_LOCAL,) if point.streams else (THEIR_DISK, THEIR_LOCAL, THEIR_REDIS)
                    bench.measure(point, theirs, 5 if point.streams else 2)
            bench.measure(many, (OURS,), 1 if quick else 3)
            for connections in (16,) if quick else (16, 64):
                bench.measure(Point(connections, False), (TWO, F_TWO), 1 if quick else 2)
            proxies = (DIRECT, OURS, REDIS, FORWARDER, THEIR_DISK, THEIR_REDIS)
            for point in MISSES:
                if not quick or point.connections == 16:
                    bench.measure(point, proxies, 2 if quick else 3)
            bench.first_events(proxies, 2 if quick else 3)
            for name in (OURS, F):
                bench.start_again(name)
        return bench.finish()
