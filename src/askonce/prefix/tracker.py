"""`PrefixTracker`: what the provider's prompt cache read of each request, what it missed, and why.

    tracker = PrefixTracker("sqlite:///cache.db")
    call = tracker.start(payload, "anthropic")     # before the request is sent
    ...
    diagnosis = call.finish(usage, seconds=1.2)    # when it was answered

Adapters do this for LangChain and LlamaIndex (``askonce.langchain.PrefixTracker``,
``askonce.llama_index.PrefixTracker``). No text of a prompt is stored, in memory or in the store, unless
``keep_text=True``: digests and lengths suffice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypedDict

from askonce.concurrency.closing import Closing
from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Usage
from askonce.errors import ConfigError
from askonce.estimators.regression import LinearRegression
from askonce.options import CacheOptions, check_name
from askonce.prefix.report.report import PrefixReport, report_of
from askonce.prefix.requests.chain import Chain, chain_of
from askonce.prefix.requests.rules import ProviderRule, rule_for
from askonce.prefix.requests.tokens import Count, Counter, GivenCounter, LearnedCounter, tiktoken_counter
from askonce.prefix.requests.wire import request_of
from askonce.prefix.tracking.aggregates import (
    Aggregates,
    Day,
    SegmentSums,
    Sums,
    added_up,
    culprit_of,
    day_of,
    gap_class,
    shown_label,
)
from askonce.prefix.tracking.costs import lost_usd_of, saved_usd_of
from askonce.prefix.tracking.diagnosis import Diagnosis, diagnose
from askonce.prefix.tracking.history import MOST_ENTRIES, History, Recent, Sent
from askonce.prefix.tracking.losses import Cause, too_many_marks
from askonce.prefix.tracking.prediction import NOTHING, Prediction, predict
from askonce.prefix.tracking.shared import SharedHistory
from askonce.storage.sealed_store import SealedStore
from askonce.stores import Client, Store, open_store
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, Clock
from askonce.stores.circuit_breaker import CircuitBreaker
from askonce.stores.configured import default_namespace
from askonce.stores.configured import encryption_keys as default_keys
from askonce.totals.writer import TotalsWriter

logger = logging.getLogger("askonce")

_SAME_TOKENIZER = ("openai",)
_SECONDS_PRIOR, _SECONDS_DOUBT = (0.5, 1e-4, 0.01), (1.0, 1e-4, 0.01)
"""Of a call: seconds at least, for each token of the prompt that is not read, for each token of the answer."""


class TrackedCall:
    """A request under way; made by `PrefixTracker.start`.

    Attributes:
        chain: the request.
        rule: its provider's rule; ``None`` if none is known, and then there is no diagnosis.
        prediction: what it reads and writes by the rule, as far as is known when it is sent.
    """

    def __init__(
        self, tracker: PrefixTracker, sent: Sent, rule: ProviderRule | None, machine: int, prediction: Prediction
    ) -> None:
        self._tracker, self._sent, self._machine = tracker, sent, machine
        self.chain, self.rule, self.prediction = sent.chain, rule, prediction
        self._available_at: float | None = None
        self._began, self._done = time.monotonic(), False

    def answering(self) -> None:
        """Record that the answer begins: from now on others can read what this request wrote."""
        if self._available_at is None:
            self._available_at = self._tracker.clock()

    def finish(self, usage: Usage | None, seconds: float | None = None) -> Diagnosis | None:
        """Record that the request was answered.

        Args:
            usage: what the provider reported, see `askonce.prefix.requests.usage.usage_of`; ``None`` for nothing.
            seconds: how long the call took; by default since `start`.

        Returns:
            what became of it; ``None`` if no rule is known for the model, or the call has ended before.
        """
        if self._done or self.rule is None:
            return None
        self._done = True
        self.answering()
        seconds = time.monotonic() - self._began if seconds is None else seconds
        return self._tracker._finished(self, usage, seconds)

    def discard(self) -> None:
        """Record that the request was not sent after all: a cache of the application's own answered it."""
        if not self._done:
            self._done = True
            self._tracker.history.unroute(self.chain, self._sent.at)

    def fail(self) -> Diagnosis | None:
        """Record that the request failed; a diagnosis follows only if it has too many breakpoints."""
        if self._done or self.rule is None:
            return None
        self._done = True
        return self._tracker._refused(self) if too_many_marks(self.chain, self.rule) else None


class TrackerOptions(TypedDict, total=False):
    """The options of `PrefixTracker`, for adapters that pass them on; see there."""

    namespace: str | None
    application: str
    keep_text: bool
    encryption_keys: tuple[bytes, ...] | None
    count_tokens: Count | None
    on_diagnosis: Callable[[Diagnosis, Chain], None] | None
    most: int
    timeout_seconds: float
    clock: Callable[[], float]


class PrefixTracker:
    """Sees what providers read from their prompt caches, and says why it is not more. Thread-safe.

    Tokens are counted by ``count_tokens``; else with ``tiktoken``, for OpenAI's models, where its encoding is on
    this machine; else they are estimated from characters, which is learned from the provider's figures.

    What a lost token costs: ``lost_usd`` is the price (by ``genai-prices``) of the request as it was billed minus
    that of the same request with the lost tokens read. ``lost_seconds`` is the lost tokens times the seconds that
    one costs, which is fitted for each model: ``seconds = a + b × (input - read) + c × output``, beginning with
    10,000 tokens a second.

    Args:
        store: where processes share what they sent, and where the sums for reports are stored: a URL, a store, or
            ``None`` for this process's memory alone.
        namespace: keeps this apart from others in the store; by default as for `askonce.Cache`.
        application: the name under which this process's requests are counted.
        keep_text: keep texts in memory to show the smallest difference; in the store only that difference stands.
        encryption_keys: as for `askonce.Cache`; they seal what processes share, and the differences.
        count_tokens: the tokens of a text.
        on_diagnosis: called with each diagnosis and its request.
        most: how many prefixes are remembered in memory, and five times as many steps of automatic caches. With
            prompts of 30,000 tokens a prefix takes some 4 kB, and 15 kB where the cache is automatic.
        timeout_seconds: how long the store may take for one call.
        clock: seconds since the epoch.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(
        self,
        store: str | Store | Client | None = None,
        *,
        namespace: str | None = None,
        application: str = "",
        keep_text: bool = False,
        encryption_keys: tuple[bytes, ...] | None = None,
        count_tokens: Count | None = None,
        on_diagnosis: Callable[[Diagnosis, Chain], None] | None = None,
        most: int = MOST_ENTRIES,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if namespace is None:
            namespace = default_namespace()
        if encryption_keys is None:
            encryption_keys = tuple(default_keys())
        check_name("namespace", namespace)
        if application:
            check_name("application", application)
        if count_tokens is not None and not callable(count_tokens):
            raise ConfigError(f"count_tokens is a function from a text to its tokens, got {count_tokens!r}")
        self.namespace, self.application = namespace, application
        self.clock, self.keep_text = clock, keep_text
        self.history, self.aggregates = History(most), Aggregates()
        self._codec, self._on_diagnosis = Codec(encryption_keys), on_diagnosis
        self._given = GivenCounter(count_tokens) if count_tokens is not None else None
        self._counters: dict[tuple[str, str], Counter] = {}
        self._speeds: dict[tuple[str, str], LinearRegression] = {}
        self._unknown: Recent[tuple[str, str], None] = Recent(1_000)
        self._shared: SharedHistory | None = None
        self._store: Store | None = None
        self._totals: TotalsWriter | None = None
        self._closing: Closing | None = None
        if store is not None:
            opened = store if isinstance(store, Store) else open_store(store, timeout_seconds=timeout_seconds)
            self._store, breaker = opened, CircuitBreaker(opened, timeout_seconds)
            self._shared = SharedHistory(breaker, self._codec, namespace, self.history, self.aggregates, clock)
            self._totals = _totals_writer(opened, encryption_keys, timeout_seconds, namespace, clock)
            owned = None if isinstance(store, Store) else opened
            self._closing = Closing(self, _close, self._shared, self._totals, owned)

    # -- requests --------------------------------------------------------------------------------------------

    def start(self, payload: Mapping[str, Any], provider: str, *, application: str | None = None) -> TrackedCall:
        """Record that a request is sent. A model without a rule is logged once.

        Args:
            payload: the body of the request as it goes over the wire.
            provider: ``openai``, ``anthropic``, ``gemini``, ``bedrock``, ``deepseek``, ``vllm`` or ``sglang``.
            application: whose request it is, if not the tracker's.

        Raises:
            ConfigError: the payload is of no known form.
        """
        request = request_of(payload, provider)
        rule = rule_for(provider, request.model)
        counter = self.counter(provider, request.model)
        chain = chain_of(request, provider, counter=counter, rule=rule, keep_text=self.keep_text)
        now = self.clock()
        machine, prediction = 0, NOTHING
        if rule is not None:
            if self._shared is not None:
                self._shared.wake()
            with self.history.lock:
                machine = self.history.route(chain, rule, now)
                prediction = predict(chain, rule, self.history.known(chain, machine), now)
        elif (provider, request.model) not in self._unknown:
            self._unknown[provider, request.model] = None
            logger.warning(
                "askonce: no rule is known for %s of %s: its prompts are not tracked", request.model, provider
            )
        sent = Sent(chain, now, self.application if application is None else application)
        return TrackedCall(self, sent, rule, machine, prediction)

    def observe(
        self,
        payload: Mapping[str, Any],
        provider: str,
        usage: Usage | None,
        seconds: float = 0.0,
        *,
        application: str | None = None,
    ) -> Diagnosis | None:
        """`start` and `TrackedCall.finish` in one, for a request that was answered already."""
        return self.start(payload, provider, application=application).finish(usage, seconds)

    def counter(self, provider: str, model: str) -> Counter:
        """What counts, or estimates, the tokens of a model."""
        if self._given is not None:
            return self._given
        name = (provider, model)
        counter = self._counters.get(name)
        if counter is None:
            counted = tiktoken_counter(model) if provider in _SAME_TOKENIZER else None
            counter = self._counters.setdefault(name, counted or LearnedCounter())
        return counter

    def _finished(self, call: TrackedCall, usage: Usage | None, seconds: float) -> Diagnosis:
        sent, rule = call._sent, call.rule
        assert rule is not None and call._available_at is not None
        chain = call.chain.scaled(usage.input_tokens if usage is not None else 0)
        sent = Sent(chain, sent.at, sent.application)
        with self.history.lock:
            diagnosis = diagnose(
                chain, self.history, rule, usage, sent.at, machine=call._machine, prediction=call.prediction
            )
            segments = self._segment_sums(sent)
            self.history.record(sent, rule, call._machine, call._available_at)
        if self._shared is not None:
            self._shared.publish(sent, call._machine, call._available_at)
        if usage is not None and usage.input_tokens:
            self._learn(chain, usage, seconds)
        self._count(call, diagnosis, segments)
        return diagnosis

    def _refused(self, call: TrackedCall) -> Diagnosis:
        assert call.rule is not None
        tokens = call.chain.tokens
        diagnosis = Diagnosis(Cause.TOO_MANY_MARKS, input_tokens=tokens, reported=False)
        self._count(call, diagnosis, [])
        return diagnosis

    def _learn(self, chain: Chain, usage: Usage, seconds: float) -> None:
        counter = self.counter(chain.provider, chain.model)
        if isinstance(counter, LearnedCounter) and chain.features:
            counter.learn(chain.features, usage.input_tokens)
        if seconds > 0:
            features = (1.0, float(usage.input_tokens - usage.cache_read_tokens), float(usage.output_tokens))
            self._speed(chain).learn(features, seconds, noise=0.2 + 0.3 * seconds)

    def _speed(self, chain: Chain) -> LinearRegression:
        name = (chain.provider, chain.model)
        return self._speeds.setdefault(name, LinearRegression(_SECONDS_PRIOR, _SECONDS_DOUBT))

    # -- sums ------------------------------------------------------------------------------------------------

    def _count(self, call: TrackedCall, diagnosis: Diagnosis, segments: list[SegmentSums]) -> None:
        chain, sent, rule = call.chain, call._sent, call.rule
        assert rule is not None
        lost_usd = lost_usd_of(chain.model, diagnosis)
        example = diagnosis.difference
        row = Sums(
            application=sent.application,
            provider=chain.provider,
            model=chain.model,
            family=chain.family,
            cause=diagnosis.cause.value,
            segment=culprit_of(diagnosis),
            requests=1,
            unknown=int(diagnosis.cause is Cause.UNKNOWN),
            input_tokens=diagnosis.input_tokens if diagnosis.cause is not Cause.UNKNOWN else 0,
            readable_tokens=diagnosis.readable_tokens,
            predicted_tokens=diagnosis.predicted_read_tokens if diagnosis.cause is not Cause.UNKNOWN else 0,
            read_tokens=diagnosis.read_tokens,
            written_tokens=diagnosis.written_tokens,
            lost_tokens=diagnosis.lost_tokens,
            lost_usd=lost_usd or 0.0,
            lost_seconds=diagnosis.lost_tokens * max(0.0, self._speed(chain).weights[1]),
            unpriced=int(lost_usd is None),
            disagreed=int(diagnosis.reported and not diagnosis.agrees(chain, rule)),
            looks_like=diagnosis.looks_like,
            example=self._codec.encode(Entry(str(example).encode(), sent.at)) if example is not None else b"",
            remedy=diagnosis.remedy(rule),
            machines=call._machine + 1,
        )
        self.aggregates.add(day_of(sent.at), row, segments)
        if self._totals is not None and (row.read_tokens or row.written_tokens):
            amounts = {
                "prompt_read_tokens": row.read_tokens,
                "prompt_written_tokens": row.written_tokens,
                "prompt_saved_usd": saved_usd_of(chain.model, diagnosis),
            }
            self._totals.add(int(sent.at // 3600), ("prefix", chain.model, "", ""), amounts)
        if self._on_diagnosis is not None:
            self._on_diagnosis(diagnosis, chain)

    def _segment_sums(self, sent: Sent) -> list[SegmentSums]:
        chain = sent.chain
        seen, known = self.history.last_seen(chain), self.history.known_segments(chain)
        rows: dict[str, SegmentSums] = {}
        for position, segment in enumerate(chain.segments):
            label, at = shown_label(segment.level, segment.label), seen[position]
            row = rows.get(label)
            if row is None:
                row = rows[label] = SegmentSums(sent.application, chain.family, position, segment.level, label)
            row.requests += 1
            row.known += known[position]
            row.tokens += segment.tokens
            row.characters += segment.characters
            if at is not None:
                row.prefix_known += 1
                row.gaps[gap_class(sent.at - at)] += 1
        return list(rows.values())

    def days(self) -> list[Day]:
        """The sums of all processes, for each day of the last 90; of this process alone if there is no store.

        Raises:
            StoreError: the store cannot be read.
        """
        if self._shared is None:
            return self.aggregates.days()
        self.sync()
        assert self._store is not None
        return added_up(value for _, value in self._store.scan(self._shared.days))

    def report(self, days: int | None = None) -> PrefixReport | None:
        """What was read and lost, to what, and what to change; ``None`` if nothing was tracked.

        Args:
            days: the last so many; by default all that are stored.

        Raises:
            StoreError: the store cannot be read.
        """
        return report_of(self.days(), example_of=self.example_of, most_days=days)

    def example_of(self, row: Sums) -> str:
        """The difference that a row of `days` shows, with ``keep_text``.

        Raises:
            CodecError: it is sealed with a key that this tracker does not have.
        """
        return self._codec.decode(row.example).payload.decode() if row.example else ""

    # -- life ------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Share now what was sent, and read what others did; done in the background otherwise."""
        if self._shared is not None:
            self._shared.sync()
        if self._totals is not None:
            self._totals.write()

    def close(self) -> None:
        """Write what is left to the store, and end the thread. Also done at the end of the program."""
        if self._closing is not None:
            self._closing()

    def __enter__(self) -> PrefixTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tracker_of(store: str | Store | Client | PrefixTracker | None, options: TrackerOptions) -> PrefixTracker:
    """The tracker that an adapter is to use.

    Args:
        store: a tracker, which is used as it is, or what `PrefixTracker` takes.
        options: further arguments of `PrefixTracker`.

    Raises:
        ConfigError: a tracker is given and options too, or `PrefixTracker` raises it.
    """
    if not isinstance(store, PrefixTracker):
        return PrefixTracker(store, **options)
    if options:
        raise ConfigError(f"{', '.join(options)}: give options to the tracker, not beside it")
    return store


def _totals_writer(
    store: Store, encryption_keys: tuple[bytes, ...], timeout_seconds: float, namespace: str, clock: Clock
) -> TotalsWriter:
    """What writes to the totals of a cache with the same store, keys and namespace."""
    sealed = SealedStore(store, encryption_keys) if encryption_keys else store
    name = CacheOptions().namespace(namespace)
    return TotalsWriter(CircuitBreaker(sealed, timeout_seconds), Codec(encryption_keys), name, clock)


def _close(shared: SharedHistory, totals: TotalsWriter, owned: Store | None) -> None:
    shared.close()
    totals.close()
    if owned is not None:
        owned.close()
