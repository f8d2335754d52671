"""Streams of cached models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, message_chunk_to_message
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_openai import ChatOpenAI
from openai import APIConnectionError

from askonce.langchain import AskOnceCache, cached
from askonce.langchain.models.answers import pack
from askonce.langchain.models.streams import Recording, replay
from tests.langchain.samples import Make, Place, look_up
from tests.support.provider import Provider, Talk


def merged(chunks: list[AIMessageChunk]) -> tuple[Any, ...]:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    metadata = {name: value for name, value in whole.response_metadata.items() if name != "askonce"}
    usage = {name: value for name, value in (whole.usage_metadata or {}).items() if name != "total_cost"}
    return whole.content, whole.tool_calls, usage, metadata


@pytest.mark.parametrize("tools", [[], [look_up]], ids=["text", "tool call"])
async def test_a_stream_is_replayed_as_it_was(streamed: ChatOpenAI, provider: Provider, tools: Any) -> None:
    chat = streamed.bind_tools(tools) if tools else streamed
    first, second = ([*chat.stream("Paris, or else?")] for _ in range(2))
    third = [chunk async for chunk in chat.astream("Paris, or else?")]
    assert provider.count == 1
    assert merged(first) == merged(second) == merged(third)
    assert len(second) > 1
    assert second[-1].chunk_position == "last"
    assert second[-1].response_metadata["askonce"]["hit"] == "exact"
    assert len({chunk.id for chunk in second}) == 1


def test_a_call_whose_arguments_are_cut_is_no_answer() -> None:
    """LangChain completes such JSON in chunks, and refuses it in a whole message."""
    recording = Recording()
    for part in ('{"to": "bob", ', '"usd": 10'):
        call = tool_call_chunk(name="pay" if "to" in part else None, args=part, id=None, index=0)
        recording.add(ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[call])))
    [generation] = recording.generations()
    message = generation.message
    assert isinstance(message, AIMessage)
    assert (message.tool_calls, len(message.invalid_tool_calls)) == ([], 1)
    answer = pack([generation], "m")
    assert answer is not None and answer.invalid


def test_calls_of_tools_that_stand_in_two_places_are_replayed_once() -> None:
    """Groq's and Mistral's messages have them in the provider's form, too."""
    function = {"name": "look_up", "arguments": '{"word": "Oslo"}'}
    message = AIMessage(
        "",
        additional_kwargs={"tool_calls": [{"id": "call_1", "type": "function", "function": function}]},
        tool_calls=[{"name": "look_up", "args": {"word": "Oslo"}, "id": "call_1", "type": "tool_call"}],
        response_metadata={"finish_reason": "tool_calls"},
    )
    chunks = [chunk.message for chunk in replay(ChatGeneration(message=message))]
    assert sum(len(chunk.tool_call_chunks) for chunk in chunks if isinstance(chunk, AIMessageChunk)) == 1
    whole = message_chunk_to_message(chunks[0] + chunks[1:])  # type: ignore[operator,arg-type]
    assert isinstance(whole, AIMessage)
    assert (whole.tool_calls, whole.additional_kwargs) == (message.tool_calls, message.additional_kwargs)


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


async def test_a_stream_that_is_left_or_breaks_is_not_stored(
    streamed: ChatOpenAI, provider: Provider, talk: Talk
) -> None:
    for chunk in streamed.stream("hi there"):
        if chunk.content:
            break
    async for chunk in streamed.astream("hi there"):
        if chunk.content:
            break
    assert "Answer" in streamed.invoke("hi there").content
    assert provider.count == 3
    for _ in range(2):
        talk.breaks = "tears"
        with pytest.raises((APIConnectionError, httpx.RemoteProtocolError)):  # openai before 3: the second
            list(streamed.stream("tear off"))
        talk.breaks = "ends"
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


@pytest.mark.skipif(not hasattr(BaseChatModel, "stream_events"), reason="a later version of LangChain")
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_protocol_events_are_replayed(streamed: ChatOpenAI, provider: Provider) -> None:
    chat = streamed.bind_tools([look_up])
    answers = [chat.stream_events("Paris?", version="v3").output for _ in range(2)]
    answers.append(await (await chat.astream_events("Paris?", version="v3")).output)
    assert provider.count == 1
    assert len({str(message.tool_calls) for message in answers}) == 1
    assert answers[0].tool_calls[0]["args"]["city"] == "Paris"


async def test_an_agent_that_streams_calls_the_model_once(streamed: ChatOpenAI, provider: Provider) -> None:
    agent = create_agent(streamed, [look_up])
    question = {"messages": [HumanMessage("Paris?")]}
    answers = []
    for _ in range(2):
        answers.append([part async for part in agent.astream(question, stream_mode="messages")])
    sync = list(agent.stream(question, stream_mode="messages"))
    updates = list(agent.stream(question, stream_mode="updates"))
    assert provider.count == 2
    texts = [
        "".join(message.content for message, _ in parts if message.type == "AIMessageChunk")
        for parts in (*answers, sync)
    ]
    assert len(set(texts)) == 1
    assert len([message for message, _ in answers[1] if message.type == "AIMessageChunk" and message.content]) > 2
    assert len(updates) == 3


def test_other_threads_wait_for_a_stream(streamed: ChatOpenAI, provider: Provider) -> None:
    provider.delay_seconds = 0.2
    with ThreadPoolExecutor(10) as pool:
        texts = list(pool.map(lambda _: "".join(chunk.content for chunk in streamed.stream("hi")), range(10)))
    assert (provider.count, len(set(texts))) == (1, 1)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_structured_output_streams(streamed: ChatOpenAI, provider: Provider) -> None:
    chat = streamed.with_structured_output(Place)
    places = [list(chat.stream("where?"))[-1], list(chat.stream("where?"))[-1], chat.invoke("where?")]
    assert places == [Place(city="where", number=1)] * 3
    assert provider.count == 1


def without_index(blocks: Any) -> list[dict[str, Any]]:
    """Blocks without their place in the stream, which LangChain drops from calls of tools as it adds them up."""
    return [{name: value for name, value in block.items() if name != "index"} for block in blocks]


def test_streams_of_standard_content_blocks_are_replayed(openai: Make, tmp_path: Path, provider: Provider) -> None:
    chat = cached(openai(output_version="v1"), f"sqlite:///{tmp_path / 'cache.db'}")
    for bound in (chat, chat.bind_tools([look_up])):
        first, second = (merged([*bound.stream("Paris?")]) for _ in range(2))
        assert (without_index(first[0]), *first[1:]) == (without_index(second[0]), *second[1:])
        assert bound.invoke("Paris?").tool_calls == first[1]
    assert provider.count == 2
