"""Optimized models of LangChain, over the emulated provider's HTTP: what they cost before and after."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI

from askonce.errors import ConfigError
from askonce.langchain import PrefixMiddleware, PrefixTracker, cached, optimize_prefix
from askonce.prefix import PrefixOptimizer
from askonce.prefix.tracking.diagnosis import Cause, Diagnosis
from askonce.testing.clock import FakeClock
from tests.langchain.prefix.clients import Make, chat, claude, newest
from tests.support.handbook import HANDBOOK
from tests.support.provider import Answer, Provider, Row, count


@pytest.fixture
def optimizer(clock: FakeClock) -> PrefixOptimizer:
    return PrefixOptimizer(count_tokens=count, clock=clock)


def responses(provider: Provider, **fields: Any) -> ChatOpenAI:
    return newest(provider, use_responses_api=True, **fields)


def tool(name: str) -> StructuredTool:
    return StructuredTool.from_function(lambda question: question, name=name, description=f"Ask {name}. " * 30)


TOOLS = [convert_to_openai_tool(tool(name)) for name in ("search", "write", "look", "call", "read")]


def shuffled(chance: random.Random) -> list[dict[str, Any]]:
    """The tools in any order, and the keys of their JSON too."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in chance.sample(list(value), len(value))}
        return value

    return [turned(one) for one in chance.sample(TOOLS, len(TOOLS))]


def converse(model: Any, clock: FakeClock, requests: int, *, gap: float = 30.0, seed: int = 0) -> None:
    """Questions that share a handbook and tools, which come in any order; no conversation goes on."""
    chance = random.Random(seed)
    for number in range(requests):
        bound = model.bind_tools(shuffled(chance))
        bound.invoke([SystemMessage(HANDBOOK), HumanMessage(f"Question {seed}-{number}: {chance.random()}?")])
        clock.advance(gap)


def usd(rows: list[Row]) -> float:
    return sum(row.usd for row in rows)


@pytest.mark.parametrize("make", [chat, newest, responses, claude])
def test_what_is_learned_saves_money(
    make: Make, provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer
) -> None:
    converse(make(provider), clock, 10, seed=1)
    before = usd(provider.ledger)
    model = optimize_prefix(make(provider), optimizer)
    converse(model, clock, 30, seed=2)
    optimizer.replan()
    learned = len(provider.ledger)
    converse(model, clock, 10, seed=3)
    assert usd(provider.ledger[learned:]) < 0.5 * before
    assert all(row.read > 1024 for row in provider.ledger[learned + 1 :])


@pytest.mark.parametrize("make", [newest, claude])
def test_a_longer_lifetime_is_chosen_where_requests_are_rare(
    make: Make, provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer
) -> None:
    model = optimize_prefix(make(provider), optimizer)
    converse(model, clock, 30, gap=1200)
    optimizer.replan()
    converse(model, clock, 6, gap=1200, seed=1)
    written = {lifetime for row in provider.ledger for lifetime in row.written}
    assert written == ({"1h"} if make is claude else {"30m"})
    assert all(row.read for row in provider.ledger[31:])


def test_conversations_are_marked_at_their_end(
    provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer
) -> None:
    model = optimize_prefix(claude(provider), optimizer)

    def talk(number: int, turns: int) -> None:
        conversation: list[Any] = [SystemMessage(HANDBOOK)]
        for turn in range(turns):
            conversation.append(HumanMessage(f"And what of group {turn} of {number}? " * 20))
            conversation.append(model.invoke(conversation))
            clock.advance(20)

    provider.answer = lambda request: Answer("As I said. " * 20)
    for number in range(4):
        talk(number, 8)
    optimizer.replan()
    learned = len(provider.ledger)
    talk(9, 8)
    for before, row in zip(provider.ledger[learned:], provider.ledger[learned + 1 :], strict=False):
        assert row.read == before.read + sum(before.written.values())


@pytest.mark.parametrize("make", [chat, responses, claude])
async def test_async_calls_and_streams_are_optimized(
    make: Make, provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer
) -> None:
    model = optimize_prefix(make(provider), optimizer)
    converse(model, clock, 30)
    optimizer.replan()
    converse(model, clock, 1, seed=1)
    conversation = [SystemMessage(HANDBOOK), HumanMessage("Who?")]
    chance = random.Random(5)
    await model.bind_tools(shuffled(chance)).ainvoke(conversation)
    async for _ in model.bind_tools(shuffled(chance)).astream(conversation):
        pass
    list(await asyncio.to_thread(lambda: list(model.bind_tools(shuffled(chance)).stream(conversation))))
    assert [row.read > 1024 for row in provider.ledger[-3:]] == [True] * 3
    assert [row.stream for row in provider.ledger[-3:]] == [False, True, True]


@pytest.mark.parametrize("make", [chat, claude])
def test_an_agent_is_optimized_by_its_middleware(
    make: Make, provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer
) -> None:
    model, chance, middleware = make(provider), random.Random(6), PrefixMiddleware(optimizer)
    tools = [tool(name) for name in ("search", "write", "look")]
    for number in range(44):
        if number == 40:
            optimizer.replan()
        agent = create_agent(
            model, chance.sample(tools, len(tools)), system_prompt=HANDBOOK, middleware=[middleware]
        )
        agent.invoke({"messages": [HumanMessage(f"Who goes {number}?")]})
        clock.advance(10)
    assert provider.ledger[-1].read > 1024


def test_a_dry_run_changes_nothing_and_prints_what_it_would(
    provider: Provider, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    optimizer = PrefixOptimizer(count_tokens=count, clock=clock, dry_run=True)
    model = optimize_prefix(claude(provider), optimizer)
    converse(model, clock, 30)
    optimizer.replan()
    converse(model, clock, 3)
    assert not any(row.read or row.written for row in provider.ledger)
    printed = capsys.readouterr().out
    assert "tools sorted: call, look, read, search, write" in printed
    assert "breakpoints: behind" in printed and "system prompt (default)" in printed
    assert "Rule 7" not in printed


def test_a_tracker_sees_what_is_sent(provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer) -> None:
    found: list[Diagnosis] = []
    tracker = PrefixTracker(count_tokens=count, clock=clock, on_diagnosis=lambda one, _: found.append(one))
    model = optimize_prefix(claude(provider, callbacks=[tracker]), optimizer)
    converse(model, clock, 20)  # with one more, a plan might come into force between the callback and the request
    optimizer.replan()
    converse(model, clock, 5, seed=1)
    for row, diagnosis in zip(provider.ledger, found, strict=True):
        assert (diagnosis.predicted_read_tokens, diagnosis.predicted_written_tokens) == (row.read, row.written)
    assert {one.cause for one in found[-4:]} == {Cause.HIT}


@pytest.mark.parametrize("make", [chat, claude])
def test_it_composes_with_the_own_cache_and_changes_no_keys(
    make: Make, provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer, tmp_path: Any
) -> None:
    store = f"sqlite:///{tmp_path / 'cache.db'}"
    conversation = [SystemMessage(HANDBOOK), HumanMessage("Who?")]
    models = (
        cached(make(provider), store),
        cached(optimize_prefix(make(provider), optimizer), store),
        optimize_prefix(cached(make(provider), store), optimizer),
    )
    for model in models:
        answer = model.bind_tools(TOOLS).invoke(conversation)
        assert isinstance(answer, AIMessage)
    assert len(provider.ledger) == 1
    for model in models[1:]:
        converse(model, clock, 3, seed=id(model))
    assert len(provider.ledger) == 7


def test_other_models_cannot_be_optimized() -> None:
    with pytest.raises(ConfigError, match="GenericFakeChatModel"):
        optimize_prefix(GenericFakeChatModel(messages=iter([AIMessage("yes")])))
    with pytest.raises(ConfigError, match="plan"):
        PrefixOptimizer("cheap")  # type: ignore[arg-type]
