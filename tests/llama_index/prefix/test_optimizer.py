"""Optimized LLMs of LlamaIndex, over the emulated provider's HTTP: what they cost before and after."""

from __future__ import annotations

import random
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.tools import FunctionTool

from askonce.errors import ConfigError
from askonce.llama_index import PrefixTracker, cached, optimize_prefix
from askonce.prefix import PrefixOptimizer
from askonce.prefix.tracking.diagnosis import Cause, Diagnosis
from askonce.testing.clock import FakeClock
from tests.llama_index.prefix.conftest import Make
from tests.support.handbook import HANDBOOK
from tests.support.provider import Answer, Provider, count


@pytest.fixture
def optimizer(clock: FakeClock) -> PrefixOptimizer:
    return PrefixOptimizer(count_tokens=count, clock=clock)


def tool(name: str) -> FunctionTool:
    return FunctionTool.from_defaults(lambda question: question, name=name, description=f"Ask {name}. " * 30)


TOOLS = [tool(name) for name in ("search", "write", "look")]
KINDS = ["chat", "responses", "claude"]


def messages(question: str) -> list[ChatMessage]:
    return [ChatMessage(role="system", content=HANDBOOK), ChatMessage(role="user", content=question)]


def converse(llm: Any, clock: FakeClock, requests: int, *, seed: int = 0) -> None:
    """Questions that share a handbook and tools, which come in any order; no conversation goes on."""
    chance = random.Random(seed)
    for number in range(requests):
        tools = chance.sample(TOOLS, len(TOOLS))
        llm.chat_with_tools(tools, chat_history=messages(f"Question {seed}-{number}: {chance.random()}?"))
        clock.advance(30)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learned_saves_money(
    kind: str, make: Make, provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer
) -> None:
    plain = make(kind)
    converse(plain, clock, 8, seed=1)
    before = sum(row.usd for row in provider.ledger)
    llm = optimize_prefix(plain, optimizer)
    converse(llm, clock, 120, seed=2)  # a plan is tried on half of them: fewer prove nothing of a saving by half
    optimizer.replan()
    assert optimizer.plans()
    learned = len(provider.ledger)
    converse(llm, clock, 8, seed=3)
    assert sum(row.usd for row in provider.ledger[learned:]) < (0.7 if kind != "claude" else 0.4) * before
    assert all(row.read >= 1024 for row in provider.ledger[learned:])
    converse(plain, clock, 1, seed=4)
    if kind == "claude":
        assert not provider.ledger[-1].read


def clock_ticks(provider: Provider, clock: FakeClock) -> None:
    """Each request takes ten seconds: more than 15 a minute would overflow to another machine."""

    def answer(request: Any) -> Answer:
        clock.advance(10)
        return Answer()

    provider.answer = answer


@pytest.mark.parametrize("kind", KINDS)
async def test_async_chats_and_streams_are_optimized_and_tracked(
    kind: str, make: Make, provider: Provider, clock: FakeClock, optimizer: PrefixOptimizer
) -> None:
    clock_ticks(provider, clock)
    found: list[Diagnosis] = []
    tracker = PrefixTracker(count_tokens=count, clock=clock, on_diagnosis=lambda one, _: found.append(one))
    llm = optimize_prefix(make(kind), optimizer)
    with tracker:
        for number in range(20):  # with one more, a plan might come into force between the span and the request
            llm.chat(messages(f"{number}?"))
        optimizer.replan()
        llm.chat(messages("One?"))
        await llm.achat(messages("Two?"))
        assert list(llm.stream_chat(messages("Three?")))
        async for _ in await llm.astream_chat(messages("Four?")):
            pass
    assert [row.read >= 1024 for row in provider.ledger[-3:]] == [True] * 3
    for row, diagnosis in zip(provider.ledger, found, strict=True):
        assert (diagnosis.predicted_read_tokens, diagnosis.predicted_written_tokens) == (row.read, row.written)
    assert found[-1].cause is Cause.HIT


def test_it_composes_with_the_own_cache_and_changes_no_keys(
    make: Make, provider: Provider, optimizer: PrefixOptimizer, tmp_path: Any
) -> None:
    store = f"sqlite:///{tmp_path / 'cache.db'}"
    plain = make("claude")
    for llm in (
        cached(plain, store),
        cached(optimize_prefix(plain, optimizer), store),
        optimize_prefix(cached(plain, store), optimizer),
    ):
        assert llm.chat(messages("Who?")).message.content
        assert list(llm.stream_chat(messages("Who?")))
    assert len(provider.ledger) == 1


def test_other_llms_cannot_be_optimized(make: Make) -> None:
    with pytest.raises(ConfigError, match="MockLLM"):
        optimize_prefix(MockLLM())
    with pytest.raises(ConfigError, match="reuse_client"):
        optimize_prefix(make("chat", reuse_client=False))
