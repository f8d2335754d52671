"""What processes share of the requests that they sent: digests and lengths, no texts.

Deltas are put into records of the namespace ``<namespace>:prefix``, which expire with the longest lifetime among
their requests; its change log holds their keys. While requests are under way, half a second after a request all
processes know of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from askonce.changelog.follower import Follower
from askonce.concurrency.background import BackgroundWorker, reset_after_fork
from askonce.entries.codec import Codec
from askonce.prefix.requests.chain import STEP_BYTES, Chain, Segment, scope_of
from askonce.prefix.requests.rules import Level, rule_for
from askonce.prefix.tracking.aggregates import KEPT_DAYS, Aggregates, days_namespace
from askonce.prefix.tracking.history import History, Recent, Sent
from askonce.stores.base import Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

_EVERY_SECONDS, _TOTALS_EVERY_SECONDS, _CLOSE_SECONDS = 0.25, 2.0, 5.0
_MOST_WAITING = 5_000
_BASE_SECONDS = 60.0

_Row = tuple[Level, str, str, bytes, bytes, bytes, int, int, bytes]


class Sighting(msgspec.Struct, array_like=True):
    """A request that was sent.

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


class PrefixDelta(msgspec.Struct, frozen=True, array_like=True):
    """What one process sent."""

    sightings: list[Sighting]


class SharedHistory:
    """Publishes what this process sent, and takes in what others did. Thread-safe.

    Args:
        breaker: the store's.
        codec: seals what is published.
        namespace: of the tracker.
        history: takes in what others sent.
        aggregates: written to the store every two seconds while they change.
        clock: seconds since the epoch.

    Attributes:
        days: the namespace of the aggregates.
        delta_type: see `askonce.changelog.follower.SharedState`.
        snapshot_type: likewise.
    """

    delta_type = snapshot_type = PrefixDelta

    def __init__(
        self,
        breaker: CircuitBreaker,
        codec: Codec,
        namespace: str,
        history: History,
        aggregates: Aggregates,
        clock: Callable[[], float],
    ) -> None:
        self._breaker, self._codec, self._clock = breaker, codec, clock
        self._history, self._aggregates = history, aggregates
        self._log, self.days = f"{namespace}:prefix", days_namespace(namespace)
        self._start()
        reset_after_fork(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[Sent, int, float]] = []
        self._published: Recent[bytes, float] = Recent(20_000)
        self._follower = Follower(self._breaker, self._codec, self._log, self, expires_at=self._expires_at)
        self._worker = BackgroundWorker("askonce-prefix", self._step, _TOTALS_EVERY_SECONDS, _EVERY_SECONDS)
        self._is_woken = self._is_closing = False
        self._totals_at = 0.0

    def after_fork(self) -> None:
        self._aggregates.clear()  # what was counted is the parent's
        self._start()

    def wake(self) -> None:
        """A request is under way: read soon what others sent."""
        self._is_woken = True
        self._worker.wake()

    def publish(self, sent: Sent, machine: int, available_at: float) -> None:
        """Publish a request soon."""
        with self._lock:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append((sent, machine, available_at))
        self.wake()

    def sync(self) -> None:
        """Publish and read now."""
        self._follower.step()
        self._write_totals()

    def close(self) -> None:
        """Publish what is left, and end the thread.

        The thread does it: where the garbage collector calls this, a lock of the store may be held by whoever is
        interrupted.
        """
        self._is_closing = True
        if self._waiting or self._aggregates.dirty:
            self._worker.wake(now=True)
        self._worker.flush(_CLOSE_SECONDS)
        self._worker.close(_CLOSE_SECONDS)

    def _step(self) -> None:
        woken, self._is_woken = self._is_woken, False
        if woken or self._is_closing:
            self._follower.step()
        if self._is_closing or time.monotonic() - self._totals_at >= _TOTALS_EVERY_SECONDS:
            self._write_totals()

    def _write_totals(self) -> None:
        self._totals_at = time.monotonic()
        records = self._aggregates.changed()
        if not records:
            return
        expires = self._clock() + KEPT_DAYS * 86_400
        days = [Record(key, value, expires) for key, value in records]
        try:
            self._breaker.call(self._breaker.store.put, self.days, days)
        except StoreDown:
            self._aggregates.again()

    # -- shared state ------------------------------------------------------------------------------------------

    def take(self) -> PrefixDelta | None:
        """The requests that were not published yet."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return PrefixDelta([sighting_of(*one, self._published) for one in waiting]) if waiting else None

    def merge(self, delta: PrefixDelta, *, is_new: bool) -> None:
        """Take in what another process sent."""
        for told in delta.sightings if is_new else ():
            rule, sent = rule_for(told.provider, told.model), sent_of(told, self._history)
            if rule is not None and sent is not None:
                self._history.note_route(sent, rule)
                self._history.note(sent, rule, told.machine, told.available_at)

    def snapshot(self) -> tuple[PrefixDelta | None, PrefixDelta]:
        """There is none: what was sent long ago is of no use."""
        return self.take(), PrefixDelta([])

    def restart(self, snapshot: PrefixDelta | None) -> None:
        """Nothing to do, since there is no snapshot."""

    def _expires_at(self, delta: PrefixDelta) -> float:
        lifetimes = [
            rule.lifetime(told.retention).idle_seconds
            for told in delta.sightings
            if (rule := rule_for(told.provider, told.model)) is not None
        ]
        return self._clock() + max(lifetimes, default=0.0) + _BASE_SECONDS
