"""`plan`: the breakpoints, lifetimes and cache keys of least expected cost, from what was seen of a family.

Costs are counted in input tokens: one that is computed costs 1, one that is read ``r`` (0.1), one that is written
``w`` (1.25 for five minutes, 2 for an hour). With marks ``m1 < m2 < … < mk`` a request costs

    sum over j of  read(m[j-1], m[j]) × r  +  written(m[j-1], m[j]) × w(m[j])   +   rest

where *read* and *written* part the tokens between two marks by what is still there from earlier requests. What is
read behind ``m[j]`` is also known up to ``m[j]``, as long as lifetimes do not grow along the prompt. So each term
depends on two neighbours alone, the sum over requests of each is a number (`ChainStatistics`), and the best set of
marks is a shortest path: found exactly by dynamic programming over slot, lifetime and number of marks.

What one mark reads of another's entries is left out: the true cost is at most the expected one.

Break-even: a token that is written for ``w`` and read ``n`` times costs ``w + n × r``, otherwise ``1 + n``. Writing
pays from ``n = (w - 1) / (1 - r)`` on: 0.28 reads for five minutes, 1.11 for an hour.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from askonce.costs.pricing import cost_usd
from askonce.entries.entry import Usage
from askonce.prefix.optimize.replay import key_of, marked, played, replayed
from askonce.prefix.optimize.statistics import (
    LAST_BLOCK,
    LAST_TOOL,
    TAIL,
    ChainStatistics,
    Mark,
    Slot,
    reordered,
    stable_first,
    statistics_of,
)
from askonce.prefix.requests.rules import Lifetime, ProviderRule
from askonce.prefix.tracking.aggregates import GAP_SECONDS
from askonce.prefix.tracking.history import Sent

_KEYS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class BreakpointPlan:
    """What to do with the requests of one family.

    Attributes:
        rule: the provider's.
        model: as the requests name it.
        marks: the breakpoints, in the order of the prompt.
        retention: the lifetime that the request as a whole sets; ``None`` for the provider's default.
        keys: over how many values of ``prompt_cache_key`` conversations are spread; 1 for none.
        tools_sorted: tools and the keys of their JSON are brought into one order.
        cost_tokens: what a request's prompt costs, in input tokens; see the module.
        other_costs: the same for other rules of marking, by name.
        prompt_tokens: its length on average.
        proposals: what would help, but might change what the model answers; never done.
        reasons: the arithmetic of each mark, and of those that do not pay.
    """

    rule: ProviderRule
    model: str
    marks: tuple[Mark, ...] = ()
    retention: str | None = None
    keys: int = 1
    tools_sorted: bool = False
    cost_tokens: float = 0.0
    other_costs: dict[str, float] = field(default_factory=dict)
    prompt_tokens: float = 0.0
    proposals: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def cost_usd(self) -> float | None:
        """What a request's prompt costs in US dollars; ``None`` if no price is known (extra ``prices``)."""
        price = input_price(self.model)
        return None if price is None else price * self.cost_tokens

    def explain(self) -> str:
        """The plan, its expected cost beside that of others, and the break-even arithmetic."""
        price = input_price(self.model)

        def cost(tokens: float) -> str:
            shown = f"{tokens:,.0f} input tokens"
            return shown if price is None else f"{shown}, ${1000 * tokens * price:.2f} for 1,000 requests"

        lines = [f"{self.model} ({self.rule.name}), prompts of {self.prompt_tokens:,.0f} tokens"]
        lines += [f"  mark {mark}" for mark in self.marks]
        lines += [f"  prompt_cache_retention {self.retention}"] if self.retention else []
        lines += ["  tools in one order"] if self.tools_sorted else []
        lines += [f"  conversations spread over {self.keys} values of prompt_cache_key"] if self.keys > 1 else []
        if len(lines) == 1:
            lines.append("  nothing to change")
        lines.append(f"expected: {cost(self.cost_tokens)}")
        lines += [f"  {name}: {cost(tokens)}" for name, tokens in self.other_costs.items()]
        lines += [_break_even(one, self.rule) for one in self.rule.lifetimes if one.write_multiple > 1]
        return "\n".join([*lines, *self.reasons, *(f"proposed: {one}" for one in self.proposals)])


def _break_even(lifetime: Lifetime, rule: ProviderRule) -> str:
    more, less = lifetime.write_multiple - 1, 1 - rule.read_multiple
    return (
        f"a write for {lifetime.name} costs {lifetime.write_multiple:g}, a read {rule.read_multiple:g}: "
        f"it pays from {more:g} / {less:g} = {more / less:.2f} reads on"
    )


def plan(statistics: ChainStatistics, *, sent: Iterable[Sent] = ()) -> BreakpointPlan:
    """The plan of least expected cost.

    Args:
        statistics: of a family's requests.
        sent: these requests themselves, in the order of their times. From them follow how many cache keys are
            needed and, with automatic caches, the retention; and proposals of another order.
    """
    rule, number = statistics.rule, max(statistics.requests, 1)
    sent = list(sent)
    keys, retention, marks = 1, None, _best_marks(statistics)
    others = rules_of_others(rule)
    costs = {name: cost_of(statistics, given) / number for name, given in others.items()}
    expected = cost_of(statistics, marks) / number
    if sent and (rule.marking == "automatic" or rule.requests_per_minute is not None):  # requests may overflow
        keys, retention, played = _keys_and_retention(sent, rule, marks)
        expected = played[keys, retention]
        costs = {"automatic": _paid(sent, rule, others.get("automatic"))}
    return BreakpointPlan(
        rule=rule,
        model=statistics.model,
        marks=marks,
        retention=retention,
        keys=keys,
        cost_tokens=expected,
        other_costs=costs,
        prompt_tokens=statistics.tokens / number,
        proposals=_proposals(sent, rule, expected, statistics.model) if sent else (),
        reasons=tuple(_reasons(statistics)),
    )


def rules_of_others(rule: ProviderRule) -> dict[str, tuple[Mark, ...]]:
    """How others mark: not at all, the last segment, as LangChain's ``AnthropicPromptCachingMiddleware`` does.

    Where the provider sets a breakpoint of its own it stays, in these as in all plans.
    """
    if rule.marking == "automatic":
        return {}
    first = rule.lifetimes[0].name
    if rule.marking == "both":
        return {"automatic": (Mark(TAIL, first),)}
    rules: dict[str, tuple[Mark, ...]] = {"no marks": (), "the last segment marked": (Mark(TAIL, first),)}
    if rule.marking == "marks":
        slots = [one for one in (LAST_TOOL, LAST_BLOCK, TAIL) if one.level in rule.order]
        rules["LangChain's middleware"] = tuple(Mark(slot, first) for slot in slots)
    return rules


def cost_of(statistics: ChainStatistics, marks: Sequence[Mark]) -> float:
    """What all requests of the statistics cost with these marks, in input tokens, by the formula of the module."""
    if not marks:
        return float(statistics.tokens)
    total, before = 0.0, None
    for mark in marks:
        total += _term(statistics, before, mark)
        before = mark.slot
    last = marks[-1].slot
    return total if last.tail else total + statistics.rests.get(last, 0)


def _term(statistics: ChainStatistics, before: Slot | None, mark: Mark) -> float:
    span = statistics.spans[before, mark.slot, mark.lifetime]
    written = statistics.rule.lifetime(mark.lifetime).write_multiple
    return span.read * statistics.rule.read_multiple + span.written * written + span.rest


def _best_marks(statistics: ChainStatistics) -> tuple[Mark, ...]:
    """The shortest path. States: the last mark; for each number of marks the cheapest way to it."""
    rule = statistics.rule
    if rule.marking == "automatic" or not statistics.requests:
        return ()
    longest_first = sorted(rule.lifetimes, key=lambda one: -one.idle_seconds)
    rank = {one.name: number for number, one in enumerate(longest_first)}
    best: tuple[float, tuple[Mark, ...]] = (float(statistics.tokens), ())
    if rule.marking == "both":  # the provider's own breakpoint stays
        best = math.inf, ()
    ways: dict[tuple[Mark, int], tuple[float, tuple[Mark, ...]]] = {}
    for slot in statistics.slots:
        for lifetime in longest_first:
            mark = Mark(slot, lifetime.name)
            ways[mark, 1] = _term(statistics, None, mark), (mark,)
            for (last, number), (cost, marks) in list(ways.items()):
                if (
                    number < (rule.most_marks or 0)
                    and rank[last.lifetime] <= rank[mark.lifetime]
                    and (last.slot, slot, mark.lifetime) in statistics.spans
                ):
                    longer = cost + _term(statistics, last.slot, mark), (*marks, mark)
                    if longer[0] < ways.get((mark, number + 1), (math.inf,))[0]:
                        ways[mark, number + 1] = longer
    for number in range(1, (rule.most_marks or 0) + 1):
        for (last, count), (cost, marks) in ways.items():
            whole = cost if last.slot.tail else cost + statistics.rests.get(last.slot, 0)
            if rule.marking == "both" and last.slot != TAIL:
                continue
            if count == number and whole < best[0] - 1e-6:
                best = whole, marks
    return best[1]


def _reasons(statistics: ChainStatistics) -> Iterable[str]:
    for slot, reuse in statistics.reuse.items():
        if reuse.requests and slot in (LAST_TOOL, LAST_BLOCK, TAIL):
            shares, bounds, total = [], (*GAP_SECONDS, None), 0
            for bound, times in zip(bounds, reuse.gaps, strict=True):
                total += times
                if bound in (300, 3600, 86_400):
                    shares.append(f"{total / reuse.requests:.0%} within {bound // 60} min")
            yield (
                f"the prompt up to {slot} ({reuse.tokens / reuse.requests:,.0f} tokens) had been sent before in "
                f"{reuse.rate:.0%} of the requests ({', '.join(shares)})"
            )


# -- keys, retention, order ----------------------------------------------------------------------------------


def _paid(sent: Sequence[Sent], rule: ProviderRule, marks: Sequence[Mark] | None) -> float:
    if marks is not None:
        sent = [replace(one, chain=marked(one.chain, marks, rule)) for one in sent]
    return replayed(sent, rule) / len(sent)


def _keys_and_retention(
    sent: list[Sent], rule: ProviderRule, marks: tuple[Mark, ...]
) -> tuple[int, str | None, dict[tuple[int, str | None], float]]:
    """The requests are played with one key, two, four …, as long as that costs less; so is each lifetime."""
    if rule.marking != "automatic":
        sent = [replace(one, chain=marked(one.chain, marks, rule)) for one in sent]
    lifetimes: list[str | None] = [None, *(one.name for one in rule.lifetimes[1:] if rule.marking == "automatic")]
    costs: dict[tuple[int, str | None], float] = {}
    best: tuple[int, str | None] = 1, None
    for retention in lifetimes:
        for keys in _KEYS:
            costs[keys, retention] = replayed(
                (
                    replace(
                        one,
                        chain=replace(
                            one.chain, cache_key=key_of(one.chain, keys), retention=retention or one.chain.retention
                        ),
                    )
                    for one in sent
                ),
                rule,
            ) / len(sent)
            if costs[keys, retention] < 0.999 * costs[best]:
                best = keys, retention
            elif keys > best[0]:
                break
    return *best, costs


def _proposals(sent: list[Sent], rule: ProviderRule, expected: float, model: str) -> tuple[str, ...]:
    if rule.provider == "gemini":
        return _explicit_cache(sent, rule, model)
    order = stable_first(sent)
    now = [one.label for one in sent[-1].chain.segments if one.level != "messages"]
    wanted = [label for label in order if label in now]
    if rule.marking == "automatic" or wanted == now:
        return ()
    better = statistics_of((replace(one, chain=reordered(one.chain, order)) for one in sent), rule)
    saved = expected - cost_of(better, _best_marks(better)) / better.requests
    if saved < 0.01 * expected:
        return ()
    price = input_price(model)
    worth = f"{saved:,.0f} input tokens a request" + (
        "" if price is None else f", ${1000 * saved * price:.2f} for 1,000"
    )
    moved = [label for label, old in zip(wanted, now, strict=True) if label != old]
    return (f"bring what changes least to the front: {', '.join(moved)}; saves {worth}",)


def _explicit_cache(sent: list[Sent], rule: ProviderRule, model: str) -> tuple[str, ...]:
    """Gemini's explicit caches are objects that are paid for by the hour; who makes one must also delete it."""
    shared = Counter(one.running for each in sent for one in each.chain.segments)
    at = {one.running: end for each in sent for one, end in zip(each.chain.segments, each.chain.ends, strict=True)}
    best = max(shared, key=lambda running: (shared[running] - 1) * at[running], default=None)
    hours = max(sent[-1].at - sent[0].at, 60.0) / 3600
    if best is None or shared[best] < 2 or at[best] < rule.minimum_tokens:
        return ()
    missed = sum(
        max(0, at[best] - done.read_tokens)
        for one, done in played(sent, rule)
        if any(segment.running == best for segment in one.chain.segments)
    )
    saved = (1 - rule.read_multiple) * (missed - at[best]) / hours  # it is computed once in any case
    label = next(one.label for each in sent for one in each.chain.segments if one.running == best)
    price = input_price(model)
    if missed < 2 * at[best]:
        return ()
    pays = ""
    if price is not None:
        pays = (
            f"; pays while a million tokens are cached for less than ${1e6 * saved * price / at[best]:.2f} an hour"
        )
    return (
        f"an explicit cache of the first {at[best]:,} tokens (up to {label}), which {shared[best] / hours:,.0f} "
        f"requests an hour share: implicit caching misses {missed / hours:,.0f} tokens an hour of it{pays}",
    )


def input_price(model: str) -> float | None:
    """US dollars for an input token that is not cached, or ``None``."""
    price = cost_usd(model, Usage(1000, 0))
    return None if price is None else price / 1000
