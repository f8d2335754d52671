"""The tracker of prompt prefixes in LlamaIndex, over the emulated provider's HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from llama_index.core import Settings
from llama_index.core.base.llms.types import CacheControl, CachePoint, TextBlock
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.tools import FunctionTool

import askonce.llama_index
from askonce.llama_index import PrefixTracker, cached
from askonce.prefix.tracking.diagnosis import Cause, Diagnosis
from askonce.testing.clock import FakeClock
from tests.llama_index.prefix.conftest import Make
from tests.support.handbook import HANDBOOK
from tests.support.provider import Provider, count


@pytest.fixture
def diagnoses() -> list[Diagnosis]:
    return []


@pytest.fixture
def tracker(clock: FakeClock, diagnoses: list[Diagnosis]) -> Iterator[PrefixTracker]:
    tracker = PrefixTracker(
        count_tokens=count,
        clock=clock,
        keep_text=True,
        on_diagnosis=lambda diagnosis, _: diagnoses.append(diagnosis),
    )
    yield tracker.install()
    tracker.close()


def messages(kind: str, question: str) -> list[ChatMessage]:
    if kind != "claude":
        return [ChatMessage(role="system", content=HANDBOOK), ChatMessage(role="user", content=question)]
    point = CachePoint(cache_control=CacheControl(type="ephemeral"))  # not passed on from a system message
    return [ChatMessage(role="user", blocks=[TextBlock(text=HANDBOOK), point, TextBlock(text=question)])]


def agrees(provider: Provider, diagnoses: list[Diagnosis]) -> None:
    """What was predicted is what the provider did, and what it reported arrived."""
    for row, diagnosis in zip(provider.ledger, diagnoses, strict=True):
        assert (diagnosis.read_tokens, diagnosis.written_tokens) == (row.read, sum(row.written.values()))
        assert diagnosis.input_tokens == row.input
        assert (diagnosis.predicted_read_tokens, diagnosis.predicted_written_tokens) == (row.read, row.written)


KINDS = ["chat", "responses", "claude"]


@pytest.mark.parametrize("kind", KINDS)
def test_chats_and_streams_are_predicted_to_the_token(
    kind: str, make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis], clock: FakeClock
) -> None:
    llm = make(kind)
    llm.chat(messages(kind, "One?"))
    clock.advance(20)
    assert list(llm.stream_chat(messages(kind, "Two?")))
    agrees(provider, diagnoses)
    assert [one.cause for one in diagnoses] == [Cause.FIRST_SEEN, Cause.HIT]
    assert diagnoses[1].read_tokens >= 1024


@pytest.mark.parametrize("kind", KINDS)
async def test_async_chats_and_streams_are_tracked(
    kind: str, make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    llm = make(kind)
    await llm.achat(messages(kind, "One?"))
    async for _ in await llm.astream_chat(messages(kind, "Two?")):
        pass
    agrees(provider, diagnoses)
    assert [one.cause for one in diagnoses] == [Cause.FIRST_SEEN, Cause.HIT]


@pytest.mark.parametrize("kind", KINDS)
async def test_completions_are_chats_too(
    kind: str, make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    llm = make(kind)
    llm.complete(f"{HANDBOOK} One?")
    assert list(llm.stream_complete(f"{HANDBOOK} Two?"))
    await llm.acomplete(f"{HANDBOOK} Three?")
    agrees(provider, diagnoses)
    assert len(diagnoses) == len(provider.ledger) == 3
    cached_llm = cached(llm, "memory://")
    for _ in range(3):
        cached_llm.complete("Who?")
    assert len(diagnoses) == len(provider.ledger) == 4


def search(question: str, places: int = 3) -> str:
    """Look a rule up in the handbook, in so many places."""
    return question * places


def write(text: str) -> str:
    """Write a letter to the customer."""
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_tools_that_come_in_another_order_are_named(
    kind: str, make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    llm, tools = make(kind), [FunctionTool.from_defaults(search), FunctionTool.from_defaults(write)]
    for order in (tools, tools[::-1]):
        llm.chat_with_tools(order, chat_history=messages(kind, "Who?"))
    agrees(provider, diagnoses)
    broken = diagnoses[1]
    assert (broken.cause, broken.segment, broken.looks_like) == (Cause.BROKEN, "tool write", "reordered tools")


def test_answers_from_the_own_cache_were_not_sent(
    make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    llm = cached(make("chat"), "memory://")
    for _ in range(3):
        llm.chat(messages("chat", "Who?"))
        assert list(llm.stream_chat(messages("chat", "Who?")))
    agrees(provider, diagnoses)
    assert 1 <= len(diagnoses) < 3


def test_install_adds_a_tracker_and_takes_it_away_again(
    make: Make, provider: Provider, clock: FakeClock, diagnoses: list[Diagnosis]
) -> None:
    tracker = PrefixTracker(count_tokens=count, clock=clock, on_diagnosis=lambda one, _: diagnoses.append(one))
    Settings.llm = make("chat")
    with askonce.llama_index.install("memory://", embed_model=False, prefix=tracker):
        Settings.llm.chat(messages("chat", "Who?"))
    assert len(diagnoses) == 1
    Settings.llm.chat(messages("chat", "Who else?"))
    assert len(diagnoses) == 1


def test_a_chat_that_fails_is_forgotten(
    make: Make, provider: Provider, tracker: PrefixTracker, diagnoses: list[Diagnosis]
) -> None:
    llm = make("chat")
    llm.model = "gpt-4o-of-nobody"
    with pytest.raises(Exception, match="gpt"):
        llm.chat([ChatMessage(role="user", content="Who?")], prompt_cache_options={"mode": "explicit"})
    assert not diagnoses
    assert not tracker._calls
    assert not tracker._models


def test_a_model_of_another_package_is_tracked_by_the_rules_that_are_declared_for_it(
    clock: FakeClock, diagnoses: list[Diagnosis]
) -> None:
    tracker = PrefixTracker(
        provider="vllm", count_tokens=count, clock=clock, on_diagnosis=lambda one, _: diagnoses.append(one)
    )
    with tracker:
        for question in ("One?", "Two?"):
            MockLLM(max_tokens=3).chat(messages("chat", question))
            clock.advance(1)
    assert [(one.cause, one.reported) for one in diagnoses] == [(Cause.UNKNOWN, False)] * 2
    assert diagnoses[1].predicted_read_tokens > 1024
