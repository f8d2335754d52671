"""What to change where: one sentence for each culprit of a report."""

from __future__ import annotations

from collections.abc import Sequence

from askonce.costs.figures import percent, span
from askonce.prefix.requests.rules import Lifetime, ProviderRule, rule_for
from askonce.prefix.tracking.aggregates import GAP_SECONDS, SegmentSums, Sums
from askonce.prefix.tracking.losses import Cause

_MARK = {
    "anthropic": 'cache_control={"type": "ephemeral"}',
    "bedrock": "a cachePoint block",
    "openai": "prompt_cache_breakpoint",
}
_LIFETIME = {
    "anthropic": 'cache_control={{"type": "ephemeral", "ttl": "{0}"}}',
    "bedrock": 'cachePoint={{"type": "default", "ttl": "{0}"}}',
    "openai": 'prompt_cache_retention="{0}"',
}
ORDER = "the order of the tools"
_MOVES = "move it behind the stable text, for example into the last message, or leave it out"
_BY_LOOKS = {
    "a clock": f"{_MOVES}; the date alone breaks the prefix once a day only",
    "reordered JSON keys": "write its JSON with keys in one order: json.dumps(…, sort_keys=True)",
    "reordered tools": "give the tools in one order, for example sorted by name",
    "a changed image": "send the same bytes of the image each time, or move it behind the stable text",
}
_STABLE_SHARE = 0.5
_NEARLY_EVERY, _WORTH_SHARE = 0.95, 0.01


def advice(row: Sums, segments: Sequence[SegmentSums], family_requests: int, example: str = "") -> str:
    """What to do about a culprit.

    Args:
        row: the culprit, summed over days.
        segments: the segments of its family, in their order.
        family_requests: how many requests the family has in all.
        example: the last difference, as text, with ``keep_text``.

    Returns:
        one sentence without a full stop; ``""`` if nothing is wrong.
    """
    rule = rule_for(row.provider, row.model)
    match Cause(row.cause):
        case Cause.HIT | Cause.FIRST_SEEN:
            return ""
        case Cause.BROKEN:
            return _broken(row, segments, family_requests, example)
        case Cause.CHANGED:
            return _changed(row.segment)
        case Cause.NOT_MARKED:
            return _not_marked(row, segments)
        case Cause.EXPIRED if rule is not None:
            return _expired(row, segments, rule)
        case Cause.TOO_SHORT if rule is not None:
            same = row.readable_tokens // max(row.requests, 1)
            return (
                f"about {same:,} tokens stay the same, and below {rule.minimum_tokens:,} nothing is cached: bring "
                "all that stays the same to the front, in front of what changes, or leave it"
            )
        case Cause.OVERFLOWED if rule is not None:
            return (
                f"use {max(2, row.machines)} prompt_cache_keys instead of one, each user always the same one: a "
                f"machine takes about {rule.requests_per_minute} requests a minute for each prefix and key"
            )
        case Cause.UNEXPLAINED:
            return "nothing to change in the prompt: another machine answered, or the prefix was evicted"
        case _:
            return row.remedy


def _broken(row: Sums, segments: Sequence[SegmentSums], family_requests: int, example: str) -> str:
    place, _, _ = example.partition(":")
    where = f"{row.segment}, {place}," if place.startswith("characters") else row.segment
    share = row.requests / max(family_requests, 1)
    often = "nearly every request" if share >= _NEARLY_EVERY else f"{percent(share)} of requests"
    level = next((one.level for one in segments if one.label == row.segment), "")
    looks = f" (looks like {row.looks_like})" if row.looks_like and row.segment != ORDER else ""
    if row.looks_like:
        remedy = _BY_LOOKS.get(row.looks_like, _MOVES)
    elif level == "tools":
        remedy = "keep its description and schema the same to the byte, or put the tools that vary last"
    elif level == "messages":
        remedy = "append to a conversation instead of changing what was sent, and put what varies last"
    else:
        remedy = _MOVES
    return f"{where} changes with {often}{looks}: {remedy}"


def _changed(what: str) -> str:
    if what == "model":
        return "one prompt goes to several models, and each has a cache of its own: send it to one model"
    if what == "cache key":
        return "one prefix is sent under several prompt_cache_keys: give the same key to requests that share it"
    return f"{what} varies among requests that share a prefix: keep it the same"


def _not_marked(row: Sums, segments: Sequence[SegmentSums]) -> str:
    stable = [one for one in segments if one.prefix_known >= _STABLE_SHARE * max(one.requests, 1)]
    head = [one for one in stable if one.level != "messages"] or stable
    behind = f"{head[-1].label}, the last part that stays the same" if head else "the last part that stays the same"
    mark = _MARK.get(row.provider, "")
    return f"put a breakpoint{f' ({mark})' if mark else ''} behind {behind}"


def _expired(row: Sums, segments: Sequence[SegmentSums], rule: ProviderRule) -> str:
    usual = rule.lifetimes[0]
    best, saved = paying_lifetime(segments, rule)
    if best is usual:
        longer = len(rule.lifetimes) > 1
        return (
            f"the prefix comes back later than the {span(usual.idle_seconds)} for which it is cached"
            + (", and too rarely for a longer lifetime to pay" if longer else "")
            + ": send such requests closer together, or bear it"
        )
    how = _LIFETIME.get(row.provider, "").format(best.name)
    return (
        f"set the lifetime {best.name}{f' ({how})' if how else ''}: the prefix then costs about "
        f"{percent(saved)} less, as often as it comes back after {span(usual.idle_seconds)}"
    )


def paying_lifetime(segments: Sequence[SegmentSums], rule: ProviderRule) -> tuple[Lifetime, float]:
    """The lifetime under which the prefixes of a family cost least, and by which share less than by default.

    A segment's tokens are read (at ``read_multiple``) as often as the prefix up to its end comes back within the
    lifetime, and otherwise written (at ``write_multiple``). Segments whose prefix never came back do not count.
    """

    def cost(lifetime: Lifetime) -> float:
        whole = 0.0
        for one in segments:
            within = zip(GAP_SECONDS, one.gaps, strict=False)
            reads = sum(times for bound, times in within if bound <= lifetime.idle_seconds)
            each = one.tokens / max(one.requests, 1)
            if one.prefix_known:
                writes = one.requests - reads
                whole += each * (reads * rule.read_multiple + writes * lifetime.write_multiple)
        return whole

    usual = cost(rule.lifetimes[0])
    best = min(rule.lifetimes, key=cost)
    saved = 1 - cost(best) / usual if usual else 0.0
    return (best, saved) if saved >= _WORTH_SHARE else (rule.lifetimes[0], 0.0)
