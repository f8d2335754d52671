"""An answer's sources are its own, wherever its documents were found, and never those of another request."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough, chain
from langchain_core.tools import create_retriever_tool, tool
from langchain_core.vectorstores import InMemoryVectorStore
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from askonce import Cache, Corpus, cache_options
from askonce.langchain import CachedRetriever, cached, watch
from askonce.stores.memory import MemoryStore

WORDS = "salary leave price apple pear plum secret ann bob".split()


class Words(Embeddings):
    """A vector counts words."""

    def __init__(self) -> None:
        self.model = "words"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[0.01, *(float(text.lower().split().count(word)) for word in WORDS)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def apart(call: Callable[..., Any], *args: Any) -> Any:
    """Call in a context in which nothing was retrieved, as another web request does."""
    return contextvars.Context().run(call, *args)


class Desk:
    """A model and a retriever over one cache, of which each call is a request of somebody."""

    def __init__(self, cache: Cache) -> None:
        self.corpus = Corpus(cache, name="hr")
        store = watch(InMemoryVectorStore(Words()), self.corpus)
        store.add_documents([Document(f"{one} of all", id=one) for one in WORDS])
        inner = store.as_retriever(search_kwargs={"k": 1})
        self.retriever = CachedRetriever(inner, corpus=self.corpus)
        self.model = cached(FakeListChatModel(responses=["That is so."]), cache)
        self.prompt = ChatPromptTemplate.from_template("{found}? Answer.")

    def answer(self, found: Any) -> Any:
        return self.model.invoke(self.prompt.invoke({"found": found}))

    def by_tool(self) -> Any:
        """A loop over tools that is written by hand."""
        tool = create_retriever_tool(self.retriever, "search", "Finds.")
        return self.answer(tool.invoke({"query": "leave"}))

    def by_hand_over(self) -> Any:
        """A graph that waits for a human before it answers, whose approval is another request."""

        class State(TypedDict, total=False):
            found: str
            answer: Any

        def find(state: State) -> State:
            return {"found": self.retriever.invoke("leave")[0].page_content}

        def answer(state: State) -> State:
            interrupt("Answer from this?")
            return {"answer": self.answer(state["found"])}

        graph = StateGraph(State)
        graph.add_node("find", find)
        graph.add_node("say", answer)
        graph.add_edge(START, "find")
        graph.add_edge("find", "say")
        graph.add_edge("say", END)
        run = graph.compile(checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        apart(run.invoke, {}, config)
        return apart(run.invoke, Command(resume=True), config)["answer"]

    @property
    def chain(self) -> Any:
        found = self.retriever | (lambda documents: documents[0].page_content)
        return {"found": found} | self.prompt | self.model

    def by_chain(self) -> Any:
        return self.chain.invoke("leave")

    def by_a_tool_that_summarizes(self) -> Any:
        """Of which the last prompt shows nothing."""

        @tool
        def count(topic: str) -> str:
            """Count."""
            return f"{len(self.retriever.invoke(topic))} found"

        return (count | self.prompt | self.model).invoke("leave")

    def by_a_tool_with_a_model(self) -> Any:
        @tool
        def summarize(topic: str) -> str:
            """Summarize."""
            found = self.retriever.invoke(topic)[0].page_content
            return str(len(self.model.invoke(f"Summarize: {found}").content))

        return (summarize | self.prompt | self.model).invoke("leave")


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Cache(MemoryStore()) as cache:
        yield Desk(cache)


def sources(answer: Any) -> list[str]:
    return list(answer.response_metadata["askonce"].get("sources", []))


@pytest.mark.parametrize(
    "call",
    [Desk.by_chain, Desk.by_tool, Desk.by_hand_over, Desk.by_a_tool_that_summarizes, Desk.by_a_tool_with_a_model],
)
def test_an_answer_falls_with_documents_that_a_tool_or_an_earlier_request_found(
    call: Callable[[Desk], Any], desk: Desk
) -> None:
    apart(call, desk)
    assert sources(apart(call, desk)) == ["leave"]
    desk.corpus.changed(["salary"])
    assert sources(apart(call, desk)) == ["leave"]
    desk.corpus.changed(["leave"])
    assert "askonce" not in apart(call, desk).response_metadata
    assert sources(apart(call, desk)) == ["leave"]
    assert desk.corpus.cache.invalidate("doc:leave") >= 2
    assert "askonce" not in apart(call, desk).response_metadata


def test_an_answers_sources_are_those_of_its_own_request(desk: Desk) -> None:
    with ThreadPoolExecutor(1) as worker:
        worker.submit(desk.retriever.invoke, "salary").result()
        worker.submit(desk.by_chain).result()
        hit = worker.submit(desk.by_chain).result()
    assert sources(hit) == ["leave"]


def in_a_batch(desk: Desk) -> list[Any]:
    return list(desk.chain.batch(WORDS))


async def in_an_awaited_batch(desk: Desk) -> list[Any]:
    return list(await desk.chain.abatch(WORDS))


def in_a_map(desk: Desk) -> list[Any]:
    return list(desk.chain.map().invoke(WORDS))


def in_a_loop_of_one_run(desk: Desk) -> list[Any]:
    @chain
    def answer_all(words: list[str]) -> list[Any]:
        return [desk.chain.invoke(word) for word in words]

    return list(answer_all.invoke(WORDS))


def side_by_side(desk: Desk) -> list[Any]:
    chains = {word: RunnableLambda(lambda _, word=word: word) | desk.chain for word in WORDS}
    return list(RunnableParallel(chains).invoke("").values())


async def in_tasks(desk: Desk) -> list[Any]:
    async def answer_one(word: str) -> Any:
        (found,) = await asyncio.gather(desk.retriever.ainvoke(word))
        await asyncio.sleep(0)
        return await desk.model.ainvoke(desk.prompt.invoke({"found": found[0].page_content}))

    return list(await asyncio.gather(*map(answer_one, WORDS)))


def after_all_was_found(desk: Desk) -> list[Any]:
    with ThreadPoolExecutor(2) as threads:
        found = dict(zip(WORDS, threads.map(desk.retriever.invoke, WORDS), strict=True))
        return list(threads.map(lambda word: desk.answer(found[word][0].page_content), WORDS))


def with_streams_that_are_abandoned(desk: Desk) -> list[Any]:
    answers = []
    for word in WORDS:
        left = (RunnablePassthrough() | desk.retriever).stream("salary")
        next(left)
        found = desk.retriever.invoke(word)[0].page_content
        answers.append(desk.answer(found))
        del left
    return answers


WAYS = [
    in_a_batch, in_an_awaited_batch, in_a_map, in_a_loop_of_one_run, side_by_side, in_tasks, after_all_was_found,
    with_streams_that_are_abandoned,
]  # fmt: skip


@pytest.mark.parametrize("call", WAYS)
async def test_of_many_answers_each_has_its_own_sources(call: Callable[[Desk], Any], desk: Desk) -> None:
    async def answers() -> list[Any]:
        found = apart(call, desk)
        return list(await found if asyncio.iscoroutine(found) else found)

    await answers()
    assert [sources(one) for one in await answers()] == [[word] for word in WORDS]
    desk.corpus.changed(["plum"])
    again = await answers()
    fresh = [word for word, one in zip(WORDS, again, strict=True) if "askonce" not in one.response_metadata]
    assert fresh == ["plum"]


@pytest.mark.parametrize("later", [0, 1])
def test_one_text_of_two_documents_falls_with_each_of_them(desk: Desk, later: int) -> None:
    """They were found one after the other, by plain code; neither has changed."""
    corpus = Corpus(desk.corpus.cache, name="another")
    store = watch(InMemoryVectorStore(Words()), corpus)
    store.add_documents([Document("leave of all", id="copy")])
    other = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)

    def answer() -> Any:
        found = [one.invoke("leave")[0].page_content for one in (desk.retriever, other)]
        return desk.answer(found)

    apart(answer)
    assert sorted(sources(apart(answer))) == ["copy", "leave"]
    desk.corpus.cache.invalidate("doc:" + ["leave", "copy"][later])
    anew = apart(desk.answer, ["leave of all", "leave of all"])
    assert "askonce" not in anew.response_metadata


def test_tenants_share_no_sources(desk: Desk) -> None:
    def in_namespace(tenant: str, call: Callable[..., Any], given: str) -> Any:
        with cache_options(namespace=tenant):
            return call(given)

    apart(in_namespace, "ann", desk.retriever.invoke, "leave")
    apart(in_namespace, "bob", desk.answer, "leave of all")
    assert sources(apart(in_namespace, "bob", desk.answer, "leave of all")) == []
    apart(in_namespace, "ann", desk.answer, "leave of all")
    assert sources(apart(in_namespace, "ann", desk.answer, "leave of all")) == ["leave"]
