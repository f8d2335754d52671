"""Requests played again by their provider's rule: what they would cost with other marks or other cache keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from askonce.prefix.optimize.statistics import Mark, places_of
from askonce.prefix.requests.chain import Chain
from askonce.prefix.requests.rules import ProviderRule
from askonce.prefix.tracking.history import RATE_SECONDS, Recent, Sent
from askonce.prefix.tracking.prediction import CachedPrefix, Prediction, predict, renewed

_MOST_ENTRIES, _MOST_ROUTES = 400_000, 10_000


def marked(chain: Chain, marks: Sequence[Mark], rule: ProviderRule) -> Chain:
    """The request with these marks and no others."""
    at_segment: dict[int, str] = {}
    implicit = False
    places = places_of((mark.slot for mark in marks), chain, rule)
    for mark in marks:
        at = places[mark.slot]
        if mark.slot.tail and rule.marking == "both":
            implicit = at is not None
        elif at is not None and at >= max(at_segment, default=0):
            at_segment.setdefault(at, mark.lifetime)
    segments = tuple(replace(one, mark=at_segment.get(at)) for at, one in enumerate(chain.segments))
    return replace(chain, segments=segments, implicit=implicit if rule.marking == "both" else chain.implicit)


def added_marks(chain: Chain, marks: Sequence[Mark], rule: ProviderRule) -> dict[int, str]:
    """The breakpoints of a plan that a request takes beside its own, by segment; its own all stay.

    The provider's own breakpoint (``both``) is no place for one. There are no more in all than the provider takes,
    and none with a shorter lifetime stands before one with a longer: that would be refused.
    """
    own = {at: chain.segments[at].mark or rule.lifetimes[0].name for at in chain.marks}
    room = (rule.most_marks or 0) - len(own) - (rule.marking == "both" and chain.implicit)
    places = places_of((mark.slot for mark in marks), chain, rule)
    seconds = {one.name: one.idle_seconds for one in rule.lifetimes}
    added: dict[int, str] = {}
    for mark in marks:
        at = places[mark.slot]
        if at is None or at < 0 or at in own or len(added) >= room or (mark.slot.tail and rule.marking == "both"):
            continue
        if at <= max(added, default=-1):
            continue
        lifetime = mark.lifetime
        before = [name for place, name in own.items() if place < at]
        behind = [name for place, name in own.items() if place > at]
        lifetime = max([lifetime, *behind], key=lambda name: seconds.get(name, 0.0))
        lifetime = min([lifetime, *before, *added.values()], key=lambda name: seconds.get(name, 0.0))
        added[at] = lifetime
    return added


def with_added(chain: Chain, marks: Sequence[Mark], rule: ProviderRule) -> Chain:
    """The request with its own breakpoints and those that `added_marks` finds room for."""
    added = added_marks(chain, marks, rule)
    if not added:
        return chain
    segments = tuple(replace(one, mark=added.get(at, one.mark)) for at, one in enumerate(chain.segments))
    return replace(chain, segments=segments)


def conversation_of(chain: Chain) -> bytes:
    """What the requests of one conversation have in common: the running digest up to the first message."""
    first = next((one for one in chain.segments if one.level == "messages"), None)
    return first.running if first is not None else b""


def key_of(chain: Chain, keys: int) -> str:
    """The ``prompt_cache_key`` of a request: always the same for a conversation."""
    return f"askonce-{int.from_bytes(conversation_of(chain)[:8]) % keys}" if keys > 1 else chain.cache_key


def replayed(sent: Iterable[Sent], rule: ProviderRule) -> float:
    """What requests cost by the rule, in input tokens, if their answers began at once.

    Args:
        sent: the requests, in the order of their times.
        rule: their provider's.
    """
    return sum(cost_of_prediction(one.chain, done, rule) for one, done in played(sent, rule))


def cost_of_prediction(chain: Chain, done: Prediction, rule: ProviderRule) -> float:
    """What a request costs that reads and writes so much, in input tokens."""
    written = sum(done.written_tokens.values())
    cost = chain.tokens - done.read_tokens - written + done.read_tokens * rule.read_multiple
    return cost + sum(rule.lifetime(name).write_multiple * tokens for name, tokens in done.written_tokens.items())


def played(sent: Iterable[Sent], rule: ProviderRule) -> Iterator[tuple[Sent, Prediction]]:
    """What each of the requests reads and writes by the rule, if their answers begin at once."""
    replay = Replay(rule)
    for one in sent:
        yield one, replay.play(one)


class Replay:
    """A provider's cache by its rule, for requests that are played one after the other."""

    def __init__(self, rule: ProviderRule) -> None:
        self._rule = rule
        self._entries: Recent[bytes, CachedPrefix] = Recent(_MOST_ENTRIES)
        self._routes: Recent[bytes, deque[float]] = Recent(_MOST_ROUTES)

    def play(self, sent: Sent) -> Prediction:
        """What the next request reads and writes."""
        chain, now, entries = sent.chain, sent.at, self._entries
        here = chain.scope + self._machine(chain, now).to_bytes(2)
        done = predict(chain, self._rule, lambda digest: entries.get(here + digest), now)
        if done.read is not None:
            entries[here + done.read].use(now)
        for digest, lifetime in done.cached:
            entries[here + digest] = renewed(entries.get(here + digest), lifetime, now, now)
        return done

    def cost(self, sent: Sent) -> float:
        """What the next request costs, in input tokens."""
        return cost_of_prediction(sent.chain, self.play(sent), self._rule)

    def _machine(self, chain: Chain, now: float) -> int:
        if self._rule.requests_per_minute is None:
            return 0
        route = chain.scope + chain.route
        times = self._routes[route] = self._routes.get(route) or deque()
        while times and times[0] <= now - RATE_SECONDS:
            times.popleft()
        times.append(now)
        return (len(times) - 1) // self._rule.requests_per_minute
