"""Cached models, by LangChain's hook and by `cached`: OpenAI's real client over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import APIConnectionError
from pydantic import BaseModel

from askonce import Cache, ConfigError, cache_options
from askonce.langchain import AskOnceCache, cached
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.langchain.conftest import API_KEY
from tests.langchain.provider import Provider
from tests.support import servers

Make = Callable[..., ChatOpenAI]


class Place(BaseModel):
    """A place."""

    city: str
    number: int


@tool
def look_up(city: str, number: int) -> str:
    """Look a city up."""
    return f"{city} has the number {number}"


# -- what both ways do -----------------------------------------------------------------------------------------


async def test_a_call_is_made_once(model: Make, provider: Provider) -> None:
    asked = model()
    first = asked.invoke("hi")
    again = [asked.invoke([HumanMessage("hi", id="other")]), await asked.ainvoke("hi"), *asked.batch(["hi", "hi"])]
    assert provider.count == 1
    assert {one.content for one in again} == {first.content}
    for one in again:
        assert one.response_metadata["askonce"]["hit"] == "exact"
        assert one.response_metadata["finish_reason"] == "stop"
        assert one.usage_metadata["input_token_details"] == {"cache_read": 16}
        assert one.id == first.id or one.id != again[-1].id or one is again[-1]
    assert (asked.invoke("hi, again").content, provider.count) != (first.content, 1)


def test_a_conversation_that_goes_on_is_made_once(model: Make, provider: Provider) -> None:
    asked = model()

    def talk() -> list[Any]:
        messages: list[Any] = [SystemMessage("be brief")]
        for turn in ("hi", "and?", "more"):
            messages.append(HumanMessage(turn))
            messages.append(asked.invoke(messages))
        return [message.content for message in messages]

    assert talk() == talk()
    assert provider.count == 3


def test_parameters_of_the_model_and_of_the_call_count(model: Make, provider: Provider) -> None:
    for change in ({}, {"temperature": 0.1}, {"model": "gpt-4o-mini"}, {"timeout": 9, "api_key": "sk-other"}):
        model(fields=change).invoke("hi") if "api_key" not in change else None
    assert provider.count == 3
    asked = model()
    asked.invoke("hi", stop=["x"])
    asked.bind_tools([look_up]).invoke("hi")
    asked.bind(temperature=0.9).invoke("hi")
    assert provider.count == 6
    model(fields={"timeout": 9, "max_retries": 0}).invoke("hi")
    assert provider.count == 6


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_output_is_made_once(model: Make, provider: Provider, method: Any, include_raw: bool) -> None:
    first, second = (
        model().with_structured_output(Place, method=method, include_raw=include_raw).invoke("where?")
        for _ in range(2)
    )
    assert provider.count == 1
    assert (first["parsed"] if include_raw else first) == (second["parsed"] if include_raw else second)
    assert isinstance(second["parsed"] if include_raw else second, Place)


def test_several_answers_are_kept_together(model: Make, provider: Provider) -> None:
    asked = model(fields={"n": 2})
    first, second = (asked.generate([[HumanMessage("hi")]]).generations[0] for _ in range(2))
    assert provider.count == 1
    assert [one.text for one in first] == [one.text for one in second]
    assert len({one.text for one in second}) == 2


def test_images_are_part_of_the_question(model: Make, provider: Provider) -> None:
    asked = model()

    def look(data: str) -> str:
        image = {"type": "image", "base64": data, "mime_type": "image/png"}
        return asked.invoke([HumanMessage([{"type": "text", "text": "what?"}, image])]).text

    assert look("aGk=") == look("aGk=") != look("aGkh")
    assert provider.count == 2


def test_an_agent_that_runs_twice_asks_the_model_once(model: Make, provider: Provider) -> None:
    agent = create_agent(model(), [look_up])
    runs = [agent.invoke({"messages": [HumanMessage("Paris?")]})["messages"] for _ in range(2)]
    assert provider.count == 2
    assert [one.content for one in runs[0]] == [one.content for one in runs[1]]
    assert len(runs[1]) == 4


@pytest.mark.parametrize("word", ["cut", "nothing"])
def test_what_is_cut_off_or_empty_is_asked_for_again(model: Make, provider: Provider, word: str) -> None:
    asked = model()
    asked.invoke(word)
    asked.invoke(word)
    assert provider.count == 2


async def test_one_call_for_a_thousand_at_once(model: Make, provider: Provider) -> None:
    provider.delay_seconds = 0.3
    asked = model()
    answers = await asyncio.gather(*(asked.ainvoke("hi") for _ in range(1000)))
    assert provider.count == 1
    assert len({one.content for one in answers}) == 1


def test_one_call_for_fifty_threads_at_once(model: Make, provider: Provider) -> None:
    provider.delay_seconds = 0.3
    asked = model()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: asked.invoke("hi").content, range(50)))
    assert (provider.count, len(set(answers))) == (1, 1)


async def test_when_the_leader_fails_another_takes_over(model: Make, provider: Provider) -> None:
    provider.delay_seconds, provider.failures = 0.2, 1
    asked = model()
    answers = await asyncio.gather(*(asked.ainvoke("hi") for _ in range(20)), return_exceptions=True)
    failed = [one for one in answers if isinstance(one, BaseException)]
    assert (len(failed), provider.count) == (1, 2)
    assert len({one.content for one in answers if not isinstance(one, BaseException)}) == 1


def test_when_a_leading_thread_fails_another_takes_over(model: Make, provider: Provider) -> None:
    provider.delay_seconds, provider.failures = 0.2, 1
    asked = model()

    def ask(_: int) -> str | None:
        try:
            return asked.invoke("hi").content
        except Exception:
            return None

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
    assert answers.count(None) == 1
    assert provider.count == 2


def test_retries_and_fallbacks_work(model: Make, provider: Provider, openai: Make) -> None:
    provider.failures = 1
    assert model().with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("hi").content
    provider.failures = 1
    assert model().with_fallbacks([openai()]).invoke("hello").content
    assert provider.count == 4


async def test_wishes_of_a_block(model: Make, provider: Provider) -> None:
    asked = model()
    asked.invoke("hi")
    with cache_options(bypass=True):
        asked.invoke("hi")
    with cache_options(namespace="tenant"):
        await asked.ainvoke("hi")
    with cache_options(refresh=True, tags=["greetings"]):
        newest = asked.invoke("hi")
    assert provider.count == 4
    assert (await asked.ainvoke("hi")).content == newest.content


def test_the_answer_comes_when_the_store_does_not(openai: Make, provider: Provider) -> None:
    asked = cached(openai(), "redis://127.0.0.1:9/0", timeout_seconds=0.2)
    assert asked.invoke("hi").content
    hooked = openai(cache=AskOnceCache("redis://127.0.0.1:9/0", timeout_seconds=0.2))
    assert hooked.invoke("hi").content
    assert type(asked)._askonce_cache.stats().store == "down"


async def test_the_answer_comes_while_the_store_hangs(openai: Make) -> None:
    server = servers.start("redis-8.2", private=True)
    try:
        asked = cached(openai(), server.url, timeout_seconds=0.3)
        assert (await asked.ainvoke("hi")).content
        server.pause()
        assert (await asked.ainvoke("hello")).content
        assert asked.invoke("hello, you").content
        server.resume()
        await type(asked)._askonce_cache.aclose()
    finally:
        server.close()


def test_keys_of_the_provider_are_seen_nowhere(
    model: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="askonce")
    asked = model()
    asked.invoke("hi")
    asked.bind_tools([look_up]).invoke("hi")
    asked.bind(odd=object()) and asked.invoke("hi")
    assert API_KEY not in caplog.text
    for file in tmp_path.iterdir():
        assert API_KEY.encode() not in file.read_bytes()


# -- what only `cached` does: streams --------------------------------------------------------------------------


@pytest.fixture
def streamed(openai: Make, tmp_path: Path) -> ChatOpenAI:
    return cached(openai(), f"sqlite:///{tmp_path / 'cache.db'}")


def merged(chunks: list[AIMessageChunk]) -> tuple[Any, ...]:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    metadata = {name: value for name, value in whole.response_metadata.items() if name != "askonce"}
    return whole.content, whole.tool_calls, whole.usage_metadata, metadata


@pytest.mark.parametrize("tools", [[], [look_up]], ids=["text", "tool call"])
async def test_a_stream_is_replayed_as_it_was(streamed: ChatOpenAI, provider: Provider, tools: Any) -> None:
    asked = streamed.bind_tools(tools) if tools else streamed
    first, second = ([*asked.stream("Paris, or else?")] for _ in range(2))
    third = [chunk async for chunk in asked.astream("Paris, or else?")]
    assert provider.count == 1
    assert merged(first) == merged(second) == merged(third)
    assert len(second) > 1
    assert second[-1].chunk_position == "last"
    assert second[-1].response_metadata["askonce"]["hit"] == "exact"
    assert len({chunk.id for chunk in second}) == 1


@pytest.mark.parametrize("first", ["invoke", "stream"])
async def test_streams_and_calls_share_their_answers(streamed: ChatOpenAI, provider: Provider, first: str) -> None:
    if first == "invoke":
        text = streamed.invoke("hi").content
    else:
        text = "".join([chunk.content async for chunk in streamed.astream("hi")])
    assert (await streamed.ainvoke("hi")).content == text
    assert "".join(chunk.content for chunk in streamed.stream("hi")) == text
    assert provider.count == 1


def test_the_hook_and_cached_share_their_answers(openai: Make, provider: Provider, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    hooked = openai(cache=AskOnceCache(url))
    for make in (lambda model: model, lambda model: model.bind_tools([look_up])):
        assert make(hooked).invoke("hi").content == make(cached(openai(), url)).invoke("hi").content
    for both in (hooked, cached(openai(), url)):
        both.with_structured_output(Place).invoke("hi")
    assert provider.count == 3


async def test_a_stream_that_is_left_or_breaks_is_not_kept(streamed: ChatOpenAI, provider: Provider) -> None:
    for chunk in streamed.stream("hi there"):
        if chunk.content:
            break
    async for chunk in streamed.astream("hi there"):
        if chunk.content:
            break
    assert "Answer" in streamed.invoke("hi there").content
    assert provider.count == 3
    for _ in range(2):
        with pytest.raises(APIConnectionError):
            list(streamed.stream("tear off"))
        list(streamed.stream("break off"))
    assert provider.count == 7


@pytest.mark.filterwarnings("ignore:astream_events version")
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_events_of_a_stream_are_replayed(streamed: ChatOpenAI, provider: Provider, version: Any) -> None:
    texts = []
    for _ in range(2):
        events = [event async for event in streamed.astream_events("hi", version=version)]
        words = [event["data"]["chunk"].content for event in events if event["event"] == "on_chat_model_stream"]
        assert len([word for word in words if word]) > 1
        texts.append("".join(words))
    assert texts[0] == texts[1]
    assert provider.count == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_protocol_events_are_replayed(streamed: ChatOpenAI, provider: Provider) -> None:
    asked = streamed.bind_tools([look_up])
    told = [asked.stream_events("Paris?", version="v3").output for _ in range(2)]
    told.append(await (await asked.astream_events("Paris?", version="v3")).output)
    assert provider.count == 1
    assert len({str(message.tool_calls) for message in told}) == 1
    assert told[0].tool_calls[0]["args"]["city"] == "Paris"


async def test_an_agent_that_streams_asks_the_model_once(streamed: ChatOpenAI, provider: Provider) -> None:
    agent = create_agent(streamed, [look_up])
    question = {"messages": [HumanMessage("Paris?")]}
    told = []
    for _ in range(2):
        told.append([part async for part in agent.astream(question, stream_mode="messages")])
    sync = list(agent.stream(question, stream_mode="messages"))
    updates = list(agent.stream(question, stream_mode="updates"))
    assert provider.count == 2
    texts = [
        "".join(message.content for message, _ in parts if message.type == "AIMessageChunk")
        for parts in (*told, sync)
    ]
    assert len(set(texts)) == 1
    assert len([message for message, _ in told[1] if message.type == "AIMessageChunk" and message.content]) > 2
    assert len(updates) == 3


def test_other_threads_wait_for_a_stream(streamed: ChatOpenAI, provider: Provider) -> None:
    provider.delay_seconds = 0.2
    with ThreadPoolExecutor(10) as pool:
        texts = list(pool.map(lambda _: "".join(chunk.content for chunk in streamed.stream("hi")), range(10)))
    assert (provider.count, len(set(texts))) == (1, 1)


# -- what `cached` leaves as it is -----------------------------------------------------------------------------


def test_the_cached_model_is_what_the_model_was(openai: Make, tmp_path: Path, provider: Provider) -> None:
    original = openai()
    asked = cached(original, f"sqlite:///{tmp_path / 'cache.db'}")
    assert type(original) is ChatOpenAI
    assert original.cache is None
    assert isinstance(asked, ChatOpenAI)
    assert cached(asked) is asked
    assert (asked.lc_id(), repr(asked)[:11], asked.model_name) == (original.lc_id(), "ChatOpenAI(", "gpt-4o")
    asked.invoke("hi")
    for copied in (
        asked.model_copy(),
        asked.model_copy(deep=False),
        cached(asked, f"sqlite:///{tmp_path / 'cache.db'}"),
    ):
        copied.invoke("hi")
    assert provider.count == 1
    asked.model_copy(update={"temperature": 0.0}).invoke("hi")
    assert provider.count == 2
    original.invoke("hi")
    assert provider.count == 3


def test_a_configured_model_stays_cached(openai: Make, tmp_path: Path, provider: Provider) -> None:
    asked = cached(openai(), f"sqlite:///{tmp_path / 'cache.db'}").configurable_fields(
        temperature=ConfigurableField(id="heat")
    )
    for heat in (0.1, 0.1, 0.2, 0.2):
        asked.invoke("hi", {"configurable": {"heat": heat}})
    assert provider.count == 2


def test_nothing_is_looked_up_twice(openai: Make, tmp_path: Path, provider: Provider) -> None:
    hook = AskOnceCache("memory://", namespace="twice")
    set_llm_cache(hook)
    asked = cached(openai(), f"sqlite:///{tmp_path / 'cache.db'}")
    asked.invoke("hi")
    asked.invoke("hi")
    assert (hook.stats().hits, hook.stats().misses) == (0, 0)
    stats = type(asked)._askonce_cache.stats()
    assert (stats.hits, stats.misses, stats.saved_input_tokens) == (1, 1, 20)


class Counting(BaseRateLimiter):
    def __init__(self) -> None:
        self.count = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.count += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


async def test_only_misses_wait_for_the_rate_limiter(openai: Make, tmp_path: Path) -> None:
    limiter = Counting()
    asked = cached(openai(rate_limiter=limiter), f"sqlite:///{tmp_path / 'cache.db'}")
    asked.invoke("hi")
    asked.invoke("hi")
    list(asked.stream("hi"))
    await asked.ainvoke("hi")
    assert limiter.count == 1
    list(asked.stream("hello"))
    assert limiter.count == 2


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_structured_output_streams(streamed: ChatOpenAI, provider: Provider) -> None:
    asked = streamed.with_structured_output(Place)
    places = [list(asked.stream("where?"))[-1], list(asked.stream("where?"))[-1], asked.invoke("where?")]
    assert places == [Place(city="Paris", number=10)] * 3
    assert provider.count == 1


def test_streams_of_standard_content_blocks_are_replayed(openai: Make, tmp_path: Path, provider: Provider) -> None:
    asked = cached(openai(output_version="v1"), f"sqlite:///{tmp_path / 'cache.db'}")
    for bound in (asked, asked.bind_tools([look_up])):
        first, second = (merged([*bound.stream("Paris?")]) for _ in range(2))
        assert first == second
        assert bound.invoke("Paris?").tool_calls == first[1]
    assert provider.count == 2


def test_a_failure_is_stood_in_for_by_a_stale_answer(openai: Make, provider: Provider, clock: FakeClock) -> None:
    cache = Cache(MemoryStore(clock=clock), clock=clock, ttl=10, stale_if_error=100)
    asked = cached(openai(), cache)
    first = asked.invoke("hi").content
    clock.advance(20)
    provider.failures = 2
    assert asked.invoke("hi").response_metadata["askonce"]["hit"] == "stale"
    assert "".join(chunk.content for chunk in asked.stream("hi")) == first
    assert provider.count == 3


def test_what_cannot_be_cached_is_refused(openai: Make) -> None:
    with pytest.raises(ConfigError, match="not a _ChatModelBinding"):
        cached(openai().bind(stop=["x"]), "memory://")  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="no store URL"):
        cached(openai(), "nowhere")


def test_messages_from_the_cache_can_be_pickled(streamed: ChatOpenAI) -> None:
    streamed.invoke("hi")
    message = streamed.invoke("hi")
    assert isinstance(pickle.loads(pickle.dumps(message)), AIMessage)
