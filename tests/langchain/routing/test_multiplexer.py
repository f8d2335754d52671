"""Several chat models as one, in LangChain: OpenAI's real client over real HTTP, and LangChain's own suite."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, trim_messages
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests

from askonce import Cache, ConfigError
from askonce.langchain import AskOnceCache, Multiplexer, cached
from askonce.routing import Always, Cascade, Confidence, Learned
from askonce.stores.memory import MemoryStore
from tests.langchain.conftest import API_KEY
from tests.langchain.samples import Make, Place, look_up
from tests.support.provider import Provider

COSTS = (0.001, 0.01)


def yes(message: AIMessage) -> bool:
    return True


def no(message: AIMessage) -> bool:
    return False


def same(question: str, answer: str, reference: str) -> bool:
    return True


@pytest.fixture
def pair(openai: Make) -> list[ChatOpenAI]:
    return [openai(model="gpt-4.1-nano"), openai(model="gpt-4.1")]


def mark(message: AIMessage) -> dict[str, Any]:
    return message.response_metadata["askonce"]


def called(provider: Provider) -> list[str]:
    return [body["model"] for body in provider.requests]


class TestMultiplexerAsAChatModel(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return Multiplexer

    @property
    def chat_model_params(self) -> dict[str, Any]:
        models = [ChatOpenAI(model=name, api_key="sk-none") for name in ("gpt-4.1-nano", "gpt-4.1")]
        return {"models": models, "strategy": Always()}


async def test_a_cascade_calls_the_next_only_if_the_verifier_says_no(
    pair: list[ChatOpenAI], provider: Provider
) -> None:
    content = Multiplexer(pair, strategy=Cascade(yes))
    for answer in (content.invoke("hi"), await content.ainvoke("hi")):
        assert (mark(answer)["model"], mark(answer)["calls"]) == ("gpt-4.1-nano", ["gpt-4.1-nano"])
    picky = Multiplexer(pair, strategy=Cascade(no))
    for answer in (picky.invoke("hi"), await picky.ainvoke("hi")):
        assert (mark(answer)["model"], mark(answer)["calls"]) == ("gpt-4.1", ["gpt-4.1-nano", "gpt-4.1"])
        small, large = 20 * 0.1e-6, 20 * 2e-6
        assert mark(answer)["cost_usd"] > (small + large) / 2
    assert called(provider) == ["gpt-4.1-nano"] * 2 + ["gpt-4.1-nano", "gpt-4.1"] * 2
    stats = picky.stats()
    assert (stats.requests, stats.escalated, stats.calls) == (2, 2, {"gpt-4.1-nano": 2, "gpt-4.1": 2})
    assert stats.saved_usd < 0 < content.stats().saved_usd or content.stats().always_last_usd > 0


async def test_a_stream_holds_back_what_is_not_accepted(pair: list[ChatOpenAI]) -> None:
    for verifier, name in ((yes, "gpt-4.1-nano"), (no, "gpt-4.1")):
        model = Multiplexer(pair, strategy=Cascade(verifier))
        for chunks in (list(model.stream("hi")), [chunk async for chunk in model.astream("hi")]):
            assert len(chunks) > 3
            whole = chunks[0].__add__(chunks[1:])
            assert mark(whole)["model"] == name
            assert whole.content.count("Answer") == 1
            assert whole.usage_metadata is not None and whole.usage_metadata["output_tokens"] == 20


def test_an_abandoned_stream_leaves_nothing_open(pair: list[ChatOpenAI]) -> None:
    model = Multiplexer(pair, strategy=Learned(feedback=True, min_quality=0.1), costs=COSTS, store=MemoryStore())
    for _ in range(3):
        stream = model.stream("hi")
        next(stream)
        stream.close()
    assert model._router._shared.state.sums["open"] == 0


def test_tools_and_structured_output_reach_whichever_model_answers(
    pair: list[ChatOpenAI], provider: Provider
) -> None:
    model = Multiplexer(pair, strategy=Cascade(Place))
    answer = model.bind_tools([look_up], tool_choice="any").invoke("Paris?")
    assert answer.tool_calls[0]["args"]["city"] == "Paris" and mark(answer)["calls"] == ["gpt-4.1-nano"]
    assert provider.requests[0]["tool_choice"] == "required"
    assert isinstance(model.with_structured_output(Place).invoke("Paris?"), Place)
    agent = create_agent(Multiplexer(pair, strategy=Always(0)), [look_up])
    messages = agent.invoke({"messages": [HumanMessage("Paris?")]})["messages"]
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]


async def test_an_agent_streams_no_rejected_answer(pair: list[ChatOpenAI]) -> None:
    agent = create_agent(Multiplexer(pair, strategy=Cascade(no)), [look_up])
    texts: list[str] = []
    async for message, _ in agent.astream({"messages": [HumanMessage("Paris?")]}, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            texts.append(message.text)
    assert "".join(texts).count("Answer") == 1


async def test_a_model_that_fails_is_passed_over_and_the_last_one_raises(
    pair: list[ChatOpenAI], provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    model = Multiplexer(pair, strategy=Always(0))
    for call in (model.invoke, lambda text: list(model.stream(text))[-1]):
        provider.failures = 1
        assert mark(call("hi"))["why"] == "a cheaper one failed"
    assert caplog.text.count("failed, and the next one is called") == 1
    provider.failures = 2
    with pytest.raises(Exception, match="out of order"):
        await model.ainvoke("hi")
    assert model.stats().failures == {"gpt-4.1-nano": 3, "gpt-4.1": 1}


def test_confidence_is_read_off_the_logprobs() -> None:
    def model(logprob: float) -> BaseChatModel:
        metadata = {"logprobs": {"content": [{"token": "a", "logprob": logprob}]}}
        return GenericFakeChatModel(messages=iter([AIMessage("a", response_metadata=metadata)] * 2))

    for logprob, calls in ((math.log(0.95), 1), (math.log(0.5), 2)):
        models = [model(logprob), model(0.0)]
        assert len(mark(Multiplexer(models, strategy=Cascade(Confidence(0.9))).invoke("q"))["calls"]) == calls


@pytest.mark.parametrize("reply", ["Yes.", "no"])
async def test_a_chat_model_can_be_the_verifier_and_the_judge(pair: list[ChatOpenAI], reply: str) -> None:
    judge = GenericFakeChatModel(messages=iter([AIMessage(reply)] * 9))
    cascade = Multiplexer(pair, strategy=Cascade(judge))
    expected = 1 if reply == "Yes." else 2
    assert len(mark(cascade.invoke("hi"))["calls"]) == len(mark(await cascade.ainvoke("hi"))["calls"]) == expected
    learned = Multiplexer(pair, strategy=Learned(judge=judge), costs=COSTS, store=MemoryStore())
    answer = await learned.ainvoke("hi")
    assert mark(answer)["calls"] == ["gpt-4.1-nano", "gpt-4.1"] and mark(answer)["model"] == "gpt-4.1"


def test_learned_comes_to_call_the_small_one_alone_and_keeps_its_floor(openai: Make, provider: Provider) -> None:
    store = MemoryStore()
    models = [_Fixed(text="four"), _Fixed(text="four!")]
    model = Multiplexer(models, strategy=Learned(judge=same, min_quality=0.8, seed=1), costs=COSTS, store=store)
    marks = [mark(model.invoke(f"What is {number % 7} and 2?")) for number in range(200)]
    alone = [one for one in marks if one["calls"] == ["_Fixed (1)"]]
    stats = model.stats()
    assert len(alone) > 50 and all("id" in one for one in alone)
    assert stats.quality is not None and stats.quality_at_least is not None
    assert stats.quality == 1 and 0.8 <= stats.quality_at_least < 1
    assert stats.saved_usd > 0.2 * stats.always_last_usd
    model.close()
    again = Multiplexer(models, strategy=Learned(judge=same, min_quality=0.8, seed=2), costs=COSTS, store=store)
    assert again.stats().answers == stats.answers and again.stats().quality_at_least == stats.quality_at_least
    assert len(mark(again.invoke("What is 3 and 2?"))["calls"]) == 1


async def test_feedback_counts_once_also_from_another_process() -> None:
    store, strategy = MemoryStore(), Learned(feedback=True, min_quality=0.2, name="shop")
    models = [_Fixed(text="four"), _Fixed(text="four!")]
    first, second = (Multiplexer(models, strategy=strategy, costs=COSTS, store=store) for _ in range(2))
    answers = [first.invoke(f"question {number}") for number in range(20)]
    cheap = [answer for answer in answers if mark(answer)["model"] == "_Fixed (1)"]
    assert cheap and not first.feedback(next(one for one in answers if one not in cheap), wrong=True)
    first._router.sync()
    assert await second.afeedback(cheap[0], wrong=True)
    assert not first.feedback(cheap[0], wrong=True) and not second.feedback(cheap[0], wrong=False)
    second._router.sync()
    first._router.sync()
    assert first.stats().quality == second.stats().quality == 1 - 1 / 20


@pytest.mark.parametrize("hooked", [True, False])
async def test_with_the_cache_the_entry_costs_what_all_calls_cost(
    hooked: bool, pair: list[ChatOpenAI], provider: Provider
) -> None:
    with Cache("memory://") as cache:

        def make(strategy: Any) -> Any:
            if hooked:
                return Multiplexer(pair, strategy=strategy, cache=AskOnceCache(cache))
            return cached(Multiplexer(pair, strategy=strategy), cache)

        first, hit = make(Cascade(no)).invoke("hi"), await make(Cascade(no)).ainvoke("hi")
        assert provider.count == 2 and hit.content == first.content
        assert mark(hit)["hit"] == "exact" and mark(hit)["model"] == "gpt-4.1"
        assert mark(hit)["saved_usd"] == mark(first)["cost_usd"] == cache.stats().saved_usd > 0
        make(Cascade(yes)).invoke("hi")  # another verifier may accept another answer
        make(Always(1)).invoke("hi")
        assert provider.count == 4
        if not hooked:
            chunks = list(make(Cascade(no)).stream("hi"))
            assert provider.count == 4 and len(chunks) > 2
        make(Cascade(lambda message: True)).invoke("hi")  # which cannot be named
        make(Cascade(lambda message: True)).invoke("hi")
        assert provider.count == 6
        assert API_KEY not in json.dumps([entry.payload.decode("latin-1") for entry in cache.entries()])


def test_tokens_are_counted_as_the_last_model_does() -> None:
    model = Multiplexer([_Fixed(text="a"), _Fixed(text="b", custom_get_token_ids=len_of_words)], strategy=Always())
    assert model.get_num_tokens("one two three") == 3
    assert len(trim_messages([HumanMessage("one two")] * 9, token_counter=model, max_tokens=12)) == 4


def len_of_words(text: str) -> list[int]:
    return [len(word) for word in text.split()]


def test_what_cannot_work_is_refused_at_construction(pair: list[ChatOpenAI]) -> None:
    for wrong, says in (
        (lambda: Learned(), "a verifier, a judge, or feedback=True"),
        (lambda: Learned(judge=same, min_quality=95), "share between 0 and 1"),
        (lambda: Cascade(None), "verifier"),
        (lambda: Multiplexer(pair[:1], strategy=Always()), "two or more"),
        (lambda: Multiplexer(pair, strategy=Always(2)), "there are 2 models"),
        (lambda: Multiplexer([*pair, "gpt"], strategy=Always()), "chat models, not a str"),
        (lambda: Multiplexer(pair, strategy="cascade"), "askonce.routing"),
        (lambda: Multiplexer(pair, strategy=Always(), costs=[1]), "costs"),
        (lambda: Multiplexer(pair, strategy=Always()).feedback(AIMessage("a"), wrong=True), "feedback"),
    ):
        with pytest.raises(ConfigError, match=says):
            wrong()


class _Fixed(GenericFakeChatModel):
    """Says one thing, for ever."""

    messages: Iterator[AIMessage | str] = iter(())
    text: str

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        self.messages = iter([self.text])
        return super()._generate(*args, **kwargs)
