"""Plans are the cheapest there are: against other rules, against all sets of marks, and played by the rule."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askonce.prefix.optimize.plan import cost_of, plan, rules_of_others
from askonce.prefix.optimize.replay import marked, replayed
from askonce.prefix.optimize.statistics import TAIL, ChainStatistics, Mark, statistics_of
from askonce.prefix.requests.chain import chain_of
from askonce.prefix.requests.rules import ProviderRule, rule_for
from askonce.prefix.requests.tokens import GivenCounter
from askonce.prefix.tracking.history import Sent

COUNTER = GivenCounter(lambda text: len(text.split()))


def rule_of(provider: str = "anthropic", model: str = "claude-sonnet-4-5", **changes: Any) -> ProviderRule:
    rule = rule_for(provider, model)
    assert rule is not None
    return msgspec.structs.replace(rule, **changes)


CLAUDE = rule_of(minimum_tokens=100)
GPT = rule_of("openai", "gpt-5.6", minimum_tokens=100)


def words(number: int, seed: object) -> str:
    return f"{seed} " * number


def request(
    at: float, tools: list[str], system: list[str], messages: list[str], rule: ProviderRule = CLAUDE
) -> Sent:
    dialogue = [
        {"role": ("user", "assistant")[turn % 2], "content": [{"type": "text", "text": text}]}
        for turn, text in enumerate(messages)
    ]
    blocks = [{"type": "text", "text": text} for text in system]
    model = "claude-sonnet-4-5" if rule.provider == "anthropic" else "gpt-5.6"
    if rule.provider == "openai":
        body: dict[str, Any] = {"messages": [{"role": "system", "content": blocks}, *dialogue]}
    else:
        body = {"system": blocks, "messages": dialogue}
    body["tools"] = [{"name": f"tool{number}", "description": text} for number, text in enumerate(tools)]
    return Sent(chain_of({"model": model, **body}, rule.provider, counter=COUNTER, rule=rule), at)


@st.composite
def workloads(draw: st.DrawFn, rule: ProviderRule = CLAUDE) -> list[Sent]:
    """Conversations of one application, some of whose parts change, with gaps from seconds to hours."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    length = draw(st.sampled_from([5, 30, 110, 500]))
    volatile = draw(st.lists(st.sampled_from([0.0, 0.05, 0.5, 1.0]), min_size=5, max_size=5))
    gap = draw(st.sampled_from([10.0, 120.0, 280.0, 900.0, 3000.0]))
    goes_on = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9]))
    at, conversations, sent = 0.0, list[list[str]](), list[Sent]()
    for _ in range(draw(st.integers(1, 40))):
        at += chance.expovariate(1 / gap)

        def part(index: int) -> str:
            changed = chance.random() if chance.random() < volatile[index] else 0
            return words(length if index else 20, f"{index}-{changed}")

        if conversations and chance.random() < goes_on:
            dialogue = chance.choice(conversations)
            dialogue += [
                words(chance.choice([3, 80]), chance.random()) for _ in range(2 * chance.choice([1, 1, 12]))
            ]
        else:
            conversations.append(dialogue := [part(4)])
        sent.append(request(at, [part(0), part(1)], [part(2), part(3)], dialogue, rule))
    return sent


def all_marks(statistics: ChainStatistics) -> Iterator[tuple[Mark, ...]]:
    """All that a provider takes: no more than it allows, and lifetimes that do not grow."""
    rule = statistics.rule
    seconds = {one.name: one.idle_seconds for one in rule.lifetimes}

    def longer(marks: tuple[Mark, ...]) -> Iterator[tuple[Mark, ...]]:
        yield marks
        if len(marks) == rule.most_marks:
            return
        before = marks[-1] if marks else None
        for slot, name in itertools.product(statistics.slots, seconds):
            ordered = before is None or seconds[name] <= seconds[before.lifetime]
            if ordered and (before.slot if before else None, slot, name) in statistics.spans:
                yield from longer((*marks, Mark(slot, name)))

    return longer(())


def paid(sent: list[Sent], marks: tuple[Mark, ...], rule: ProviderRule = CLAUDE) -> float:
    """What the requests cost with these marks, played by the rule."""
    return replayed((replace(one, chain=marked(one.chain, marks, rule)) for one in sent), rule)


@settings(max_examples=80, deadline=None)
@given(workloads())
def test_a_plan_never_costs_more_than_other_rules(sent: list[Sent]) -> None:
    statistics = statistics_of(sent, CLAUDE)
    marks = plan(statistics).marks
    expected = cost_of(statistics, marks)
    assert paid(sent, marks) <= expected + 1e-6
    for name, others in rules_of_others(CLAUDE).items():
        assert expected <= cost_of(statistics, others), name
        assert paid(sent, marks) <= paid(sent, others) + 1e-6, name


@settings(max_examples=20, deadline=None)
@given(workloads(GPT))
def test_so_it_is_where_the_provider_sets_breakpoints_too(sent: list[Sent]) -> None:
    statistics = statistics_of(sent, GPT)
    marks = plan(statistics).marks
    assert paid(sent, marks, GPT) <= cost_of(statistics, marks) + 1e-6
    for name, others in rules_of_others(GPT).items():
        assert cost_of(statistics, marks) <= cost_of(statistics, others), name


@pytest.mark.parametrize("rule", [CLAUDE, GPT], ids=["claude", "gpt-5.6"])
@settings(max_examples=15, deadline=None)
@given(data=st.data(), most=st.sampled_from([1, 2, 3]))
def test_no_set_of_marks_is_cheaper(rule: ProviderRule, data: Any, most: int) -> None:
    statistics = statistics_of(data.draw(workloads(rule)), msgspec.structs.replace(rule, most_marks=most))
    removable = rule.marking != "both"  # a breakpoint that the provider sets itself stays in all plans
    best = min(
        cost_of(statistics, marks)
        for marks in all_marks(statistics)
        if removable or TAIL in [m.slot for m in marks]
    )
    assert cost_of(statistics, plan(statistics).marks) == pytest.approx(best)


@settings(max_examples=30, deadline=None)
@given(workloads(), st.data())
def test_the_expected_cost_of_marks_on_tools_and_system_prompt_is_what_is_paid(sent: list[Sent], data: Any) -> None:
    statistics = statistics_of(sent, CLAUDE)
    head = [one for one in statistics.slots if one.level != "messages"]
    slots = sorted(data.draw(st.sets(st.sampled_from(head), max_size=4)), key=statistics.slots.index)
    hours = data.draw(st.integers(0, len(slots)))
    marks = tuple(Mark(slot, "1h" if number < hours else "5m") for number, slot in enumerate(slots))
    assert paid(sent, marks) == pytest.approx(cost_of(statistics, marks))


def gemini(at: float, question: str) -> Sent:
    body = {
        "model": "gemini-2.5-pro",
        "systemInstruction": {"parts": [{"text": words(5000, "rule")}]},
        "contents": [{"role": "user", "parts": [{"text": question}]}],
    }
    return Sent(chain_of(body, "gemini", counter=COUNTER), at)


def test_an_explicit_cache_of_gemini_is_proposed_with_its_break_even() -> None:
    rule = rule_of("gemini", "gemini-2.5-pro")
    rare, often = ([gemini(gap * number, f"{number}?") for number in range(13)] for gap in (600.0, 60.0))
    [proposal] = plan(statistics_of(rare, rule), sent=rare).proposals
    assert "the first 5,000 tokens (up to system prompt)" in proposal
    # 12 more requests in 2 hours, each misses all: 6 × 0.9 × $1.25 for a million tokens.
    assert "for less than $6.75 an hour" in proposal
    assert not plan(statistics_of(often, rule), sent=often).proposals


def test_blocks_that_change_are_proposed_to_stand_behind() -> None:
    sent = [
        request(60.0 * number, ["look"], [f"It is {number}", words(300, "rule")], [f"{number}?"])
        for number in range(20)
    ]
    made = plan(statistics_of(sent, CLAUDE), sent=sent)
    [proposal] = made.proposals
    assert "system prompt, block 2, system prompt, block 1" in proposal
    assert "0.25 / 0.9 = 0.28 reads" in made.explain()


def test_conversations_that_overflow_are_spread_over_keys() -> None:
    rule = rule_of("openai", "gpt-5")
    body = {"model": "gpt-5", "messages": [{"role": "system", "content": words(2000, "rule")}]}
    sent = []
    for number in range(240):
        dialogue = {"role": "user", "content": words(200, f"{number % 12}")}
        chain = chain_of({**body, "messages": [*body["messages"], dialogue]}, "openai", counter=COUNTER)
        sent.append(Sent(chain, float(number)))
    made = plan(statistics_of(sent, rule), sent=sent)
    assert made.keys > 1
    assert made.cost_tokens < made.other_costs["automatic"]
