"""Answers have their sources: the documents that they were made from."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.globals import set_llm_cache
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import tool

from askonce import Cache
from askonce.langchain import AskOnceCache, CachedEmbeddings, CachedRetriever, cached
from tests.langchain.retrieval.library import ANIMALS, Words, library, text_of

PROMPT = ChatPromptTemplate.from_template("Answer from {context}: {question}")


class Assistant:
    """Retrieves and answers in many ways, through one cache."""

    def __init__(self, url: str, model: Any) -> None:
        self.cache = Cache(url)
        self.store, self.corpus = library(self.cache)
        self.retriever = CachedRetriever(self.store.as_retriever(search_kwargs={"k": 1}), corpus=self.corpus)
        self.model = model(self.cache)
        inputs = RunnableParallel(context=self.retriever | text_of, question=RunnablePassthrough())
        self.chain = inputs | PROMPT | self.model

    def in_a_chain(self, query: str) -> Any:
        return self.chain.invoke(query)

    async def in_an_awaited_chain(self, query: str) -> Any:
        return await self.chain.ainvoke(query)

    def in_a_streamed_chain(self, query: str) -> Any:
        total = None
        for chunk in self.chain.stream(query):
            total = chunk if total is None else total + chunk
        return total

    def in_a_batch(self, query: str) -> Any:
        return self.chain.batch([query, "all day"])[0]

    async def in_an_awaited_batch(self, query: str) -> Any:
        return (await self.chain.abatch([query, "all day"]))[0]

    def in_a_function(self, query: str) -> Any:
        return self.model.invoke(f"{text_of(self.retriever.invoke(query))} {query}")

    async def in_an_async_function(self, query: str) -> Any:
        documents = await self.retriever.ainvoke(query)
        return await self.model.ainvoke(f"{text_of(documents)} {query}")

    def by_a_batch_of_retrievals(self, query: str) -> Any:
        documents = self.retriever.batch([query, query.upper()])[0]
        return self.model.invoke(f"{text_of(documents)} {query}")

    async def by_an_awaited_batch_of_retrievals(self, query: str) -> Any:
        documents = (await self.retriever.abatch([query, query.upper()]))[0]
        return await self.model.ainvoke(f"{text_of(documents)} {query}")

    def by_two_chains(self, query: str) -> Any:
        context = (RunnablePassthrough() | self.retriever | text_of).invoke(query)
        return (PROMPT | self.model).invoke({"context": context, "question": query})

    def with_a_thread_of_its_own(self, query: str) -> Any:
        def retrieve(query: str) -> str:
            with ThreadPoolExecutor(1) as threads:
                return text_of(
                    threads.submit(contextvars.copy_context().run, self.retriever.invoke, query).result()
                )

        return (
            {"context": RunnableLambda(retrieve), "question": RunnablePassthrough()} | PROMPT | self.model
        ).invoke(query)

    def _agent(self, query: str) -> tuple[Any, dict[str, Any]]:
        @tool
        def search(city: str) -> str:
            """Search."""
            return text_of(self.retriever.invoke(query))

        return create_agent(self.model, [search]), {"messages": [("user", query)]}

    def by_an_agent(self, query: str) -> Any:
        agent, question = self._agent(query)
        return agent.invoke(question)["messages"][-1]

    async def by_an_awaited_agent(self, query: str) -> Any:
        agent, question = self._agent(query)
        return (await agent.ainvoke(question))["messages"][-1]


WAYS = [name for name in vars(Assistant) if name.startswith(("in_", "by_", "with_"))]


@pytest.fixture(params=["set_llm_cache", "cached"])
def assistant(request: pytest.FixtureRequest, openai: Callable[..., Any], tmp_path: Path) -> Iterator[Assistant]:
    def model(cache: Cache) -> Any:
        if request.param == "cached":
            return cached(openai(), cache)
        set_llm_cache(AskOnceCache(cache))
        return openai()

    made = Assistant(f"sqlite:///{tmp_path / 'cache.db'}", model)
    yield made
    made.cache.close()


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_is_deleted_with_the_documents_that_it_was_made_from(
    assistant: Assistant, way: str
) -> None:
    if way == "in_a_streamed_chain" and not hasattr(type(assistant.model), "_askonce_cache"):
        pytest.skip("LangChain uses no cache when it streams")

    async def call() -> Any:
        """In a context of its own, as each request to a server has."""
        answer = contextvars.Context().run(getattr(assistant, way), "who barks")
        if asyncio.iscoroutine(answer):
            answer = await asyncio.create_task(answer, context=contextvars.Context())
        return answer

    first = await call()
    again = await call()
    assert again.content == first.content
    assert "askonce" not in first.response_metadata
    assert again.response_metadata["askonce"]["sources"] == ["dog"]
    assistant.corpus.changed(["owl"])
    assert "askonce" in (await call()).response_metadata
    assistant.corpus.changed(["dog"])
    changed = await call()
    assert "askonce" not in changed.response_metadata
    assert (await call()).content == changed.content != first.content
    assert assistant.cache.invalidate("doc:dog") >= 2  # a retrieval and an answer
    assert "askonce" not in (await call()).response_metadata
    assert "askonce" in (await call()).response_metadata


def test_questions_that_follow_one_another_keep_their_sources_apart(assistant: Assistant) -> None:
    for _ in range(2):
        answers = [
            assistant.in_a_chain("who barks"),
            assistant.in_a_function("works"),
            assistant.by_two_chains("owl"),
        ]
    assert [one.response_metadata["askonce"]["sources"] for one in answers] == [["dog"], ["ant"], ["owl"]]


async def test_a_vector_is_made_from_its_text_alone(words: list[str]) -> None:
    store, corpus = library()
    embeddings = CachedEmbeddings(Words(), corpus.cache)
    CachedRetriever(store.as_retriever(), corpus=corpus).invoke("barks")
    embeddings.embed_query("barks")
    words.clear()
    corpus.changed(ANIMALS)
    await embeddings.aembed_query("barks")
    assert not words
