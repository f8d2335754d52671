"""Several LLMs as one, in LlamaIndex: OpenAI's real client over real HTTP."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest
from llama_index.core.agent import FunctionAgent
from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI

from askonce import Cache, ConfigError
from askonce.llama_index import Multiplexer, cached
from askonce.llama_index.keys.requests import chat_form
from askonce.routing import Always, Cascade, Learned
from askonce.stores.memory import MemoryStore
from tests.llama_index.conftest import API_KEY, LLAMA_INDEX_WARNINGS
from tests.llama_index.samples import HELLO, Album, add
from tests.support.provider import Provider, Talk

pytestmark = LLAMA_INDEX_WARNINGS


def yes(response: Any) -> bool:
    return True


def no(response: Any) -> bool:
    return False


def same(question: str, answer: str, reference: str) -> bool:
    return answer == reference


@pytest.fixture
def pair(openai: OpenAI) -> list[OpenAI]:
    return [openai.model_copy(update={"model": name}) for name in ("gpt-4.1-nano", "gpt-4.1")]


def mark(response: Any) -> dict[str, Any]:
    return response.additional_kwargs["askonce"]


async def every_way(llm: Any) -> list[Any]:
    """The answers of all endpoints."""
    streams = [await llm.astream_chat(HELLO), await llm.astream_complete("hello")]
    return [
        llm.chat(HELLO),
        llm.complete("hello"),
        await llm.achat(HELLO),
        await llm.acomplete("hello"),
        list(llm.stream_chat(HELLO))[-1],
        list(llm.stream_complete("hello"))[-1],
        *[[chunk async for chunk in stream][-1] for stream in streams],
    ]


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_cascade_calls_the_next_only_if_the_verifier_says_no(
    accepted: bool, pair: list[OpenAI], provider: Provider
) -> None:
    llm = Multiplexer(pair, strategy=Cascade(yes if accepted else no))
    answers = await every_way(llm)
    calls = ["gpt-4.1-nano"] if accepted else ["gpt-4.1-nano", "gpt-4.1"]
    for answer in answers:
        assert (mark(answer)["model"], mark(answer)["calls"]) == (calls[-1], calls)
        assert mark(answer)["cost_usd"] > 0
        text = answer.message.content if isinstance(answer, ChatResponse) else answer.text
        assert text == "You said: hello"
    assert provider.count == len(answers) * len(calls)
    stats = llm.stats()
    assert (stats.requests, stats.escalated) == (len(answers), 0 if accepted else len(answers))
    assert stats.spent_usd == pytest.approx(sum(mark(answer)["cost_usd"] for answer in answers))


def test_a_stream_is_whole_and_only_the_chosen_one(pair: list[OpenAI]) -> None:
    for verifier in (yes, no):
        chunks = list(Multiplexer(pair, strategy=Cascade(verifier)).stream_chat(HELLO))
        assert len(chunks) > 2 and "".join(chunk.delta or "" for chunk in chunks) == "You said: hello"
        assert chunks[-1].message.content == "You said: hello"


async def test_tools_agents_and_structured_output_work(pair: list[OpenAI], provider: Provider) -> None:
    llm = Multiplexer(pair, strategy=Cascade(no))
    assert isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model
    response = llm.chat_with_tools([FunctionTool.from_defaults(add)], "three", tool_required=True)
    (call,) = llm.get_tool_calls_from_response(response)
    assert (call.tool_name, call.tool_kwargs) == ("add", {"a": 3})
    assert (
        provider.requests[0]["tools"] == provider.requests[1]["tools"]
        and provider.requests[0]["tool_choice"] == "required"
    )
    agent = FunctionAgent(tools=[add], llm=llm)
    assert "You said" in str(await agent.run("three"))
    schema = Multiplexer(pair, strategy=Cascade(Album))
    album = schema.as_structured_llm(Album).chat(HELLO)
    assert album.raw == Album(title="hello", tracks=3)
    assert schema.stats().calls == {"gpt-4.1-nano": 1, "gpt-4.1": 0}


async def test_a_model_that_fails_is_passed_over_and_the_last_one_raises(
    pair: list[OpenAI], provider: Provider
) -> None:
    down = pair[0].model_copy(update={"api_base": "http://127.0.0.1:9/v1"})
    llm = Multiplexer([down, pair[1]], strategy=Always(0))
    assert {mark(answer)["why"] for answer in await every_way(llm)} == {"a cheaper one failed"}
    provider.failures = 99
    with pytest.raises(Exception, match="out of order"):
        llm.chat(HELLO)


async def test_learned_shares_its_state_and_takes_feedback(pair: list[OpenAI]) -> None:
    store, strategy = MemoryStore(), Learned(judge=same, min_quality=0.8, seed=1)
    llms = [MockLLM(max_tokens=3), MockLLM(max_tokens=3)]
    llm = Multiplexer(llms, strategy=strategy, costs=(0.001, 0.01), store=store)
    answers = [llm.complete("one two three four") for _ in range(150)]
    alone = [answer for answer in answers if len(mark(answer)["calls"]) == 1 and "id" in mark(answer)]
    assert len(alone) > 30 and (llm.stats().quality_at_least or 0) >= 0.8
    assert await llm.afeedback(alone[0], wrong=True) and not llm.feedback(alone[0], wrong=True)
    llm.close()
    again = Multiplexer(llms, strategy=strategy, costs=(0.001, 0.01), store=store)
    assert again.stats().answers == llm.stats().answers
    assert copy.deepcopy(again)._router is again._router


def test_an_llm_can_be_the_judge(pair: list[OpenAI], provider: Provider, talk: Talk) -> None:
    talk.says = "Yes"
    llm = Multiplexer(pair, strategy=Learned(judge=pair[1]), store=MemoryStore())
    assert mark(llm.chat(HELLO))["model"] == "gpt-4.1" and provider.count == 3
    assert mark(Multiplexer(pair, strategy=Cascade(pair[1])).chat(HELLO))["model"] == "gpt-4.1-nano"


async def test_with_the_cache_the_entry_costs_what_all_calls_cost(pair: list[OpenAI], cache: Cache) -> None:
    def make(strategy: Any) -> Any:
        return cached(Multiplexer(pair, strategy=strategy), cache)

    first, hit = make(Cascade(no)).chat(HELLO), await make(Cascade(no)).achat(HELLO)
    assert mark(hit)["hit"] == "exact" and mark(hit)["model"] == "gpt-4.1"
    assert mark(hit)["saved_usd"] == mark(first)["cost_usd"] == cache.stats().saved_usd > 0
    tool = [FunctionTool.from_defaults(add)]
    assert "askonce" in make(Cascade(no)).chat_with_tools(tool, "three").additional_kwargs
    assert mark(make(Cascade(no)).chat_with_tools(tool, "three"))["hit"] == "exact"
    make(Cascade(yes)).chat(HELLO)  # another verifier may accept another answer
    make(Always(1)).chat(HELLO)
    assert (cache.stats().hits, cache.stats().misses, cache.stats().bypassed) == (2, 4, 0)
    assert API_KEY not in json.dumps([entry.payload.decode("latin-1") for entry in cache.entries()])


def test_it_shows_its_models_without_their_credentials(pair: list[OpenAI], cache: Cache) -> None:
    llm = Multiplexer(pair, strategy=Cascade(pair[1]))
    for one in (llm, cached(llm, cache)):
        assert "gpt-4.1-nano" in repr(one) and "Cascade" in str(one)
        payload = getattr(one, "to_payload", one.to_dict)()  # LlamaIndex 0.14.22 has no such method
        for shown in (repr(one), str(one), str(one.to_dict()), one.to_json(), str(payload)):
            assert API_KEY not in shown


def test_what_cannot_work_is_refused_at_construction(pair: list[OpenAI]) -> None:
    assert not isinstance(Multiplexer([MockLLM(), pair[0]], strategy=Always()), FunctionCallingLLM)
    for wrong, says in (
        (lambda: Multiplexer(pair[:1], strategy=Always()), "two or more"),
        (lambda: Multiplexer([*pair, "gpt"], strategy=Always()), "LLMs, not a str"),
        (lambda: Multiplexer(pair, strategy=Cascade(object())), "verifier"),
    ):
        with pytest.raises(ConfigError, match=says):
            wrong()


async def test_asynchronous_calls_are_named_by_the_asynchronous_clients_inside(
    provider: Provider, cache: Cache
) -> None:
    for tenant, calls in (("a", 1), ("b", 2), ("a", 2)):
        async with httpx.AsyncClient(headers={"x-tenant": tenant}) as client:
            settings = {"api_base": provider.openai_url, "api_key": API_KEY, "max_retries": 0}
            inside = [
                OpenAI(model="gpt-4.1-nano", async_http_client=client, **settings),
                OpenAI(model="gpt-4.1", **settings),
            ]
            await cached(Multiplexer(inside, strategy=Always(0)), cache).achat(HELLO)
            assert provider.count == calls


def test_the_environment_counts_for_models_inside_that_make_their_client_for_each_call(
    pair: list[OpenAI], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = [model.model_copy(update={"reuse_client": False}) for model in pair]
    llm = Multiplexer(inside, strategy=Always(0))
    keys = []
    for organization in ("one", "other", "one"):
        monkeypatch.setenv("OPENAI_ORG_ID", organization)
        keys.append(chat_form(llm, HELLO, {}).digest())
    assert keys[0] == keys[2] != keys[1]
