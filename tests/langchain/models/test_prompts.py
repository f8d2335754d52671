"""The question and the context are found in a chain's prompt, whichever way the chain is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_classic.chains import create_history_aware_retriever, create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnablePassthrough, chain
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, Corpus, cache_options
from askonce.langchain import AskOnceCache, CachedRetriever, cached
from askonce.semantic.config import Semantic
from tests.support.questions import Seen, ones, partitions, texts, watched

CARDS = ("Cards are free.", "Codes are sent by mail.")
PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Answer from this alone: {context}"), ("human", "Be brief.\nQuestion: {question}")]
)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return watched(monkeypatch)


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://", semantic=Semantic(ones)) as cache:
        yield cache


@pytest.fixture
def model(cache: Cache) -> FakeListChatModel:
    return cached(FakeListChatModel(responses=["yes, they are"]), cache)


WAYS: dict[str, Callable[[Runnable[Any, Any], list[Any]], Any]] = {
    "invoke": lambda chain, inputs: [chain.invoke(one) for one in inputs],
    "batch": lambda chain, inputs: chain.batch(inputs),
    "stream": lambda chain, inputs: [list(chain.stream(one)) for one in inputs],
    "ainvoke": lambda chain, inputs: asyncio.run(together([chain.ainvoke(one) for one in inputs])),
    "abatch": lambda chain, inputs: asyncio.run(together([chain.abatch(inputs)])),
    "astream": lambda chain, inputs: asyncio.run(together([read(chain.astream(one)) for one in inputs])),
}


async def together(calls: list[Any]) -> list[Any]:
    return await asyncio.gather(*calls)


async def read(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_each_request_of_a_chain_has_its_own_question(way: Any, seen: Seen, model: Any) -> None:
    inputs = [{"question": f"What is the fee of card {one}?", "context": CARDS[0]} for one in range(6)]
    way(PROMPT | model | StrOutputParser(), inputs)
    assert sorted(texts(seen)) == [one["question"] for one in inputs]
    assert len(partitions(seen)) == 1


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_model_may_stand_deeper_in_the_chain_than_the_prompt(way: Any, seen: Seen, model: Any) -> None:
    broken = FakeListChatModel(responses=[])
    deeper = RunnableParallel(one=RunnablePassthrough() | model.with_fallbacks([broken]).with_retry())
    within = PROMPT | RunnableLambda(lambda prompt: prompt) | deeper
    whole = RunnableParallel(answer=within, same=RunnablePassthrough())
    way(whole, [{"question": "What is the fee?", "context": CARDS[0]}, {"question": "Why?", "context": CARDS[0]}])
    assert sorted(map(str, texts(seen))) == ["What is the fee?", "Why?"]


@pytest.mark.parametrize("kind", ["the only variable", "a text template", "in a function", "the context before"])
def test_templates_of_all_kinds_are_read(kind: str, seen: Seen, model: Any) -> None:
    @chain
    def function(question: str) -> Any:
        return model.invoke(PROMPT.invoke({"question": question, "context": CARDS[0]}))

    pipeline: Runnable[Any, Any] = {
        "the only variable": ChatPromptTemplate.from_template("Be brief.\nQuestion: {query}") | model,
        "a text template": PromptTemplate.from_template("Be brief.\nQuestion: {input}") | model,
        "in a function": function,
        "the context before": {"context": lambda _: CARDS[0], "question": RunnablePassthrough()} | PROMPT | model,
    }[kind]
    pipeline.invoke("What is the fee?")
    pipeline.invoke("How do I pay?")
    assert texts(seen) == ["What is the fee?", "How do I pay?"]
    assert len(partitions(seen)) == 1


@pytest.mark.parametrize("way", ["AskOnceCache", "cached"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_completion_models_are_seen_too(way: str, asynchronous: bool, seen: Seen, cache: Cache) -> None:
    llm = FakeListLLM(responses=["yes"])
    if way == "cached":
        llm = cached(llm, cache)
    else:
        set_llm_cache(AskOnceCache(cache))
    pipeline = PromptTemplate.from_template("Be brief.\nQuestion: {question}") | llm
    for question in ("What is the fee?", "How do I pay?"):
        fields = {"question": question}
        asyncio.run(pipeline.ainvoke(fields)) if asynchronous else pipeline.invoke(fields)
    llm.invoke("Question: How do I pay?")
    assert texts(seen[-1:]) == [None]
    assert set(texts(seen[:-1])) == {"What is the fee?", "How do I pay?"}


def test_nothing_is_left_of_a_chain_for_what_comes_after_it(seen: Seen, model: Any) -> None:
    fields = {"question": "What is the fee?", "context": CARDS[0]}
    (PROMPT | model).invoke(fields)
    model.invoke("Question: What is the fee?")
    (ChatPromptTemplate.from_template("{what}") | model).invoke({"what": "Question: What is the fee? "})
    (RunnableLambda(lambda _: "Question: What is the fee?\n") | model).invoke("x")
    assert texts(seen) == [fields["question"], None, None, None]


def test_a_second_prompt_takes_the_place_of_the_first(seen: Seen, model: Any) -> None:
    first = ChatPromptTemplate.from_template("Rephrase: {question}") | model | StrOutputParser()
    second = ChatPromptTemplate.from_template("Translate into {language}:\n{text}") | model
    (first | {"text": RunnablePassthrough(), "language": lambda _: "Latin"} | second).invoke(
        {"question": "Why not?"}
    )
    assert texts(seen) == ["Why not?", "Translate into Latin:\nyes, they are"]


def test_what_the_application_names_comes_first(seen: Seen, model: Any) -> None:
    pipeline = ChatPromptTemplate.from_template("{question} I am asked by a {query}.") | model
    with cache_options(question="a customer"):
        pipeline.invoke({"question": "What is the fee?", "query": "customer"})
    with cache_options(semantic=False):
        pipeline.invoke({"question": "How do I pay?", "query": "customer"})
    assert texts(seen) == ["a customer", None]


# -- retrieval -------------------------------------------------------------------------------------------------


@pytest.fixture
def retriever(cache: Cache) -> CachedRetriever:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document(text, id=str(at), metadata={"title": "A"}) for at, text in enumerate(CARDS)])
    return CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=Corpus(cache))


def joined(documents: list[Document]) -> str:
    return "\n\n".join(one.page_content for one in documents)


def titled(documents: list[Document]) -> str:
    return "\n\n".join(f"{one.metadata['title']}: {one.page_content}" for one in documents)


QUESTIONS = [f"What is the fee of card {one}?" for one in range(12)]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_context_of_tracked_documents_alone_may_be_another(
    way: Any, seen: Seen, model: Any, retriever: CachedRetriever
) -> None:
    pipeline = {"context": retriever | joined, "question": RunnablePassthrough()} | PROMPT | model
    way(pipeline, QUESTIONS)
    assert sorted(map(str, texts(seen))) == sorted(QUESTIONS)
    assert len(partitions(seen)) == 1


def test_a_context_with_other_words_in_it_must_be_equal(seen: Seen, model: Any, retriever: CachedRetriever) -> None:
    for context in (
        retriever | titled,
        retriever.retriever | joined,
        retriever | (lambda found: joined(found) + "5"),
    ):
        seen.clear()
        ({"context": context, "question": RunnablePassthrough()} | PROMPT | model).batch(QUESTIONS)
        assert sorted(map(str, texts(seen))) == sorted(QUESTIONS)
        assert len(partitions(seen)) == 2  # one for each of the documents


def test_who_sees_other_documents_is_not_answered_from_these(
    seen: Seen, model: Any, retriever: CachedRetriever
) -> None:
    store = retriever.retriever.vectorstore  # type: ignore[attr-defined]
    for words in ({"k": 1}, {"k": 2}, {"k": 1}):
        own = CachedRetriever(store.as_retriever(search_kwargs=words), corpus=retriever.corpus)
        ({"context": own | joined, "question": RunnablePassthrough()} | PROMPT | model).batch(QUESTIONS)
        with cache_options(namespace="tenant-7"):
            ({"context": own | joined, "question": RunnablePassthrough()} | PROMPT | model).invoke(QUESTIONS[0])
    assert None not in seen
    assert len(partitions(seen)) == 4


async def test_the_retrieval_chains_of_langchain(seen: Seen, model: Any, retriever: CachedRetriever) -> None:
    history = MessagesPlaceholder("chat_history")
    condense = ChatPromptTemplate.from_messages([("system", "Rephrase."), history, ("human", "{input}")])
    answer = ChatPromptTemplate.from_messages([("system", "Use: {context}"), history, ("human", "Please: {input}")])
    pipeline = create_retrieval_chain(
        create_history_aware_retriever(model, retriever, condense), create_stuff_documents_chain(model, answer)
    )
    for question in QUESTIONS:
        await pipeline.ainvoke({"input": question, "chat_history": []})
    assert texts(seen) == QUESTIONS
    assert len(partitions(seen)) == 1
    seen.clear()
    before = [HumanMessage("What is a card?"), AIMessage("A piece of plastic.")]
    pipeline.invoke({"input": "And what is the fee?", "chat_history": before})
    pipeline.invoke({"input": "How do I close my account?", "chat_history": before})
    assert texts(seen) == [None, None, "How do I close my account?", "How do I close my account?"]
