"""Cached models, by LangChain's hook and by `cached`: OpenAI's real client over real HTTP."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, SystemMessage

from askonce import cache_options
from askonce.langchain import AskOnceCache, cached
from tests.langchain.conftest import API_KEY
from tests.langchain.samples import Make, Place, look_up
from tests.support import servers
from tests.support.provider import Provider, Talk


def cache_of(chat: Any) -> Any:
    """The cache of a model that a test has made."""
    return chat.cache or type(chat)._askonce_cache


async def test_a_call_is_made_once(model: Make, provider: Provider) -> None:
    chat = model()
    first = chat.invoke("hi")
    again = [chat.invoke([HumanMessage("hi", id="other")]), await chat.ainvoke("hi"), *chat.batch(["hi", "hi"])]
    assert provider.count == 1
    assert {one.content for one in again} == {first.content}
    for one in again:
        assert one.response_metadata["askonce"]["hit"] == "exact"
        assert one.response_metadata["finish_reason"] == "stop"
        assert one.usage_metadata["input_token_details"] == {"audio": 0, "cache_read": 600}
        assert one.id == first.id or one.id != again[-1].id or one is again[-1]
    assert (chat.invoke("hi, again").content, provider.count) != (first.content, 1)


def test_a_conversation_that_goes_on_is_made_once(model: Make, provider: Provider) -> None:
    chat = model()

    def talk() -> list[Any]:
        messages: list[Any] = [SystemMessage("be brief")]
        for turn in ("hi", "and?", "more"):
            messages.append(HumanMessage(turn))
            messages.append(chat.invoke(messages))
        return [message.content for message in messages]

    assert talk() == talk()
    assert provider.count == 3


def test_parameters_of_the_model_and_of_the_call_count(model: Make, provider: Provider) -> None:
    for change in ({}, {"temperature": 0.1}, {"model": "gpt-4o-mini"}, {"timeout": 9, "api_key": "sk-other"}):
        model(fields=change).invoke("hi") if "api_key" not in change else None
    assert provider.count == 3
    chat = model()
    chat.invoke("hi", stop=["x"])
    chat.bind_tools([look_up]).invoke("hi")
    chat.bind(temperature=0.9).invoke("hi")
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


def test_several_answers_are_stored_together(model: Make, provider: Provider) -> None:
    chat = model(fields={"n": 2})
    first, second = (chat.generate([[HumanMessage("hi")]]).generations[0] for _ in range(2))
    assert provider.count == 1
    assert [one.text for one in first] == [one.text for one in second]
    assert len({one.text for one in second}) == 2


def test_images_are_part_of_the_question(model: Make, provider: Provider) -> None:
    chat = model()

    def look(data: str) -> str:
        image = {"type": "image", "base64": data, "mime_type": "image/png"}
        return chat.invoke([HumanMessage([{"type": "text", "text": "what?"}, image])]).text

    assert look("aGk=") == look("aGk=") != look("aGkh")
    assert provider.count == 2


def test_an_agent_that_runs_twice_calls_the_model_once(model: Make, provider: Provider) -> None:
    agent = create_agent(model(), [look_up])
    runs = [agent.invoke({"messages": [HumanMessage("Paris?")]})["messages"] for _ in range(2)]
    assert provider.count == 2
    assert [one.content for one in runs[0]] == [one.content for one in runs[1]]
    assert len(runs[1]) == 4


@pytest.mark.parametrize(("says", "finish"), [("cut o", "length"), ("", "stop")])
def test_the_model_is_called_again_after_a_cut_off_or_empty_answer(
    model: Make, provider: Provider, talk: Talk, says: str, finish: str
) -> None:
    talk.says, talk.finish = says, finish
    chat = model()
    chat.invoke("hi")
    chat.invoke("hi")
    assert provider.count == 2


async def test_one_call_for_a_thousand_at_once(model: Make, provider: Provider) -> None:
    provider.delay_seconds = 0.3
    chat = model()
    answers = await asyncio.gather(*(chat.ainvoke("hi") for _ in range(1000)))
    assert provider.count == 1, cache_of(chat).stats()
    assert len({one.content for one in answers}) == 1


def test_one_call_for_fifty_threads_at_once(model: Make, provider: Provider) -> None:
    provider.delay_seconds = 0.3
    chat = model()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: chat.invoke("hi").content, range(50)))
    assert (provider.count, len(set(answers))) == (1, 1)


async def test_when_the_leader_fails_another_takes_over(model: Make, provider: Provider) -> None:
    provider.delay_seconds, provider.failures = 0.2, 1
    chat = model()
    answers = await asyncio.gather(*(chat.ainvoke("hi") for _ in range(20)), return_exceptions=True)
    failed = [one for one in answers if isinstance(one, BaseException)]
    assert (len(failed), provider.count) == (1, 2)
    assert len({one.content for one in answers if not isinstance(one, BaseException)}) == 1


def test_when_a_leading_thread_fails_another_takes_over(model: Make, provider: Provider) -> None:
    provider.delay_seconds, provider.failures = 0.2, 1
    chat = model()

    def call(_: int) -> str | None:
        try:
            return chat.invoke("hi").content
        except Exception:
            return None

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(call, range(10)))
    assert answers.count(None) == 1
    assert provider.count == 2


def test_retries_and_fallbacks_work(model: Make, provider: Provider, openai: Make) -> None:
    provider.failures = 1
    assert model().with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("hi").content
    provider.failures = 1
    assert model().with_fallbacks([openai()]).invoke("hello").content
    assert provider.count == 4


async def test_options_of_a_block(model: Make, provider: Provider) -> None:
    chat = model()
    chat.invoke("hi")
    with cache_options(bypass=True):
        chat.invoke("hi")
    with cache_options(namespace="tenant"):
        await chat.ainvoke("hi")
    with cache_options(refresh=True, tags=["greetings"]):
        newest = chat.invoke("hi")
    assert provider.count == 4
    assert (await chat.ainvoke("hi")).content == newest.content
    assert cache_of(chat).stats().bypassed == 1


def test_the_answer_comes_when_the_store_does_not(openai: Make, provider: Provider) -> None:
    chat = cached(openai(), "redis://127.0.0.1:9/0", timeout_seconds=0.2)
    assert chat.invoke("hi").content
    hooked = openai(cache=AskOnceCache("redis://127.0.0.1:9/0", timeout_seconds=0.2))
    assert hooked.invoke("hi").content
    assert type(chat)._askonce_cache.stats().store == "down"


async def test_the_answer_comes_while_the_store_hangs(openai: Make) -> None:
    server = servers.start("redis-8.2", private=True)
    try:
        chat = cached(openai(), server.url, timeout_seconds=0.3)
        assert (await chat.ainvoke("hi")).content
        server.pause()
        assert (await chat.ainvoke("hello")).content
        assert chat.invoke("hello, you").content
        server.resume()
        await type(chat)._askonce_cache.aclose()
    finally:
        server.close()


def test_keys_of_the_provider_are_seen_nowhere(
    model: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="askonce")
    chat = model()
    chat.invoke("hi")
    chat.bind_tools([look_up]).invoke("hi")
    chat.bind(odd=object()) and chat.invoke("hi")
    assert API_KEY not in caplog.text
    for file in tmp_path.iterdir():
        assert API_KEY.encode() not in file.read_bytes()
