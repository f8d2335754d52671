"""What processes tell one another of sent requests, through the store.

The data, in namespace ``<namespace>:prefix``: each process puts what it sent lately into records (random key, a
list of `Sighting` in MessagePack), which expire with the longest lifetime among them, and appends the key to the
namespace's change log. All read the log and the records that it names. A thread does it, while requests are under
way: half a second after a request all processes know of it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from askonce.eviction.policy import Budget
from askonce.prefix.requests.chain import STEP_BYTES, Chain, Segment, scope_of
from askonce.prefix.requests.rules import Level, rule_for
from askonce.prefix.tracking.aggregates import KEPT_DAYS, Aggregates, days_namespace
from askonce.prefix.tracking.history import History, Recent, Sent
from askonce.stores.base import Record, Store
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

logger = logging.getLogger("askonce")

_EVERY_SECONDS, _TOTALS_EVERY_SECONDS = 0.25, 2.0
_READ_BACK = 5_000
"""How many of the latest events a new process reads."""
_MOST_WAITING = 5_000
_BASE_SECONDS = 60.0
_ROOM = Budget(max_bytes=256 * 2**20)
_PAGE = 500

_Row = tuple[Level, str, str, bytes, bytes, bytes, int, int, bytes]


class Sighting(msgspec.Struct, array_like=True):
    """A request that was sent: digests and lengths, no texts.

    Segments and steps that a request before had are not repeated: ``base`` is the running digest of the last of
    them, ``shared`` their number and ``shared_steps`` that of the steps.
    """

    provider: str
    model: str
    cache_key: str
    retention: str | None
    implicit: bool
    parameters: dict[str, dict[str, bytes]]
    application: str
    at: float
    available_at: float
    machine: int
    route: bytes
    exact: bool
    base: bytes
    shared: int
    shared_steps: int
    segments: list[_Row]
    marks: dict[int, str]
    endings: list[int]
    steps: bytes
    step_tokens: list[int]


def sighting_of(sent: Sent, machine: int, available_at: float, published: Recent[bytes, float]) -> Sighting:
    """What is told of a request; ``published`` remembers what was told before."""
    chain, base, shared = sent.chain, b"", 0
    for number, segment in enumerate(chain.segments, 1):
        if published.get(chain.scope + segment.running, 0.0) > sent.at - _BASE_SECONDS:
            base, shared = segment.running, number
    tokens = sum(segment.tokens for segment in chain.segments[:shared])
    steps = sum(at <= tokens for at in chain.step_tokens) if chain.exact else 0
    for segment in chain.segments[shared:]:
        published[chain.scope + segment.running] = sent.at
    return Sighting(
        provider=chain.provider,
        model=chain.model,
        cache_key=chain.cache_key,
        retention=chain.retention,
        implicit=chain.implicit,
        parameters={level: dict(named) for level, named in chain.parameters.items()},
        application=sent.application,
        at=sent.at,
        available_at=available_at,
        machine=machine,
        route=chain.route,
        exact=chain.exact,
        base=base,
        shared=shared,
        shared_steps=steps,
        segments=[
            (s.level, s.label, s.kind, s.digest, s.running, s.content, s.characters, s.tokens, s.pieces)
            for s in chain.segments[shared:]
        ],
        marks={at: segment.mark for at, segment in enumerate(chain.segments) if segment.mark is not None},
        endings=[at for at, segment in enumerate(chain.segments) if segment.ending],
        steps=b"".join(chain.steps[steps:]),
        step_tokens=list(chain.step_tokens[steps:]),
    )


def sent_of(told: Sighting, history: History) -> Sent | None:
    """The request, or ``None`` if what it shares with one before is not known here."""
    base = history.with_prefix(scope_of(told.provider, told.model, told.cache_key), told.base)
    shared, steps, step_tokens = base.segments[: told.shared], base.steps, base.step_tokens
    if len(shared) < told.shared or len(steps) < told.shared_steps:
        return None
    endings = set(told.endings)
    segments = [replace(s, mark=told.marks.get(at), ending=at in endings) for at, s in enumerate(shared)] + [
        Segment(*row[:8], mark=told.marks.get(at), ending=at in endings, pieces=row[8])
        for at, row in enumerate(told.segments, told.shared)
    ]
    more = (told.steps[at : at + STEP_BYTES] for at in range(0, len(told.steps), STEP_BYTES))
    chain = Chain(
        provider=told.provider,
        model=told.model,
        cache_key=told.cache_key,
        retention=told.retention,
        implicit=told.implicit,
        parameters=told.parameters,
        segments=tuple(segments),
        route=told.route,
        steps=(*steps[: told.shared_steps], *more),
        step_tokens=(*step_tokens[: told.shared_steps], *told.step_tokens),
        exact=told.exact,
    )
    return Sent(chain, told.at, told.application)


class Exchange:
    """Publishes what this process sent, and takes in what others did. Thread-safe.

    Args:
        guard: the store.
        namespace: of the tracker.
        history: takes in what others sent.
        aggregates: written to the store every two seconds while they change.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        namespace: str,
        history: History,
        aggregates: Aggregates,
        clock: Callable[[], float],
    ) -> None:
        self._breaker, self._history, self._aggregates, self._clock = breaker, history, aggregates, clock
        self.namespace, self.days = f"{namespace}:prefix", days_namespace(namespace)
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[Sighting])
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._waiting: list[tuple[Sent, int, float]] = []
        self._published: Recent[bytes, float] = Recent(20_000)
        self._own: set[bytes] = set()
        self._after: int | None = None
        self._nudged = self._closed = False
        self._totals_at = 0.0
        self._thread: threading.Thread | None = None

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():  # the thread stayed in the parent, and what was counted is the parent's
            self._aggregates.forked()
            self._start_afresh()

    @property
    def store(self) -> Store:
        """Where it is kept."""
        return self._breaker.store

    def nudge(self) -> None:
        """A request is under way: read soon what others sent."""
        self._notice_fork()
        with self._changed:
            self._nudged = True
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="askonce-prefix", daemon=True)
                self._thread.start()
            self._changed.notify()

    def tell(self, sent: Sent, machine: int, available_at: float) -> None:
        """Publish a request soon."""
        self._notice_fork()
        with self._changed:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append((sent, machine, available_at))
        self.nudge()

    def sync(self) -> None:
        """Publish and read now."""
        self._notice_fork()
        with self._turn:
            try:
                self._publish()
                self._read()
                self._write_totals()
            except StoreDown:
                pass  # counted and told by the guard; the view of this process goes on

    def close(self) -> None:
        """Publish what is left, and end the thread."""
        self._notice_fork()
        with self._changed:
            self._closed = True
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        self.sync()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._nudged and not self._closed:
                    self._changed.wait(_TOTALS_EVERY_SECONDS if self._aggregates.dirty else None)
                self._nudged = False
                if self._closed:
                    return
            try:
                self._turn_once()
            except Exception:
                logger.exception("askonce: a prefix tracker could not share what was sent")
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=_EVERY_SECONDS)

    def _turn_once(self) -> None:
        with self._turn:
            try:
                self._publish()
                self._read()
                if time.monotonic() - self._totals_at >= _TOTALS_EVERY_SECONDS:
                    self._write_totals()
            except StoreDown:
                pass

    def _publish(self) -> None:
        with self._changed:
            waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        told = [sighting_of(*one, self._published) for one in waiting]
        lifetimes = [
            rule.lifetime(sent.chain.retention).idle_seconds if rule else 0.0
            for sent, _, _ in waiting
            for rule in (rule_for(sent.chain.provider, sent.chain.model),)
        ]
        key = os.urandom(16)
        self._own.add(key)
        record = Record(key, self._encoder.encode(told), self._clock() + max(lifetimes) + _BASE_SECONDS, 1.0)
        self._breaker.call(self.store.put, self.namespace, [record], _ROOM)
        self._breaker.call(self.store.log_append, self.namespace, key)

    def _read(self) -> None:
        if self._after is None:
            head = self._breaker.call(self.store.log_read, self.namespace, 0, 1).head
            self._after = max(0, head - _READ_BACK)
        while True:
            page = self._breaker.call(self.store.log_read, self.namespace, self._after, _PAGE)
            if page.head < self._after:  # the log was lost, and begins anew
                self._after = 0
                continue
            if not page.events:
                return
            keys = [key for _, key in page.events if key not in self._own]
            self._own.difference_update(key for _, key in page.events)
            self._after = page.events[-1][0]
            for value in self._breaker.call(self.store.get_many, self.namespace, keys) if keys else []:
                if value is not None:
                    self._take_in(value)

    def _take_in(self, value: bytes) -> None:
        try:
            several = self._decoder.decode(value)
        except msgspec.MsgspecError:
            return  # of a newer version
        for told in several:
            rule, sent = rule_for(told.provider, told.model), sent_of(told, self._history)
            if rule is not None and sent is not None:
                self._history.note_route(sent, rule)
                self._history.note(sent, rule, told.machine, told.available_at)

    def _write_totals(self) -> None:
        self._totals_at = time.monotonic()
        records = self._aggregates.changed()
        if not records:
            return
        expires = self._clock() + KEPT_DAYS * 86_400
        try:
            self._breaker.call(self.store.put, self.days, [Record(key, value, expires) for key, value in records])
        except StoreDown:
            self._aggregates.again()
            raise
