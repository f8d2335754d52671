"""What a request reads from its provider's cache and writes there, by the rule: decisions over values.

The rules of the providers' caches, as they are executed here:

*Automatic* (OpenAI before GPT-5.6, DeepSeek, Gemini, vLLM): the longest known step of the prompt that is no shorter
than the minimum is read; all steps of the prompt are cached, those that live already being renewed.

*Marks* (Anthropic, Bedrock): entries end at marked segments only. Each mark looks back over ``lookback_blocks``
positions, itself the first, for an entry; a run of tool calls, or of tool results, is one position. The longest
entry found is read and renewed. Each mark that is no shorter than the minimum is cached, those that live being
renewed with their own lifetime; written is what lies behind what was read, by the lifetime of the mark after it.

*Both* (GPT-5.6 and later): the same without looking back. Unless the request says ``explicit``, the provider adds
the last place where it may put a breakpoint (the end of the leading instructions, of a user's message, of a run of
tool results) to what is written, and looks up earlier such places. Without anything to write nothing is read.

A lifetime starts anew with each use; where there is a longest one it counts from the first write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from askonce.prefix.requests.chain import Chain, Segment
from askonce.prefix.requests.rules import Lifetime, ProviderRule


@dataclass(slots=True)
class CachedPrefix:
    """A prefix that the provider has cached; times in seconds since the epoch.

    Attributes:
        available_at: from when on it can be read: when the answer to the request that wrote it began.
        expires_at: until when, if it is not used again.
        idle_seconds: how long a use renews it.
        ends_at: when it is gone, used or not.
    """

    available_at: float
    expires_at: float
    idle_seconds: float
    ends_at: float

    def alive(self, now: float) -> bool:
        """Whether it can be read."""
        return self.available_at <= now < self.expires_at

    def use(self, now: float) -> None:
        """Renew it."""
        self.expires_at = max(self.expires_at, min(now + self.idle_seconds, self.ends_at))


FindPrefix = Callable[[bytes], CachedPrefix | None]
"""Finds the entry of a running digest on one machine, dead ones included."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a request reads and writes.

    Attributes:
        read_tokens: read from the cache.
        read: the digest of what is read, or ``None``.
        written_tokens: written to it, by lifetime.
        cached: what is cached from now on: digests with their lifetimes.
    """

    read_tokens: int = 0
    read: bytes | None = None
    written_tokens: Mapping[str, int] = field(default_factory=dict)
    cached: tuple[tuple[bytes, Lifetime], ...] = ()


NOTHING = Prediction()


def predict(chain: Chain, rule: ProviderRule, known: FindPrefix, now: float) -> Prediction:
    """What a request that is sent now reads and writes on the machine whose entries are known."""
    if rule.marking == "automatic":
        return _automatic(chain, rule, known, now)
    ends = chain.ends
    written = [at for at in written_at(chain, rule) if ends[at] >= rule.minimum_tokens]
    if not written:
        return NOTHING
    read_tokens, read = 0, None
    for at in looked_up(chain, rule):
        digest = chain.segments[at].running
        entry = known(digest)
        if ends[at] > read_tokens and entry is not None and entry.alive(now):
            read_tokens, read = ends[at], digest
    cached: list[tuple[bytes, Lifetime]] = []
    tokens: dict[str, int] = {}
    last = read_tokens
    for at in written:
        lifetime = rule.lifetime(chain.segments[at].mark or chain.retention)
        cached.append((chain.segments[at].running, lifetime))
        if ends[at] > last:
            tokens[lifetime.name] = tokens.get(lifetime.name, 0) + ends[at] - last
            last = ends[at]
    if rule.lifetimes[0].write_multiple == 1.0:
        tokens = {}
    return Prediction(read_tokens, read, tokens, tuple(cached))


def _automatic(chain: Chain, rule: ProviderRule, known: FindPrefix, now: float) -> Prediction:
    if chain.tokens < rule.minimum_tokens:
        return NOTHING
    first = next((at for at, tokens in enumerate(chain.step_tokens) if tokens >= rule.minimum_tokens), None)
    if first is None:
        return NOTHING
    lifetime = rule.lifetime(chain.retention)
    low, high = first, len(chain.steps)  # a step is known only if those before it are
    while low < high:
        middle = (low + high) // 2
        entry = known(chain.steps[middle])
        low, high = (middle + 1, high) if entry is not None and entry.alive(now) else (low, middle)
    cached = tuple((digest, lifetime) for digest in chain.steps[first:])
    if low == first:
        return Prediction(cached=cached)
    tokens = chain.step_tokens[low - 1] // rule.step_tokens * rule.step_tokens
    return Prediction(tokens, chain.steps[low - 1], {}, cached)


def written_at(chain: Chain, rule: ProviderRule) -> list[int]:
    """The segments at whose ends a request writes an entry."""
    marks = chain.marks
    if rule.marking == "both":
        if not chain.implicit:
            return marks[-(rule.most_marks or 0) :]
        return sorted({*marks[-((rule.most_marks or 1) - 1) :], *_endings(chain)[-1:]})
    return marks


def looked_up(chain: Chain, rule: ProviderRule) -> Iterable[int]:
    """The segments at whose ends an entry is looked for."""
    marks = chain.marks
    if rule.lookback_blocks is not None:
        return sorted({at for mark in marks for at in look_back(chain.segments, mark, rule.lookback_blocks)})
    first, last = rule.looked_up_marks or (len(marks), 0)
    found = {*marks[:first], *(marks[-last:] if last else ())}
    if rule.marking == "both" and chain.implicit:
        endings = _endings(chain)
        first, last = rule.looked_up_endings or (0, 1)
        found |= {*endings[:first], *(endings[-last:] if last else ())}
    return sorted(found)


def _endings(chain: Chain) -> list[int]:
    return [at for at, segment in enumerate(chain.segments) if segment.ending]


def look_back(segments: tuple[Segment, ...], mark: int, positions: int) -> Iterator[int]:
    """The segments that a marked one looks back to, itself first."""
    seen, previous = 0, ""
    for at in range(mark, -1, -1):
        kind = segments[at].kind
        seen += kind not in ("call", "result") or kind != previous
        if seen > positions:
            return
        yield at
        previous = kind


def renewed(entry: CachedPrefix | None, lifetime: Lifetime, now: float, available_at: float) -> CachedPrefix:
    """What a request that was sent at ``now`` makes of what was known of a prefix that it caches."""
    if entry is not None and now < entry.expires_at and entry.available_at <= available_at:
        entry.use(now)
        return entry
    ends = now + lifetime.longest_seconds if lifetime.longest_seconds else math.inf
    fresh = CachedPrefix(available_at, now + lifetime.idle_seconds, lifetime.idle_seconds, ends)
    if entry is not None and now < entry.expires_at:  # news of an earlier request that came late
        fresh.expires_at, fresh.ends_at = max(fresh.expires_at, entry.expires_at), max(ends, entry.ends_at)
    return fresh
