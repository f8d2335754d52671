"""What a request could have read and did not: by which cause, and how much.

Each cause is looked for by itself; that which explains most is the one that counts.
"""

from __future__ import annotations

import enum
from collections import Counter as Multiset
from dataclasses import dataclass

from askonce.prefix.requests.chain import PIECE_BYTES, Chain, Segment
from askonce.prefix.requests.rules import ProviderRule
from askonce.prefix.tracking.history import History, Sent
from askonce.prefix.tracking.prediction import CachedPrefix, Prediction, looked_up, predict


class Cause(enum.StrEnum):
    """Why a request read no more than it did."""

    HIT = "hit"
    """It read all that it could."""
    FIRST_SEEN = "first seen"
    """Nothing like it was sent lately."""
    UNKNOWN = "unknown"
    """The provider reported no usage, so that nobody knows what was read."""
    TOO_SHORT = "too short"
    EXPIRED = "expired"
    NOT_MARKED = "not marked"
    OUT_OF_LOOK_BACK = "out of look-back"
    TOO_MANY_MARKS = "too many marks"
    OVERFLOWED = "overflowed"
    """There were more requests a minute for its prefix and key than one machine takes."""
    SENT_TOGETHER = "sent together"
    """The request that wrote the prefix had no answer yet."""
    CHANGED = "model or parameter changed"
    BROKEN = "broken by a segment"
    UNEXPLAINED = "unexplained"
    """By the rule it should have read more: another machine, or the provider evicted it."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What one cause explains.

    Attributes:
        cause: why no more was read.
        readable: the tokens that could have been read without it.
        segment: the segment that broke the prefix.
        changed: what changed.
        looks_like: what the difference looks like, as far as that shows without a text.
        before: the segment that stood in the place of ``segment``.
    """

    cause: Cause
    readable: int
    segment: Segment | None = None
    changed: str = ""
    looks_like: str = ""
    before: Segment | None = None


def too_many_marks(chain: Chain, rule: ProviderRule) -> bool:
    """Whether a provider refuses the request for its breakpoints."""
    return rule.marking == "marks" and rule.most_marks is not None and len(chain.marks) > rule.most_marks


def tolerance(chain: Chain, rule: ProviderRule, tokens: int) -> int:
    """By how many tokens a prediction may be off: none if tokens are counted."""
    return 0 if chain.exact else max(int(0.05 * tokens), 2 * rule.step_tokens, 16)


def loss_of(
    chain: Chain, history: History, rule: ProviderRule, prediction: Prediction, read: int, machine: int, now: float
) -> Loss:
    """The cause that explains most of what a request could have read and did not.

    Args:
        chain: the request.
        history: what was sent before.
        rule: its provider's rule.
        prediction: what it should have read.
        read: what it did read.
        machine: see `History.route`.
        now: when it was sent.
    """
    if too_many_marks(chain, rule):
        return Loss(Cause.TOO_MANY_MARKS, chain.tokens)
    predicted = prediction.read_tokens
    if read < predicted - tolerance(chain, rule, predicted):
        return Loss(Cause.OVERFLOWED if machine else Cause.UNEXPLAINED, predicted)
    sofar = max(read, predicted)
    losses = [
        one
        for one in (
            _not_read(chain, history, rule, sofar, machine, now),
            _changed(chain, history, rule, sofar),
            _broken(chain, history, rule, sofar),
        )
        if one is not None
    ]
    worst = max(losses, key=lambda one: one.readable, default=None)
    smallest = max(_SMALLEST_LOSS_TOKENS, int(_SMALLEST_LOSS * chain.tokens), rule.step_tokens - 1)
    if worst is not None and worst.readable - sofar > max(tolerance(chain, rule, worst.readable), smallest):
        return worst
    return Loss(Cause.HIT if sofar else Cause.FIRST_SEEN, sofar)


_SMALLEST_LOSS_TOKENS, _SMALLEST_LOSS = 32, 0.02
"""Less, in tokens and as a share of the prompt, is no loss worth a name: a phrase that occurs in two messages."""


# -- before the first difference -----------------------------------------------------------------------------


def _not_read(
    chain: Chain, history: History, rule: ProviderRule, sofar: int, machine: int, now: float
) -> Loss | None:
    ends = chain.ends
    found = history.longest_prefix(chain)
    last = next((at for at, one in enumerate(chain.segments) if found and one.running == _running(found)), -1)
    shared = ends[last] if last >= 0 else 0
    places = _places(chain, ends, rule)
    entries = [(tokens, history.known(chain, machine)(digest)) for tokens, digest in places]
    if rule.marking == "automatic":  # steps reach into a segment
        shared = max([shared, *(tokens for tokens, entry in entries if entry is not None)])
        shared = shared // rule.step_tokens * rule.step_tokens if shared >= rule.minimum_tokens else shared
    if shared <= sofar:
        return None
    if _is_too_short(chain, rule, shared, ends):
        return Loss(Cause.TOO_SHORT, shared)
    if machine and (other := _on_other_machines(chain, history, rule, machine, now)) > sofar:
        return Loss(Cause.OVERFLOWED, other)
    least = max(sofar + 1, rule.minimum_tokens)
    return _unread_entry(chain, rule, [one for one in entries if least <= one[0] <= shared], shared, now)


def _running(found: tuple[Sent, int]) -> bytes:
    return found[0].chain.segments[found[1]].running


def _places(chain: Chain, ends: list[int], rule: ProviderRule) -> list[tuple[int, bytes]]:
    if rule.marking == "automatic":
        return list(zip(chain.step_tokens, chain.steps, strict=True))
    return list(zip(ends, (one.running for one in chain.segments), strict=True))


def _is_too_short(chain: Chain, rule: ProviderRule, shared: int, ends: list[int]) -> bool:
    if shared < rule.minimum_tokens:
        return True
    marks = chain.marks
    return rule.marking == "marks" and bool(marks) and ends[marks[-1]] < rule.minimum_tokens


def _on_other_machines(chain: Chain, history: History, rule: ProviderRule, machine: int, now: float) -> int:
    others = range(min(machine, _MOST_MACHINES))
    return max(predict(chain, rule, history.known(chain, other), now).read_tokens for other in others)


_MOST_MACHINES = 8


def _unread_entry(
    chain: Chain, rule: ProviderRule, entries: list[tuple[int, CachedPrefix | None]], shared: int, now: float
) -> Loss | None:
    if rule.marking == "automatic":
        dead = [tokens for tokens, entry in entries if entry is not None and now >= entry.expires_at]
        if dead:
            return Loss(Cause.EXPIRED, max(dead))
        waiting = [tokens for tokens, entry in entries if entry is not None and entry.available_at > now]
        return Loss(Cause.SENT_TOGETHER, max(waiting)) if waiting else None
    if rule.marking == "marks" and not chain.marks:
        return Loss(Cause.NOT_MARKED, shared)
    running = [one.running for one in chain.segments]
    within = {running[at] for at in looked_up(chain, rule)}
    position = {tokens: at for at, tokens in enumerate(chain.ends)}
    dead = [at for tokens, entry in entries if entry and now >= entry.expires_at and (at := position[tokens]) >= 0]
    alive = [at for tokens, entry in entries if entry and entry.alive(now) and (at := position[tokens]) >= 0]
    missed = max((at for at in alive if running[at] not in within), default=-1)
    expired = max((at for at in dead if running[at] in within), default=-1)
    ends = chain.ends
    if missed > expired:
        marked = chain.implicit if rule.marking == "both" else missed <= chain.marks[-1]
        return Loss(Cause.OUT_OF_LOOK_BACK if marked else Cause.NOT_MARKED, ends[missed])
    if expired >= 0:
        return Loss(Cause.EXPIRED, ends[expired])
    if any(entry is not None and entry.available_at > now for _, entry in entries):
        return Loss(Cause.SENT_TOGETHER, shared)
    return Loss(Cause.EXPIRED, ends[max(dead)]) if dead else Loss(Cause.NOT_MARKED, shared)


def _changed(chain: Chain, history: History, rule: ProviderRule, sofar: int) -> Loss | None:
    found = history.longest_content(chain)
    if found is None:
        return None
    sent, at = found
    last = next((i for i, one in enumerate(chain.segments) if one.content == sent.chain.segments[at].content), -1)
    own = history.longest_prefix(chain)
    shared = chain.ends[last]
    what = _what_changed(sent.chain, chain)
    if not what or shared <= sofar or shared < rule.minimum_tokens or (own is not None and own[1] >= last):
        return None
    return Loss(Cause.CHANGED, shared, changed=what)


def _what_changed(before: Chain, now: Chain) -> str:
    if (before.provider, before.model) != (now.provider, now.model):
        return "model"
    for level in {**before.parameters, **now.parameters}:
        old, new = before.parameters.get(level, {}), now.parameters.get(level, {})
        names = sorted(name for name in {**old, **new} if old.get(name) != new.get(name))
        if names:
            return ", ".join(names)
    return "cache key" if before.cache_key != now.cache_key else ""


# -- behind the first difference -----------------------------------------------------------------------------


def _broken(chain: Chain, history: History, rule: ProviderRule, sofar: int) -> Loss | None:
    best: Loss | None = None
    for sent in history.alike(chain):
        if sent.chain.provider != chain.provider or sent.chain.model != chain.model:
            continue
        loss = _broken_against(sent.chain, chain)
        if loss is not None and (best is None or loss.readable > best.readable):
            best = loss
    if best is not None and best.readable < rule.minimum_tokens:
        return Loss(Cause.TOO_SHORT, best.readable)
    return best


def _broken_against(before: Chain, now: Chain) -> Loss | None:
    """What the first segment that differs costs: all that both have, without that part of it that changed."""
    at = 0
    for old, new in zip(before.segments, now.segments, strict=False):
        if old.digest != new.digest:
            break
        at += 1
    if at >= min(len(before.segments), len(now.segments)):
        return None  # one goes on where the other ends
    culprit, old = now.segments[at], before.segments[at]
    there = Multiset(one.digest for one in before.segments)
    shared, behind = 0, 0
    for number, one in enumerate(now.segments):
        if there[one.digest] > 0:
            there[one.digest] -= 1
            shared += one.tokens
            behind += one.tokens if number > at else 0
    alike = _alike(old, culprit) if old.level == culprit.level and old.kind == culprit.kind else 0.0
    if culprit.kind == "image" and alike == 0.0 and old.kind == "image":
        return Loss(Cause.BROKEN, shared, culprit, looks_like="a changed image") if behind else None
    readable = shared + int(alike * culprit.tokens)
    looks = ""
    if culprit.level == "tools" and sorted(one.digest for one in before.segments if one.level == "tools") == sorted(
        one.digest for one in now.segments if one.level == "tools"
    ):
        looks = "reordered tools"
    gained = readable - (now.ends[at - 1] if at else 0)
    if gained <= max(_SMALLEST_LOSS_TOKENS, int(_SMALLEST_LOSS * now.tokens)):
        return None
    return Loss(Cause.BROKEN, readable, culprit, looks_like=looks, before=old)


def _alike(before: Segment, now: Segment) -> float:
    """The share of a segment's pieces that were in it before."""
    old = Multiset(before.pieces[at : at + PIECE_BYTES] for at in range(0, len(before.pieces), PIECE_BYTES))
    new = [now.pieces[at : at + PIECE_BYTES] for at in range(0, len(now.pieces), PIECE_BYTES)]
    if not new:
        return 0.0
    same = 0
    for piece in new:
        if old[piece] > 0:
            old[piece] -= 1
            same += 1
    return same / len(new)
