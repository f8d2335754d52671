"""Known faults of the LangChain adapter; each test says what is right, and fails until it is so."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from zlib import crc32

import httpx
import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import BaseTool, tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, create_model

from askonce import Cache, Corpus
from askonce.langchain import AskOnceCache, CachedEmbeddings, CachedRetriever, cached, watch
from tests.findings.conftest import Keep
from tests.support.provider import Answer, Call, Provider


def chat(provider: Provider, **fields: Any) -> ChatOpenAI:
    fields = {"model": "gpt-4.1"} | fields
    return ChatOpenAI(base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


def responses(provider: Provider, **fields: Any) -> ChatOpenAI:
    return chat(provider, use_responses_api=True, **fields)


class Actor(BaseChatModel):
    """A model of one's own, which LangChain cannot serialize."""

    persona: str
    prop: dict[str, str]

    @property
    def _llm_type(self) -> str:
        return "actor"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        said = AIMessage(f"{self.persona} with {self.prop['hand']} says hello")
        return ChatResult(generations=[ChatGeneration(message=said)])


# -- wrong hits ------------------------------------------------------------------------------------------------


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a model that LangChain cannot serialize is named by few of its fields: another one gets its answer",
)
def test_a_model_is_named_by_all_its_fields(keep: Keep) -> None:
    roles = [("Hamlet", "a skull"), ("Ophelia", "a skull"), ("Ophelia", "rosemary")]
    said = [keep(Actor(persona=who, prop={"hand": what})).invoke("hi").content for who, what in roles]
    assert said == [f"{who} with {what} says hello" for who, what in roles]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an endpoint that the client reads from the environment is not in the key: another server's answer",
)
def test_the_endpoint_from_the_environment_tells_models_apart(
    keep: Keep, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Provider() as other:
        for each in (provider, other):
            monkeypatch.setenv("OPENAI_BASE_URL", each.openai_url)
            keep(ChatOpenAI(model="gpt-4.1", api_key="sk-none", max_retries=0)).invoke("who are you?")
        assert (len(provider.ledger), len(other.ledger)) == (1, 1)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an endpoint that the client reads from the environment is not in the key: another server's vectors",
)
def test_the_endpoint_from_the_environment_tells_embeddings_apart(
    cache: Cache, provider: Provider, other_provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (provider, other_provider):
        monkeypatch.setenv("OPENAI_BASE_URL", each.openai_url)
        embeddings = OpenAIEmbeddings(model="e", api_key="sk-none", check_embedding_ctx_length=False)
        CachedEmbeddings(embeddings, cache).embed_query("who are you?")
    assert (provider.count, other_provider.count) == (1, 1)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the credential by which a hosted tool acts is not in the key: a user gets another user's answer",
)
def test_users_whose_tokens_a_hosted_tool_acts_with_share_no_answer(keep: Keep, provider: Provider) -> None:
    provider.answer = lambda request: Answer(f"mail of {request['tools'][0]['authorization']}")
    answers = []
    for user in ("alice", "bob"):
        mail = {
            "type": "mcp",
            "server_label": "mail",
            "connector_id": "connector_gmail",
            "authorization": user,
            "require_approval": "never",
        }
        answers.append(keep(responses(provider)).bind_tools([mail]).invoke("my last mail?").text)
    assert answers == ["mail of alice", "mail of bob"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the tool servers of ChatAnthropic are a secret to LangChain, so that they are not in the key",
)
def test_models_with_other_tool_servers_share_no_answer(keep: Keep, provider: Provider) -> None:
    provider.answer = lambda request: Answer(str([one["url"] for one in request.get("mcp_servers", ())]))
    answers = []
    for urls in ([], ["https://a/mcp"], ["https://b/mcp"]):
        servers = [{"type": "url", "url": url, "name": "tools"} for url in urls]
        fields: dict[str, Any] = {"mcp_servers": servers} if servers else {}
        model = ChatAnthropic(
            model="claude-opus-4-8", base_url=provider.anthropic_url, api_key="sk-none", max_retries=0, **fields
        )
        answers.append(keep(model).invoke("hi").content)
    assert answers == ["[]", "['https://a/mcp']", "['https://b/mcp']"]


def answer_class(*fields: str) -> type[BaseModel]:
    """A schema whose properties stand in that order."""
    types: dict[str, Any] = dict.fromkeys(fields, (str, ""))
    return create_model("Solution", **types)


def asking(method: str) -> Callable[[Any, tuple[str, str]], Any]:
    return lambda model, order: model.with_structured_output(answer_class(*order), method=method)


def with_tool(model: Any, order: tuple[str, str]) -> Any:
    named: BaseTool = tool("solve", args_schema=answer_class(*order), description="Solve it.")(lambda **_: "")
    return model.bind_tools([named])


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="schemas are sorted in the key, though models write in their order: reasoning first is not answer first",
)
@pytest.mark.parametrize(
    "bind", [asking("function_calling"), asking("json_schema"), with_tool], ids=["function", "schema", "tool"]
)
def test_the_order_of_properties_in_a_schema_is_part_of_the_question(
    provider: Provider, cache: Cache, bind: Callable[[Any, tuple[str, str]], Any]
) -> None:
    provider.answer = lambda request: (
        Answer("", (Call(request["tools"][0]["function"]["name"]),)) if request.get("tools") else Answer("{}")
    )
    for order in (("reasoning", "answer"), ("answer", "reasoning")):
        bind(cached(chat(provider), cache), order).invoke("2+2")
    assert len(provider.ledger) == 2


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the id of the response that a request continues is not in the key: another conversation's answer",
)
def test_conversations_that_the_provider_keeps_are_told_apart(keep: Keep, provider: Provider) -> None:
    provider.answer = lambda request: Answer(f"as in {request['previous_response_id']}")
    answers = [
        keep(responses(provider, use_previous_response_id=True))
        .invoke([AIMessage("ok", response_metadata={"id": before}), HumanMessage("what did I tell you?")])
        .text
        for before in ("resp_a", "resp_b")
    ]
    assert answers == ["as in resp_a", "as in resp_b"]


# -- the same answer, in the same form ---------------------------------------------------------------------------


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


def call_and_tell(request: dict[str, Any]) -> Answer:
    told = any(item.get("type") == "function_call_output" for item in request["input"])
    return Answer("It is sunny.") if told else Answer("I look.", (Call("weather", {"city": "Paris"}),))


def summed(chunks: Any) -> AIMessageChunk:
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


def test_an_agent_that_was_invoked_is_streamed_without_a_call(provider: Provider, cache: Cache) -> None:
    provider.answer = call_and_tell
    agent = create_agent(cached(responses(provider, output_version="v1"), cache), [weather])
    asked = {"messages": [HumanMessage("weather?")]}
    agent.invoke(asked)
    assert len(provider.ledger) == 2
    assert list(agent.stream(asked, stream_mode="messages"))
    assert len(provider.ledger) == 2


# -- misses where there could be hits ----------------------------------------------------------------------------


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a timeout that is an object keeps all calls from being cached, though timeouts are not in the key",
)
def test_a_timeout_that_is_an_object_does_not_count(provider: Provider, cache: Cache) -> None:
    set_llm_cache(AskOnceCache(cache))
    for seconds in (2, 3):
        chat(provider, timeout=httpx.Timeout(10, connect=seconds)).invoke("hi")
    assert len(provider.ledger) == 1


PERSON = """
class Person(BaseModel):
    name: str
"""


Make = Callable[[Provider, Cache], Any]


def made_with(**fields: Any) -> Make:
    return lambda provider, cache: cached(chat(provider, **fields), cache)


def bound_to(**kwargs: Any) -> Make:
    return lambda provider, cache: cached(chat(provider), cache).bind(**kwargs)


def with_a_closing_slash(provider: Provider, cache: Cache) -> Any:
    url = f"{provider.openai_url}/"
    return cached(ChatOpenAI(model="gpt-4.1", base_url=url, api_key="sk-none", max_retries=0), cache)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="parameters that say the same in two ways make two keys",
)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(made_with(temperature=0.5), bound_to(temperature=0.5), id="temperature bound"),
        pytest.param(made_with(), bound_to(model="gpt-4.1"), id="model bound"),
        pytest.param(made_with(), with_a_closing_slash, id="closing slash"),
        pytest.param(made_with(), made_with(n=1), id="one answer"),
        pytest.param(made_with(), made_with(default_headers={}), id="no headers"),
    ],
)
def test_parameters_that_say_the_same_make_one_key(
    provider: Provider, cache: Cache, one: Make, other: Make
) -> None:
    one(provider, cache).invoke("hi")
    other(provider, cache).invoke("hi")
    assert len(provider.ledger) == 1


class Words(Embeddings):
    """A vector for each text."""

    model = "words"

    def __init__(self) -> None:
        self.model = "words"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float("cat" in text), float("owl" in text), 0.01 + crc32(text.encode()) / 2**40] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what was retrieved before a run counts as a source of its answers, which are then born outdated",
)
def test_an_answer_is_made_from_what_its_own_run_retrieved(provider: Provider, cache: Cache) -> None:
    corpus = Corpus(cache, name="animals")
    store = watch(InMemoryVectorStore(Words()), corpus)
    store.add_documents([Document("the cat sleeps", id="cat"), Document("the owl flies", id="owl")])
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    model = cached(
        ChatOpenAI(model="gpt-4o", base_url=provider.openai_url, api_key="sk-none", max_retries=0), cache
    )
    prompt = ChatPromptTemplate.from_template("{context}: {question}")
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model

    assert [one.id for one in retriever.invoke("what does the cat do?")] == ["cat"]
    store.delete(["cat"])
    answers = [chain.invoke("what does the owl do?").content for _ in range(2)]
    assert ["the owl flies" in one for one in answers] == [True, True]
    assert provider.count == 1


# -- stores ------------------------------------------------------------------------------------------------------


class BlockingError(Exception):
    """As `blockbuster` raises it."""


@pytest.fixture
def no_blocking_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocking calls on an event loop raise an error, as `blockbuster` and with it `langgraph dev` have it."""

    def forbid(call: str) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise BlockingError(f"Blocking call to {call}")

    class Connection(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            forbid("sqlite3.Connection.execute")
            return super().execute(*args)

    def access(*args: Any, **kwargs: Any) -> bool:
        forbid("os.access")
        return can_access(*args, **kwargs)

    can_access, connect = os.access, sqlite3.connect
    blockbuster = ModuleType("blockbuster")
    blockbuster.__dict__["BlockingError"] = BlockingError
    monkeypatch.setitem(sys.modules, "blockbuster", blockbuster)
    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs))


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the SQLite store reads on the event loop, so that it has no hits where blocking calls are forbidden",
)
@pytest.mark.usefixtures("no_blocking_calls")
def test_the_default_store_works_where_blocking_calls_are_forbidden(cache: Cache) -> None:
    model = cached(FakeListChatModel(responses=["one", "two"]), cache)

    async def ask() -> list[str]:
        return [(await model.ainvoke("hi")).text for _ in range(3)]

    answers = asyncio.run(ask())
    stats = cache.stats()
    assert (answers, stats.hits, stats.errors) == (["one"] * 3, 2, 0)


@pytest.mark.xfail(
    strict=True,
    raises=BlockingError,
    reason="a cache over SQLite cannot be made in a coroutine where blocking calls are forbidden",
)
@pytest.mark.usefixtures("no_blocking_calls")
def test_a_cache_is_made_in_a_coroutine_where_blocking_calls_are_forbidden(url: str) -> None:
    async def make() -> Cache:
        return Cache(url)

    asyncio.run(make()).close()
