"""Requests played again by their provider's rule: what they would cost with other marks or other cache keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from askonce.prefix.optimize.statistics import Mark, places_of
from askonce.prefix.requests.chain import Chain
from askonce.prefix.requests.rules import ProviderRule
from askonce.prefix.tracking.history import RATE_SECONDS, Sent
from askonce.prefix.tracking.prediction import CachedPrefix, Prediction, keep, predict


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
    total = 0.0
    for one, done in played(sent, rule):
        written = sum(done.written_tokens.values())
        total += one.chain.tokens - done.read_tokens - written + done.read_tokens * rule.read_multiple
        total += sum(rule.lifetime(name).write_multiple * tokens for name, tokens in done.written_tokens.items())
    return total


def played(sent: Iterable[Sent], rule: ProviderRule) -> Iterator[tuple[Sent, Prediction]]:
    """What each of the requests reads and writes by the rule, if their answers begin at once."""
    entries: dict[bytes, CachedPrefix] = {}
    routes: dict[bytes, deque[float]] = {}
    for one in sent:
        chain, now = one.chain, one.at
        here = chain.scope + _machine(chain, rule, routes, now).to_bytes(2)
        done = predict(chain, rule, lambda digest, here=here: entries.get(here + digest), now)  # type: ignore[misc]
        if done.read is not None:
            entries[here + done.read].use(now)
        for digest, lifetime in done.kept:
            entries[here + digest] = keep(entries.get(here + digest), lifetime, now, now)
        yield one, done


def _machine(chain: Chain, rule: ProviderRule, routes: dict[bytes, deque[float]], now: float) -> int:
    if rule.requests_per_minute is None:
        return 0
    times = routes.setdefault(chain.scope + chain.route, deque())
    while times and times[0] <= now - RATE_SECONDS:
        times.popleft()
    times.append(now)
    return (len(times) - 1) // rule.requests_per_minute
