"""Answers have their sources: the documents that they were made from."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import (
    VectorStoreIndex,
)
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool, QueryEngineTool
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step

from askonce import Corpus
from askonce.llama_index import CachedRetriever, cached
from askonce.llama_index.retrieval.runs import Runs
from askonce.provenance.retrieval_context import current_retrieval_context
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS, Events
from tests.llama_index.retrieval.colours import TOPICS, Topics, apart

pytestmark = [
    *LLAMA_INDEX_WARNINGS,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def sources_of(events: Events) -> set[str] | None:
    """The documents that the last hit among model calls shows; ``None`` if there was no hit."""
    hits = marks(events)
    return {one for one in hits[-1]["sources"] if len(one) == 1} if hits else None


def marks(events: Events) -> list[dict[str, Any]]:
    """The marks of the model calls that were hits."""
    ends = [event for event in events.seen if type(event).__name__ in ("LLMChatEndEvent", "LLMCompletionEndEvent")]
    found = [event.response.additional_kwargs.get("askonce") for event in ends if event.response is not None]
    return [mark for mark in found if mark]


@pytest.fixture
def retriever(index: VectorStoreIndex, corpus: Corpus) -> Iterator[CachedRetriever]:
    yield CachedRetriever(index.as_retriever(similarity_top_k=1), corpus=corpus)
    gc.collect()  # the chat memory's database, while its warning is ignored


async def query(retriever: CachedRetriever, llm: Any) -> None:
    RetrieverQueryEngine.from_args(retriever, llm=llm).query("red")


async def aquery(retriever: CachedRetriever, llm: Any) -> None:
    await RetrieverQueryEngine.from_args(retriever, llm=llm).aquery("red")


async def streamed_query(retriever: CachedRetriever, llm: Any) -> None:
    str(RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=True).query("red"))


async def streamed_aquery(retriever: CachedRetriever, llm: Any) -> None:
    response: Any = await RetrieverQueryEngine.from_args(retriever, llm=llm, streaming=True).aquery("red")
    [part async for part in response.async_response_gen()]


async def chat(retriever: CachedRetriever, llm: Any) -> None:
    ContextChatEngine.from_defaults(retriever=retriever, llm=llm).chat("red")


async def achat(retriever: CachedRetriever, llm: Any) -> None:
    await CondensePlusContextChatEngine.from_defaults(retriever=retriever, llm=llm).achat("red")


async def streamed_chat(retriever: CachedRetriever, llm: Any) -> None:
    "".join(ContextChatEngine.from_defaults(retriever=retriever, llm=llm).stream_chat("red").response_gen)


async def streamed_achat(retriever: CachedRetriever, llm: Any) -> None:
    engine = CondensePlusContextChatEngine.from_defaults(retriever=retriever, llm=llm)
    response = await engine.astream_chat("red")
    [part async for part in response.async_response_gen()]


class RetrievedDocuments(Event):
    """What a step found."""

    nodes: list[Any]


async def workflow(retriever: CachedRetriever, llm: Any) -> None:
    class Rag(Workflow):
        @step
        async def find(self, event: StartEvent) -> RetrievedDocuments:
            return RetrievedDocuments(nodes=await retriever.aretrieve("red"))

        @step
        async def answer(self, event: RetrievedDocuments) -> StopEvent:
            return StopEvent(result=await llm.acomplete(f"red? {event.nodes[0].text}"))

    await Rag().run()


async def by_hand(retriever: CachedRetriever, llm: Any) -> None:
    nodes = retriever.retrieve("red")
    get_response_synthesizer(llm=llm).synthesize("red", nodes)


RUNS = [
    query, aquery, streamed_query, streamed_aquery, chat, achat, streamed_chat, streamed_achat, workflow, by_hand,
]  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
async def test_answers_have_their_sources_and_are_deleted_with_them(
    run: Callable[[CachedRetriever, Any], Any], retriever: CachedRetriever, corpus: Corpus, events: Events
) -> None:
    llm = cached(MockLLM(), corpus.cache)
    await apart(run(retriever, llm))
    await apart(run(retriever, llm))
    assert sources_of(events) == {"1"}
    corpus.changed(["2"])
    events.seen.clear()
    await apart(run(retriever, llm))
    assert sources_of(events) == {"1"}
    corpus.changed(["1"])
    events.seen.clear()
    await apart(run(retriever, llm))
    assert sources_of(events) is None


def reply(messages: list[ChatMessage], **kwargs: Any) -> ChatMessage:
    """Calls the tool, then answers."""
    if any(message.role == MessageRole.TOOL for message in messages):
        return ChatMessage(role="assistant", content="It is red.")
    call = ToolCallBlock(tool_call_id="c1", tool_name="colours", tool_kwargs={"input": "red"})
    return ChatMessage(role="assistant", blocks=[call])


async def test_an_agents_answer_has_the_sources_that_its_tool_found(
    retriever: CachedRetriever, corpus: Corpus, events: Events
) -> None:
    model = MockFunctionCallingLLM(is_chat_model=True, response_generator=reply)
    llm = cached(model, corpus.cache)
    engine = RetrieverQueryEngine.from_args(retriever, llm=cached(MockLLM(), corpus.cache))
    tool = QueryEngineTool.from_defaults(engine, name="colours", description="of colours")

    async def run_once() -> None:
        await FunctionAgent(tools=[tool], llm=llm).run("What is red?")

    await apart(run_once())
    await apart(run_once())
    assert sources_of(events) == {"1"}
    corpus.changed(["1"])
    events.seen.clear()
    await apart(run_once())
    assert [mark.get("sources") for mark in marks(events)] == [None]  # the choice of the tool alone is stored


async def test_an_agents_answer_has_the_sources_of_a_tool_that_does_not_show_them(
    retriever: CachedRetriever, corpus: Corpus, events: Events
) -> None:
    model = MockFunctionCallingLLM(is_chat_model=True, response_generator=reply)
    llm, inner = cached(model, corpus.cache), cached(MockLLM(), corpus.cache)

    async def count(input: str) -> str:
        nodes = await retriever.aretrieve(input)
        return str(len((await inner.acomplete(f"Of this: {nodes[0].text}")).text))

    async def run_once() -> None:
        tool = FunctionTool.from_defaults(async_fn=count, name="colours", description="of colours")
        await FunctionAgent(tools=[tool], llm=llm).run("What is red?")

    await apart(run_once())
    await apart(run_once())
    assert sources_of(events) == {"1"}
    assert [len(mark.get("sources", ())) > 0 for mark in marks(events)] == [False, True, True]


@pytest.mark.parametrize("run", [streamed_query, streamed_aquery, streamed_chat])
async def test_the_calls_of_a_stream_that_is_read_have_their_sources(
    run: Callable[[CachedRetriever, Any], Any], corpus: Corpus, events: Events
) -> None:
    nodes = [TextNode(id_=one, text="red " * 2500) for one in "12"]  # more than one prompt can hold
    index = VectorStoreIndex(nodes, embed_model=Topics())
    retriever = CachedRetriever(index.as_retriever(), corpus=corpus)
    llm = cached(MockLLM(max_tokens=20), corpus.cache)
    await apart(run(retriever, llm))
    await apart(run(retriever, llm))
    assert len(marks(events)) > 1
    assert all(set(mark["sources"]) == {"1", "2"} for mark in marks(events))
    gc.collect()


async def test_runs_are_apart(retriever: CachedRetriever, corpus: Corpus, events: Events) -> None:
    llm = cached(MockLLM(), corpus.cache)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)

    async def run_once() -> None:
        await asyncio.gather(*(engine.aquery(topic) for topic in TOPICS))
        engine.query("red")
        engine.query("blue")
        assert current_retrieval_context() is None

    await apart(run_once())
    assert sources_of(events) == {"2"}
    assert len([one for one in get_dispatcher().span_handlers if isinstance(one, Runs)]) == 1
