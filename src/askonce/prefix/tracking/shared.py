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
from askonce.concurrency.background import BackgroundWorker
from askonce.entries.codec import Codec
from askonce.entries.decodable import decodable
from askonce.prefix.requests.chain import Chain
from askonce.prefix.requests.rules import rule_for
from askonce.prefix.tracking.aggregates import RETENTION_DAYS, Aggregates, days_namespace, log_namespace
from askonce.prefix.tracking.history import History, Recent, Sent
from askonce.stores.base import Record
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown
from askonce.stores.fork import reset_after_fork

_EVERY_SECONDS, _TOTALS_EVERY_SECONDS, _CLOSE_SECONDS = 0.25, 2.0, 5.0
_MOST_WAITING = 5_000
_BASE_SECONDS = 60.0


@decodable
class PublishedRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request that was sent.

    Segments and steps that a request before had are not repeated.

    Attributes:
        chain: the request, without the repeated segments and steps, and without texts.
        base: the running digest of the last repeated segment.
        shared: how many segments are repeated.
        shared_steps: how many steps are repeated.
        marks: the lifetimes that breakpoints at repeated segments set.
        endings: the repeated segments where the provider may place a breakpoint.
        application: see `askonce.prefix.tracking.history.Sent`.
        at: likewise.
        available_at: see `askonce.prefix.tracking.history.History.record`.
        machine: likewise.
    """

    chain: Chain
    base: bytes
    shared: int
    shared_steps: int
    marks: dict[int, str]
    endings: list[int]
    application: str
    at: float
    available_at: float
    machine: int


def to_publish(sent: Sent, machine: int, available_at: float, published: Recent[bytes, float]) -> PublishedRequest:
    """A request as it is published; ``published`` holds which prefixes were published, and when."""
    chain, base, shared = sent.chain, b"", 0
    for number, segment in enumerate(chain.segments, 1):
        if published.get(chain.scope + segment.running, 0.0) > sent.at - _BASE_SECONDS:
            base, shared = segment.running, number
    repeated, new = chain.segments[:shared], chain.segments[shared:]
    tokens = sum(segment.tokens for segment in repeated)
    steps = sum(at <= tokens for at in chain.step_tokens) if chain.exact else 0
    for segment in new:
        published[chain.scope + segment.running] = sent.at
    short = replace(
        chain,
        segments=tuple(replace(segment, text=None) for segment in new),
        steps=chain.steps[steps:],
        step_tokens=chain.step_tokens[steps:],
        features=(),
    )
    marks = {at: segment.mark for at, segment in enumerate(repeated) if segment.mark is not None}
    endings = [at for at, segment in enumerate(repeated) if segment.ending]
    return PublishedRequest(
        short, base, shared, steps, marks, endings, sent.application, sent.at, available_at, machine
    )


def sent_of(request: PublishedRequest, history: History) -> Sent | None:
    """The request; ``None`` if the one whose segments it repeats is not in the history."""
    short, shared, steps = request.chain, request.shared, request.shared_steps
    base = history.with_prefix(short.scope, request.base)
    if len(base.segments) < shared or len(base.steps) < steps:
        return None
    marks, endings = request.marks, request.endings
    repeated = [
        replace(segment, mark=marks.get(at), ending=at in endings)
        for at, segment in enumerate(base.segments[:shared])
    ]
    chain = replace(
        short,
        segments=(*repeated, *short.segments),
        steps=(*base.steps[:steps], *short.steps),
        step_tokens=(*base.step_tokens[:steps], *short.step_tokens),
    )
    return Sent(chain, request.at, request.application)


@decodable
class PrefixDelta(msgspec.Struct, frozen=True, array_like=True):
    """What one process sent."""

    requests: list[PublishedRequest]


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
        self._log, self.days = log_namespace(namespace), days_namespace(namespace)
        self._start()
        reset_after_fork(self)

    def _start(self) -> None:
        self._lock, self._writing = threading.RLock(), threading.RLock()
        self._waiting: list[tuple[Sent, int, float]] = []
        self._published: Recent[bytes, float] = Recent(20_000)
        self._follower = Follower(self._breaker, self._codec, self._log, self, expires_at=self._expires_at)
        self._worker = BackgroundWorker("askonce-prefix", self._step, _TOTALS_EVERY_SECONDS, _EVERY_SECONDS)
        self._is_woken = self._is_closing = self._is_started = False
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
        """Publish what is left, and end the thread."""
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
        with self._writing:  # or an older record would replace a newer one
            self._write_changed()

    def _write_changed(self) -> None:
        self._totals_at = time.monotonic()
        if not self._aggregates.dirty:
            return
        self._follower.step()  # what was erased meanwhile is not written again
        if self._put_changed():
            self._follower.step()
            if self._aggregates.dirty:  # something was erased while it was written
                self._put_changed()

    def _put_changed(self) -> bool:
        records = self._aggregates.changed()
        expires = self._clock() + RETENTION_DAYS * 86_400
        days = [Record(key, value, expires) for key, value in records]
        try:
            self._breaker.call(self._breaker.store.put, self.days, days)
        except StoreDown:
            self._aggregates.again()
            return False
        return True

    # -- shared state ------------------------------------------------------------------------------------------

    def take(self) -> PrefixDelta | None:
        """The requests that were not published yet."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return PrefixDelta([to_publish(*one, self._published) for one in waiting]) if waiting else None

    def merge(self, delta: PrefixDelta, *, is_new: bool) -> None:
        """Take in what another process sent."""
        for one in delta.requests if is_new else ():
            rule, sent = rule_for(one.chain.provider, one.chain.model), sent_of(one, self._history)
            if rule is not None and sent is not None:
                self._history.record_route(sent, rule)
                self._history.record(sent, rule, one.machine, one.available_at)

    def snapshot(self) -> tuple[PrefixDelta | None, PrefixDelta]:
        """There is none: what was sent long ago is of no use."""
        return self.take(), PrefixDelta([])

    def restart(self, snapshot: PrefixDelta | None) -> None:
        """Forget texts, if this is not the start: the log begins anew where something was erased."""
        if self._is_started:
            with self._history.lock:
                self._history.clear()
            self._aggregates.forget_examples()
        self._is_started = True

    def _expires_at(self, delta: PrefixDelta) -> float:
        lifetimes = [
            rule.lifetime(one.chain.retention).idle_seconds
            for one in delta.requests
            if (rule := rule_for(one.chain.provider, one.chain.model)) is not None
        ]
        return self._clock() + max(lifetimes, default=0.0) + _BASE_SECONDS
