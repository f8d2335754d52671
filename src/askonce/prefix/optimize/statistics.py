"""What a plan is made from: where breakpoints can go in a family's prompts, and what each would read and write.

A *slot* is a place that each request of a family has, though at another segment each time: the last tool, the
second block of the system prompt, the last segment. Each slot is played by itself, with each lifetime of the rule:
what its entries would be, when they are used and renewed, when they have expired. So the distribution of gaps
between uses is not fitted but counted, renewals included. The sums are plain numbers that add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from askonce.prefix.requests.chain import Chain, Segment, _digest
from askonce.prefix.requests.rules import Level, ProviderRule
from askonce.prefix.tracking.aggregates import GAP_SECONDS, gap_class
from askonce.prefix.tracking.history import Recent, Sent
from askonce.prefix.tracking.prediction import look_back

Turns = Literal["all", "later"]
_MOST_ENTRIES = 20_000
_FRONT_BLOCKS, _FRONT_PARTS = 4, 6


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a breakpoint.

    Attributes:
        level: where it stands.
        index: which segment of the level, from 0; negative from the end. Where there is no such segment, the
            last one before it.
        tail: it moves with the end of the prompt, and there is only one such mark in a request.
        turns: ``later``: only in requests in which the model has already spoken.
        leaves: so many last segments of the messages it does not reach.
    """

    level: Level
    index: int
    tail: bool = False
    turns: Turns = "all"
    leaves: int = 0

    def __str__(self) -> str:
        if self.tail:
            where = "the last segment" if self.index == -1 else "the segment before the last"
            return where + (" of later turns" if self.turns == "later" else "")
        if self.level == "tools":
            return "the last tool"
        name = "block {} of the system prompt" if self.level == "system" else "part {} of the messages"
        return "the last block of the system prompt" if self.index == -1 else name.format(self.index + 1)


@dataclass(frozen=True, slots=True)
class Mark:
    """A breakpoint: where, and for how long what ends there is cached."""

    slot: Slot
    lifetime: str

    def __str__(self) -> str:
        return f"behind {self.slot}, for {self.lifetime}"


LAST_TOOL, LAST_BLOCK = Slot("tools", -1), Slot("system", -1)
TAIL, LATER_TAIL = Slot("messages", -1, tail=True), Slot("messages", -1, tail=True, turns="later")
_BEFORE = Slot("messages", -2, tail=True, leaves=1)
_HEAD = (LAST_TOOL, *(Slot("system", at) for at in range(_FRONT_BLOCKS)), LAST_BLOCK)


def slots_of(rule: ProviderRule) -> tuple[Slot, ...]:
    """The slots that a provider's marks may take, in the order of the prompt."""
    if rule.marking == "automatic":
        return ()
    if rule.marking == "both":  # only parts of messages can be marked, and the last place is the provider's own
        return (*_HEAD[1:], TAIL, LATER_TAIL)
    head = _HEAD if "tools" in rule.order else _HEAD[1:]
    fronts = (Slot("messages", at, leaves=leaves) for leaves in (0, 1) for at in range(_FRONT_PARTS))
    return (*head, *fronts, TAIL, LATER_TAIL, _BEFORE, replace(_BEFORE, turns="later"))


def places_of(slots: Iterable[Slot], chain: Chain, rule: ProviderRule) -> dict[Slot, int | None]:
    """The segment that each slot is at: its index, -1 if nothing stands there or before; ``None`` for no mark."""
    bounds, answered = _bounds(chain, rule), has_answers(chain)
    endings = [at for at, one in enumerate(chain.segments) if one.ending] if rule.marking == "both" else []

    def place(slot: Slot) -> int | None:
        if slot.turns == "later" and not answered:
            return None
        if slot.tail and rule.marking == "both":
            return endings[-1] if endings else None
        first, end = bounds[slot.level]
        if slot.level == "messages" and not slot.tail:
            end = max(first, end - slot.leaves)
        at = first + slot.index if slot.index >= 0 else end + slot.index
        if slot.tail and at < first:
            return None
        return max(first - 1, min(at, end - 1))

    return {slot: place(slot) for slot in slots}


def _bounds(chain: Chain, rule: ProviderRule) -> dict[Level, tuple[int, int]]:
    bounds: dict[Level, tuple[int, int]] = {}
    at = 0
    for level in rule.order:
        first = at
        while at < len(chain.segments) and chain.segments[at].level == level:
            at += 1
        bounds[level] = first, at
    return bounds


def has_answers(chain: Chain) -> bool:
    """Whether the model has already spoken in the conversation."""
    return any(
        one.level == "messages" and (one.kind == "call" or "(assistant)" in one.label or "(model)" in one.label)
        for one in chain.segments
    )


@dataclass(slots=True)
class Span:
    """What a mark does to the tokens between the mark before it and itself, summed over all requests.

    Attributes:
        read: tokens that are read.
        written: tokens that are written.
        rest: tokens behind the mark, for a mark at the tail.
    """

    read: int = 0
    written: int = 0
    rest: int = 0


@dataclass(slots=True)
class Reuse:
    """How often a slot's prefix comes again.

    Attributes:
        requests: that have the slot, with a prefix that is long enough.
        known: in how many of them something of it was sent before, however long ago.
        tokens: of the prefixes, summed.
        gaps: how long before, in the classes of `askonce.prefix.tracking.aggregates.GAP_SECONDS`.
    """

    requests: int = 0
    known: int = 0
    tokens: int = 0
    gaps: list[int] = field(default_factory=lambda: [0] * (len(GAP_SECONDS) + 1))

    @property
    def rate(self) -> float:
        """The share of requests in which it was known."""
        return self.known / self.requests if self.requests else 0.0


SpanName = tuple[Slot | None, Slot, str]


@dataclass
class ChainStatistics:
    """What is known of the requests of one family.

    Attributes:
        rule: the provider's.
        model: as the requests name it.
        requests: how many.
        tokens: of their prompts.
        spans: for each mark (a slot and the name of a lifetime) and the slot of the mark before it.
        rests: the tokens behind a slot's prefix, for plans that end there; under ``None`` all of them.
        reuse: by slot.
    """

    rule: ProviderRule
    model: str = ""
    requests: int = 0
    tokens: int = 0
    spans: dict[SpanName, Span] = field(default_factory=dict)
    rests: dict[Slot | None, int] = field(default_factory=dict)
    reuse: dict[Slot, Reuse] = field(default_factory=dict)
    _entries: dict[tuple[Slot, str], Recent[bytes, float]] = field(default_factory=dict, repr=False)
    _seen: dict[Slot, Recent[bytes, float]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.slots = slots_of(self.rule)
        self._before = {slot: list(_predecessors(slot, self.slots)) for slot in self.slots}
        for slot in self.slots:
            self.reuse[slot] = Reuse()
            self._seen[slot] = Recent(_MOST_ENTRIES)
            for lifetime in self.rule.lifetimes:
                self._entries[slot, lifetime.name] = Recent(_MOST_ENTRIES)
                for before in self._before[slot]:
                    self.spans[before, slot, lifetime.name] = Span()

    def add(self, sent: Sent) -> None:
        """Take in a request; they come in the order of their times."""
        chain, rule, now = sent.chain, self.rule, sent.at
        self.model, self.requests, self.tokens = chain.model, self.requests + 1, self.tokens + chain.tokens
        ends, places = chain.ends, places_of(self.slots, chain, rule)

        def eligible(slot: Slot | None) -> int:
            at = places[slot] if slot is not None else None
            tokens = ends[at] if at is not None and at >= 0 else 0
            return tokens if tokens >= rule.minimum_tokens else 0

        lengths = {slot: eligible(slot) for slot in (None, *self.slots)}
        for slot, length in lengths.items():
            if slot is None or not slot.tail:
                self.rests[slot] = self.rests.get(slot, 0) + chain.tokens - length
        for slot in self.slots:
            if not lengths[slot]:
                self._without(slot, lengths, chain.tokens)
                continue
            at = places[slot]
            assert at is not None
            candidates = list(_candidates(slot, at, chain, rule))
            self._record_gap(slot, chain, candidates, ends[at], now)
            for lifetime in rule.lifetimes:
                entries = self._entries[slot, lifetime.name]
                until = now + lifetime.idle_seconds
                found = next((one for one in candidates if entries.get(_running(chain, one), 0.0) > now), None)
                if found is not None:
                    entries[_running(chain, found)] = until
                entries[_running(chain, at)] = until
                self._sum(slot, lifetime.name, lengths, ends[found] if found is not None else 0, chain.tokens)

    def _without(self, slot: Slot, lengths: dict[Slot | None, int], tokens: int) -> None:
        if slot.tail:
            for lifetime in self.rule.lifetimes:
                for before in self._before[slot]:
                    self.spans[before, slot, lifetime.name].rest += tokens - lengths[before]

    def _sum(self, slot: Slot, lifetime: str, lengths: dict[Slot | None, int], read: int, tokens: int) -> None:
        length = lengths[slot]
        for before in self._before[slot]:
            start, span = lengths[before], self.spans[before, slot, lifetime]
            cached_until = max(start, length)
            span.read += max(0, read - start)
            span.written += cached_until - max(start, read)
            if slot.tail:
                span.rest += tokens - cached_until

    def _record_gap(self, slot: Slot, chain: Chain, candidates: list[int], tokens: int, now: float) -> None:
        reuse, seen = self.reuse[slot], self._seen[slot]
        reuse.requests, reuse.tokens = reuse.requests + 1, reuse.tokens + tokens
        last = next((at for one in candidates if (at := seen.get(_running(chain, one))) is not None), None)
        if last is not None:
            reuse.known += 1
            reuse.gaps[gap_class(now - last)] += 1
        seen[_running(chain, candidates[0])] = now


def statistics_of(sent: Iterable[Sent], rule: ProviderRule) -> ChainStatistics:
    """The statistics of requests, in the order of their times; all of one model and family."""
    statistics = ChainStatistics(rule)
    for one in sent:
        statistics.add(one)
    return statistics


def _predecessors(slot: Slot, slots: tuple[Slot, ...]) -> Iterator[Slot | None]:
    yield None
    for one in slots[: slots.index(slot)]:
        if not one.tail and (one.level != "messages" or one.leaves == slot.leaves):
            yield one


def _running(chain: Chain, at: int) -> bytes:
    return chain.segments[at].running


def _candidates(slot: Slot, at: int, chain: Chain, rule: ProviderRule) -> Iterator[int]:
    """The segments at which an entry of the slot is looked for, the longest first; no shorter than the minimum."""
    ends = chain.ends
    if rule.lookback_blocks is not None:
        found: Iterable[int] = look_back(chain.segments, at, rule.lookback_blocks)
    elif slot.tail and rule.looked_up_endings is not None:
        endings = [one for one, segment in enumerate(chain.segments) if segment.ending]
        first, last = rule.looked_up_endings
        found = sorted({*endings[:first], *endings[-last:]}, reverse=True)
    else:
        found = (at,)
    return (one for one in found if ends[one] >= rule.minimum_tokens)


# -- another order -------------------------------------------------------------------------------------------


def stable_first(sent: Iterable[Sent]) -> tuple[str, ...]:
    """The labels of tools and blocks of the system prompt, on each level those first that change least often."""
    last: dict[str, bytes] = {}
    counts: dict[str, list[int]] = {}
    levels: dict[str, Level] = {}
    for one in sent:
        for segment in one.chain.segments:
            if segment.level != "messages":
                count = counts.setdefault(segment.label, [0, 0])
                levels[segment.label] = segment.level
                count[0] += 1
                count[1] += last.get(segment.label, segment.digest) != segment.digest
                last[segment.label] = segment.digest
    return tuple(
        sorted(counts, key=lambda label: (levels[label] != "tools", round(counts[label][1] / counts[label][0], 1)))
    )


def reordered(chain: Chain, order: tuple[str, ...]) -> Chain:
    """The same request with its tools and blocks of the system prompt in that order."""
    rank = {label: number for number, label in enumerate(order)}
    levels = {"tools": 0, "system": 1, "messages": 2}
    moved = sorted(chain.segments, key=lambda one: (levels[one.level], rank.get(one.label, len(rank))))
    seed = b"".join(digest for named in chain.parameters.values() for digest in named.values())
    segments: list[Segment] = []
    running = _digest(seed)
    for one in moved:
        running = _digest(running + one.digest)
        segments.append(replace(one, running=running))
    return replace(chain, segments=tuple(segments), steps=(), step_tokens=())
