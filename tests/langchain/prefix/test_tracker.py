"""The tracker of prompt prefixes in LangChain, over the emulated provider's HTTP."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from askonce.langchain import PrefixTracker, cached
from askonce.prefix.tracking.diagnosis import Cause, Diagnosis
from askonce.testing.clock import FakeClock
from tests.langchain.prefix.clients import Make, chat, claude, newest
from tests.support.handbook import HANDBOOK
from tests.support.provider import Answer, Call, Provider, count


@pytest.fixture
def diagnoses() -> list[Diagnosis]:
    return []


@pytest.fixture
def tracker(clock: FakeClock, diagnoses: list[Diagnosis]) -> PrefixTracker:
    return PrefixTracker(
        count_tokens=count,
        clock=clock,
        keep_text=True,
        application="shop",
        on_diagnosis=lambda diagnosis, _: diagnoses.append(diagnosis),
    )


def responses(provider: Provider, **fields: Any) -> ChatOpenAI:
    return chat(provider, use_responses_api=True, **fields)


def system(make: Make) -> SystemMessage:
    if make is not claude:
        return SystemMessage(HANDBOOK)
    return SystemMessage([{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}])


def agrees(provider: Provider, diagnoses: list[Diagnosis]) -> None:
    """What was predicted is what the provider did, and what it reported arrived."""
    for row, diagnosis in zip(provider.ledger, diagnoses, strict=True):
        assert (diagnosis.read_tokens, diagnosis.written_tokens) == (row.read, sum(row.written.values()))
        assert diagnosis.input_tokens == row.input
        assert (diagnosis.predicted_read_tokens, diagnosis.predicted_written_tokens) == (row.read, row.written)


@pytest.mark.parametrize("make", [chat, responses, newest, claude])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_conversation_is_predicted_to_the_token(
    make: Make, way: str, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis], clock: FakeClock
) -> None:
    model = make(provider, callbacks=[tracker])
    conversation: list[Any] = [system(make)]
    for turn in range(4):
        conversation.append(HumanMessage(f"And what of group {turn}?"))
        if way == "invoke":
            conversation.append(model.invoke(conversation))
        else:
            chunks = list(model.stream(conversation))
            conversation.append(AIMessage("".join(chunk.text for chunk in chunks)))
        clock.advance(20)
    agrees(provider, diagnoses)
    last = Cause.NOT_MARKED if make is claude else Cause.HIT  # of the conversation, only the handbook is marked
    assert [one.cause for one in diagnoses] == [Cause.FIRST_SEEN, Cause.HIT, Cause.HIT, last]


@pytest.mark.parametrize("make", [chat, responses, claude])
async def test_async_calls_and_streams_are_tracked(
    make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    model = make(provider)
    config: Any = {"callbacks": [tracker]}
    await model.ainvoke([system(make), HumanMessage("One?")], config)
    async for _ in model.astream([system(make), HumanMessage("Two?")], config):
        pass
    agrees(provider, diagnoses)
    assert diagnoses[1].read_tokens >= 1024


@tool
def search(question: str, places: int = 3) -> str:
    """Look a rule up in the handbook, in so many places."""
    return f"Found nothing on {question} in {places} places."


@tool
def write(text: str) -> str:
    """Write a letter to the customer."""
    return "sent"


@pytest.mark.parametrize("make", [chat, responses, claude])
def test_an_agent_is_tracked_by_its_middleware(
    make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    answers = itertools.cycle(
        [Answer("", (Call("search", {"question": "who?", "places": 2}),)), Answer("Group 7.")]
    )
    provider.answer = lambda request: next(answers)
    middleware = tracker.middleware()
    for question in ("Who goes first?", "Who goes last?"):
        agent = create_agent(make(provider), [search, write], system_prompt=system(make), middleware=[middleware])
        agent.invoke({"messages": [HumanMessage(question)]})
    agrees(provider, diagnoses)
    assert len(diagnoses) == 4
    assert [one.cause for one in diagnoses[1:]] == [Cause.HIT] * 3


@pytest.mark.parametrize("make", [chat, claude])
def test_tools_that_come_in_another_order_are_named(
    make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    model = make(provider, callbacks=[tracker])
    for tools in ([search, write], [write, search]):
        model.bind_tools(tools).invoke([system(make), HumanMessage("Who?")])
    agrees(provider, diagnoses)
    broken = diagnoses[1]
    assert (broken.cause, broken.segment, broken.looks_like) == (Cause.BROKEN, "tool write", "reordered tools")
    assert broken.readable_tokens > 1024
    [row] = [one for one in tracker.days()[0].sums if one.cause == Cause.BROKEN]
    assert (row.application, row.segment, row.requests) == ("shop", "tool write", 1)
    assert row.lost_usd > 0


def test_answers_from_the_own_cache_were_not_sent(
    provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    model = cached(chat(provider), "memory://")
    for _ in range(20):
        model.invoke([system(chat), HumanMessage("Who?")], config={"callbacks": [tracker]})
        list(model.stream([system(chat), HumanMessage("Who?")], config={"callbacks": [tracker]}))
    model.invoke([system(chat), HumanMessage("Who else?")], config={"callbacks": [tracker]})
    agrees(provider, diagnoses)
    assert len(diagnoses) == len(provider.ledger) == 2


def test_a_fifth_breakpoint_is_named_when_the_provider_refuses_it(
    provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    conversation = [HumanMessage([{"type": "text", "text": "Who?", "cache_control": {"type": "ephemeral"}}])] * 4
    with pytest.raises(Exception, match="maximum of 4"):
        claude(provider, callbacks=[tracker]).invoke([system(claude), *conversation])
    assert [one.cause for one in diagnoses] == [Cause.TOO_MANY_MARKS]


def test_a_model_of_another_package_is_tracked_by_the_rules_that_are_declared_for_it(
    clock: FakeClock, diagnoses: list[Diagnosis]
) -> None:
    tracker = PrefixTracker(
        provider="vllm", count_tokens=count, clock=clock, on_diagnosis=lambda one, _: diagnoses.append(one)
    )
    usage: Any = {"input_tokens": 2409, "output_tokens": 1, "total_tokens": 2410}
    read: Any = usage | {"input_token_details": {"cache_read": 2400}}
    answers = iter([AIMessage("One.", usage_metadata=usage), AIMessage("Two.", usage_metadata=read)])
    model = GenericFakeChatModel(messages=answers, callbacks=[tracker])
    for question in ("One?", "Two?"):
        called = AIMessage("", tool_calls=[{"name": "search", "args": {"places": 2}, "id": "1"}])
        model.invoke([system(chat), called, ToolMessage("none", tool_call_id="1"), HumanMessage(question)])
        clock.advance(1)
    assert [one.cause for one in diagnoses] == [Cause.FIRST_SEEN, Cause.HIT]
    assert 0 < diagnoses[1].predicted_read_tokens <= diagnoses[1].read_tokens == 2400


def test_a_tracker_is_closed_at_the_end_of_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    tracker = PrefixTracker()
    monkeypatch.setattr(tracker.core, "close", lambda: closed.append(True))
    with tracker as entered:
        assert entered is tracker and not closed
    assert closed == [True]


def test_a_failing_tracker_does_not_fail_the_call(
    provider: Provider, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(text: str) -> int:
        raise RuntimeError(f"no tokenizer for {text}")

    tracker = PrefixTracker(count_tokens=broken, clock=clock)
    assert chat(provider, callbacks=[tracker]).invoke("Who?").text
    assert "cannot be tracked: RuntimeError" in caplog.text
    assert "Who?" not in caplog.text


def test_an_unknown_model_is_reported_once(
    tracker: PrefixTracker, diagnoses: list[Diagnosis], caplog: pytest.LogCaptureFixture
) -> None:
    model = FakeListChatModel(responses=["One."], callbacks=[tracker])
    for _ in range(2):
        model.invoke("Who?")
    [warning] = caplog.messages
    assert "give PrefixTracker a provider" in warning
    assert not diagnoses
