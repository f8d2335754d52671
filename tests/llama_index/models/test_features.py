"""Everything that LlamaIndex builds on an LLM works over a cached one, and the second time without the provider.

Each feature is run over the real OpenAI client: without a cache, with an empty cache, and with a full one. What
comes out must be the same three times.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, PromptTemplate, Settings, SummaryIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context
from llama_index.llms.openai import OpenAI

from askonce import Cache
from askonce.llama_index import cached
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.llama_index.samples import Album
from tests.support.provider import Provider, Talk

pytestmark = LLAMA_INDEX_WARNINGS


@pytest.fixture(autouse=True)
def _collect_within_the_test() -> Iterator[None]:
    yield
    gc.collect()


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


PROMPT = PromptTemplate("Tell me about {topic}")
HELLO = [ChatMessage(role="system", content="Be kind"), ChatMessage(role="user", content="hello you there")]
TOOLS = [FunctionTool.from_defaults(add)]


def engine(llm: Any, **kwargs: Any) -> Any:
    return SummaryIndex.from_documents([Document(text="one two"), Document(text="three")]).as_query_engine(
        llm=llm, **kwargs
    )


def retriever() -> Any:
    return SummaryIndex.from_documents([Document(text="one two")]).as_retriever()


async def texts(stream: AsyncIterator[Any]) -> str:
    return "".join([getattr(part, "delta", part) or "" async for part in stream])


def joined(stream: Any) -> str:
    return "".join([getattr(part, "delta", part) or "" for part in stream])


async def chat(llm: Any) -> Any:
    return llm.chat(HELLO).message.content, llm.chat(messages=HELLO, top_p=0.5).message.content


async def achat(llm: Any) -> Any:
    return (await llm.achat(HELLO)).message.content


async def stream_chat(llm: Any) -> Any:
    *_, last = llm.stream_chat(HELLO)
    return joined(llm.stream_chat(HELLO)), last.message.content, last.raw.usage.prompt_tokens


async def astream_chat(llm: Any) -> Any:
    return await texts(await llm.astream_chat(messages=HELLO))


async def complete(llm: Any) -> Any:
    return (
        llm.complete("hi").text,
        llm.complete(prompt="hi", formatted=True).text,
        joined(llm.stream_complete("ho")),
    )


async def acomplete(llm: Any) -> Any:
    return (await llm.acomplete("hi")).text, await texts(await llm.astream_complete("ho"))


async def predict(llm: Any) -> Any:
    return (
        llm.predict(PROMPT, topic="red"),
        await llm.apredict(PROMPT, topic="blue"),
        joined(llm.stream(PROMPT, topic="green")),
        await texts(await llm.astream(PROMPT, topic="gray")),
    )


async def structured_predict(llm: Any) -> Any:
    return (
        llm.structured_predict(Album, PROMPT, topic="red"),
        await llm.astructured_predict(Album, PROMPT, topic="blue"),
        [album.model_dump() for album in llm.stream_structured_predict(Album, PROMPT, topic="green")][-1],
        [a.model_dump() async for a in await llm.astream_structured_predict(Album, PROMPT, topic="gray")][-1],
    )


async def as_structured_llm(llm: Any) -> Any:
    structured = llm.as_structured_llm(Album)
    *_, last = structured.stream_chat(HELLO)
    return structured.chat(HELLO).raw, (await structured.acomplete("hi")).raw, last.raw.model_dump()


async def chat_with_tools(llm: Any) -> Any:
    *_, last = llm.stream_chat_with_tools(TOOLS, user_msg="stream three")
    *_, alast = [part async for part in await llm.astream_chat_with_tools(TOOLS, user_msg="astream three")]
    responses = [
        llm.chat_with_tools(TOOLS, user_msg="three and three"),
        await llm.achat_with_tools(TOOLS, user_msg="four and four"),
        last,
        alast,
    ]
    return [
        [(call.tool_name, call.tool_kwargs) for call in llm.get_tool_calls_from_response(response)]
        for response in responses
    ]


async def predict_and_call(llm: Any) -> Any:
    return str(llm.predict_and_call(TOOLS, "add")), str(await llm.apredict_and_call(TOOLS, "add them"))


async def query_engine(llm: Any) -> Any:
    answer = engine(llm).query("what?")
    return str(answer), len(answer.source_nodes), str(await engine(llm).aquery("what then?"))


async def streaming_query_engine(llm: Any) -> Any:
    return (
        joined(engine(llm, streaming=True).query("what?").response_gen),
        await texts((await engine(llm, streaming=True).aquery("what then?")).async_response_gen()),
    )


async def tree_summarize(llm: Any) -> Any:
    return str(engine(llm, response_mode="tree_summarize").query("what?"))


async def context_chat_engine(llm: Any) -> Any:
    chat = ContextChatEngine.from_defaults(retriever=retriever(), llm=llm)
    stream = await chat.astream_chat("and then?")
    return str(chat.chat("what?")), await texts(stream.async_response_gen())


async def condensing_chat_engine(llm: Any) -> Any:
    chat = CondensePlusContextChatEngine.from_defaults(retriever=retriever(), llm=llm)
    return str(chat.chat("what?")), joined(chat.stream_chat("and then?").response_gen)


async def function_agent(llm: Any) -> Any:
    return [
        str(await FunctionAgent(tools=TOOLS, llm=llm, streaming=streaming).run(f"add {streaming}"))
        for streaming in (True, False)
    ]


async def react_agent(llm: Any) -> Any:
    return [
        str(await ReActAgent(tools=TOOLS, llm=llm, streaming=streaming).run(f"add {streaming}"))
        for streaming in (True, False)
    ]


async def agent_workflow(llm: Any) -> Any:
    agent = FunctionAgent(name="adder", description="adds", tools=TOOLS, llm=llm)
    flow = AgentWorkflow(agents=[agent], root_agent="adder")
    handler = flow.run("add", ctx=Context(flow))
    kinds = {type(event).__name__ async for event in handler.stream_events()}
    return str(await handler), kinds


FEATURES: list[Callable[[Any], Any]] = [
    chat, achat, stream_chat, astream_chat, complete, acomplete, predict, structured_predict, as_structured_llm,
    chat_with_tools, predict_and_call, query_engine, streaming_query_engine, tree_summarize, context_chat_engine,
    condensing_chat_engine, function_agent, react_agent, agent_workflow,
]  # fmt: skip


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.__name__)
async def test_it_gives_the_same_with_an_empty_and_with_a_full_cache(
    feature: Callable[[Any], Any],
    openai: OpenAI,
    talk: Talk,
    provider: Provider,
    cache: Cache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Settings, "_llm", openai)
    if feature is react_agent:
        talk.says = "Thought: I can answer without using any more tools.\nAnswer: it is six"
    without = await feature(openai)
    calls_without = provider.count
    assert await feature(cached(openai, cache)) == without
    calls_with = provider.count - calls_without
    assert 0 < calls_with <= calls_without
    assert await feature(cached(openai, cache)) == without
    assert provider.count == calls_without + calls_with
    stats = cache.stats()
    assert stats.hits >= calls_with == stats.stored
    assert stats.bypassed == stats.not_stored == 0
