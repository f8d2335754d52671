"""Known faults of which users of such caches tell; each test says what is right, and fails until it is so."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import pickle
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import tiktoken
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain_core.embeddings import Embeddings
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.checkpoint.memory import InMemorySaver
from llama_index.core import PromptTemplate
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel, ValidationError

from askonce import Cache, ConfigError
from askonce.langchain import AskOnceCache, CachedEmbeddings, cached
from askonce.llama_index import cached as cached_llama
from askonce.stores import open_store
from askonce.stores.base import Record, Size
from askonce.stores.memory import MemoryStore
from tests.findings.conftest import Keep
from tests.support import servers
from tests.support.provider import Answer, Call, Provider


def chat(provider: Provider, **fields: Any) -> ChatOpenAI:
    fields = {"model": "gpt-4.1"} | fields
    return ChatOpenAI(base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


def summed(chunks: Any) -> AIMessageChunk:
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


# -- conversations -----------------------------------------------------------------------------------------------


@wrap_model_call
def last_message_alone(request: Any, handler: Any) -> Any:
    return handler(request.override(messages=request.messages[-1:]))


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="hits carry the provider's id of the answer: a thread takes the second for a change of the first",
)
def test_a_hit_is_a_new_message_in_its_thread(keep: Keep, provider: Provider) -> None:
    agent: Any = create_agent(
        keep(chat(provider, use_responses_api=True)),
        [],
        middleware=[last_message_alone],
        checkpointer=InMemorySaver(),
    )
    for _ in range(2):
        asked = {"messages": [HumanMessage("opening hours?")]}
        said = agent.invoke(asked, {"configurable": {"thread_id": "1"}})["messages"]
    assert len(provider.ledger) == 1
    assert [message.type for message in said] == ["human", "ai", "human", "ai"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a hit carries the id of the first user's response, whose conversation the second user then continues",
)
def test_no_conversation_goes_on_from_a_response_of_another_user(keep: Keep, provider: Provider) -> None:
    requests: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> Answer:
        requests.append(request)
        return Answer()

    provider.answer = answer
    continued = []
    for user in ("Ann", "Bob"):
        model = keep(chat(provider, use_responses_api=True, use_previous_response_id=True))
        said: list[BaseMessage] = [HumanMessage("hello")]
        said += [model.invoke(said), HumanMessage(f"I am {user}")]
        model.invoke(said)
        continued.append(requests[-1].get("previous_response_id"))
    assert continued[0] != continued[1]


# -- what is kept ------------------------------------------------------------------------------------------------


class Invoice(BaseModel):
    """An invoice."""

    number: str
    total: int


def script(*arguments: dict[str, Any], as_text: bool = False) -> Callable[[Any], Answer]:
    """Invoices, one for each time that the model is asked: as calls of a tool, or as text."""
    left = list(arguments)

    def answer(request: Any) -> Answer:
        given = left.pop(0)
        return Answer(json.dumps(given)) if as_text else Answer("", (Call("Invoice", given),))

    return answer


@pytest.mark.xfail(
    strict=True,
    raises=(ValidationError, OutputParserException),
    reason="an answer that does not parse is kept, so that every retry gets it again",
)
@pytest.mark.parametrize("method", ["function_calling", "json_mode"])
def test_an_answer_that_does_not_parse_is_asked_for_again(
    keep: Keep, provider: Provider, method: Literal["function_calling", "json_mode"]
) -> None:
    provider.answer = script({"number": "A1"}, {"number": "A1", "total": 3}, as_text=method == "json_mode")
    model = keep(chat(provider)).with_structured_output(Invoice, method=method)
    asked = model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert asked.invoke("the invoice, as JSON") == Invoice(number="A1", total=3)


@pytest.mark.xfail(
    strict=True,
    raises=ValidationError,
    reason="an answer that does not parse is kept, so that every later prediction fails too",
)
def test_a_prediction_that_does_not_parse_is_asked_for_again(provider: Provider, cache: Cache) -> None:
    provider.answer = script({"number": "A1"}, {"number": "A1", "total": 3}, as_text=True)
    llm = cached_llama(
        OpenAI(model="gpt-4.1", api_base=provider.openai_url, api_key="sk-none", max_retries=0), cache
    )
    with pytest.raises(ValidationError):
        llm.structured_predict(Invoice, PromptTemplate("the invoice"))
    assert llm.structured_predict(Invoice, PromptTemplate("the invoice")) == Invoice(number="A1", total=3)


class Scripted(BaseChatModel):
    """A model of one's own, without HTTP."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError


def scripted(message: AIMessage) -> tuple[BaseChatModel, list[list[BaseMessage]]]:
    """A model that says the message, and what it is asked."""
    asked: list[list[BaseMessage]] = []

    class Model(Scripted):
        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            asked.append(messages)
            return ChatResult(generations=[ChatGeneration(message=copy.deepcopy(message))])

    return Model(), asked


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an answer that its provider broke off or refused is kept, since not all words for it are known",
)
@pytest.mark.parametrize(
    "ended",
    [
        {"finish_reason": "insufficient_system_resource"},
        {"finish_reason": "OTHER"},
        {"finish_reason": "LANGUAGE"},
        {"finish_reason": "UNEXPECTED_TOOL_CALL"},
        {"stop_reason": "refusal", "model_provider": "anthropic"},
    ],
    ids=lambda ended: next(iter(ended.values())),
)
def test_an_answer_that_was_broken_off_or_refused_is_not_kept(cache: Cache, ended: dict[str, Any]) -> None:
    model, asked = scripted(AIMessage("I am afraid", response_metadata=ended))
    for _ in range(2):
        cached(model, cache).invoke("hi")
    assert len(asked) == 2


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an answer that says nothing that can be used is kept: reasoning alone, or a call that cannot be read",
)
@pytest.mark.parametrize(
    "message",
    [
        pytest.param(AIMessage("", additional_kwargs={"reasoning_content": "Well,"}), id="reasoning_content"),
        pytest.param(AIMessage([{"type": "thinking", "thinking": "Well,", "signature": "s"}]), id="thinking"),
        pytest.param(
            AIMessage("", invalid_tool_calls=[{"name": "add", "args": '{"a": 1', "id": "c", "error": "no JSON"}]),
            id="invalid tool call",
        ),
    ],
)
def test_an_answer_that_says_nothing_usable_is_not_kept(cache: Cache, message: AIMessage) -> None:
    model, asked = scripted(message)
    for _ in range(2):
        cached(model, cache).invoke("hi")
    assert len(asked) == 2


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="after `clear` the text of answers stands in the SQLite file and its log until the store is closed",
)
def test_cleared_answers_are_gone_from_the_file(cache: Cache, tmp_path: Path) -> None:
    answers = AskOnceCache(cache)
    for number in range(300):
        answers.update(f"who is {number}?", "model", [Generation(text=f"Patient {number} is ill")])

    def is_there() -> bool:
        return any(b"Patient 123 is ill" in file.read_bytes() for file in tmp_path.iterdir())

    assert is_there()
    cache.clear()
    assert not is_there()


# -- embeddings --------------------------------------------------------------------------------------------------


class OnDevice(Embeddings):
    """Of the shape of embeddings that run a model on this machine; one of their settings is an object."""

    def __init__(self, truncate_dim: int) -> None:
        self.model_name = "bge"
        self.model_kwargs = {"truncate_dim": truncate_dim, "torch_dtype": object()}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.5] * self.model_kwargs["truncate_dim"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a map of settings that holds one object is left out of the key as a whole: another model's vectors",
)
def test_settings_beside_an_object_tell_embeddings_apart(cache: Cache) -> None:
    for dimensions in (2, 3):
        try:
            embeddings = CachedEmbeddings(OnDevice(dimensions), cache)
        except ConfigError:
            return  # it wants a name for them, which is right too
        assert [len(vector) for vector in embeddings.embed_documents(["x"])] == [dimensions]


class Letters:
    """A tokenizer that needs no download."""

    def encode_ordinary(self, text: str) -> list[int]:
        return list(map(ord, text[::2]))

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        return self.encode_ordinary(text)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what is sent in the place of a text, and to which configuration, is not in the key: others' vectors",
)
@pytest.mark.parametrize(
    "changed",
    [
        {"check_embedding_ctx_length": True},  # sends tokens, which not all servers read as OpenAI does
        {"default_headers": {"x-portkey-config": "another"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_sent_tells_embeddings_apart(
    cache: Cache, provider: Provider, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda name: Letters())
    usual = {"check_embedding_ctx_length": False, "default_headers": {"x-portkey-config": "one"}}
    for fields in (usual, usual | changed):
        embeddings = OpenAIEmbeddings(
            model="e", base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields
        )
        CachedEmbeddings(embeddings, cache).embed_documents(["a text"])
    assert provider.count == 2


class Unwell(Embeddings):
    """Embeds a text as no number at first, and rightly from then on."""

    model = "unwell"

    def __init__(self) -> None:
        self.model = "unwell"
        self._vectors = [[math.nan] * 2, [1.0] * 2]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._vectors.pop(0) for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._vectors.pop(0)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a vector that holds no numbers is kept for ever",
)
@pytest.mark.parametrize("kind", ["document", "query"])
def test_a_vector_that_is_no_number_is_not_kept(cache: Cache, kind: str) -> None:
    embeddings = CachedEmbeddings(Unwell(), cache)
    embed = embeddings.embed_query if kind == "query" else lambda text: embeddings.embed_documents([text])[0]
    assert math.isnan(embed("x")[0])
    assert embed("x") == [1.0, 1.0]


class Distant(MemoryStore):
    """Takes a time for each entry, as a server does: 5,000 of them a second."""

    def _pause(self, entries: Sequence[Any]) -> float:
        return len(entries) / 5_000

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        time.sleep(self._pause(keys))
        return super().get_many(namespace, keys)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        await asyncio.sleep(self._pause(keys))
        return super().get_many(namespace, keys)

    def put(self, namespace: str, records: Sequence[Record], *args: Any) -> int:
        time.sleep(self._pause(records))
        return super().put(namespace, records, *args)

    async def aput(self, namespace: str, records: Sequence[Record], *args: Any) -> int:
        await asyncio.sleep(self._pause(records))
        return super().put(namespace, records, *args)


class Counting(Embeddings):
    """Counts the texts that it is given."""

    def __init__(self) -> None:
        self.model = "counting"
        self._texts = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._texts += len(texts)
        return [[0.5] * 16 for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a batch of any size has the time of one entry: large ones are embedded anew, and close off the store",
)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_large_batch_is_embedded_once(asynchronous: bool) -> None:
    inner, texts = Counting(), [str(number) for number in range(3_000)]
    with Cache(Distant()) as cache:
        embeddings = CachedEmbeddings(inner, cache)
        for _ in range(2):
            if asynchronous:
                asyncio.run(embeddings.aembed_documents(texts))
            else:
                embeddings.embed_documents(texts)
        assert (inner._texts, cache.stats().errors) == (3_000, 0)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="what a put had charged when its time was over counts for an hour, so that the namespace evicts early",
)
async def test_a_put_that_is_cut_off_leaves_the_account_right(monkeypatch: pytest.MonkeyPatch) -> None:
    store, space, writing = open_store(servers.start("mongodb").url), uuid.uuid4().hex, asyncio.Event()

    async def hang(*args: Any, **kwargs: Any) -> None:
        writing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("pymongo.asynchronous.collection.AsyncCollection.bulk_write", hang)
    put = asyncio.create_task(store.aput(space, [Record(b"k" * 32, b"value")]))
    await writing.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    size = await store.asize(space)
    await store.aclose()
    assert size == Size(0, 0)


# -- what a hit tells --------------------------------------------------------------------------------------------


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an answer that was streamed without its usage serves calls that would have been told theirs",
)
@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
def test_a_hit_tells_the_usage_that_a_call_would_tell(provider: Provider, cache: Cache, streamed: bool) -> None:
    model = cached(chat(provider), cache)
    assert summed(model.stream("hi")).content == Answer().text
    told = summed(model.stream("hi", stream_usage=True)) if streamed else model.invoke("hi")
    assert told.usage_metadata is not None


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="an answer that was kept without the headers of the response serves a model that is to tell them",
)
def test_a_hit_tells_the_headers_that_were_asked_for(provider: Provider, cache: Cache) -> None:
    cached(chat(provider), cache).invoke("hi")
    told = cached(chat(provider, include_response_headers=True), cache).invoke("hi")
    assert "headers" in told.response_metadata


class Thinking(Scripted):
    """Streams what it thinks before what it says."""

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(
            message=AIMessageChunk("", additional_kwargs={"reasoning_content": "Let me think."})
        )
        yield ChatGenerationChunk(message=AIMessageChunk("Yes, "))
        yield ChatGenerationChunk(message=AIMessageChunk("it is."))


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="a replayed stream tells the reasoning after the text",
)
def test_a_replayed_stream_tells_its_reasoning_first(cache: Cache) -> None:
    model = cached(Thinking(), cache)

    def order() -> list[str]:
        told = []
        for chunk in model.stream("is it?"):
            told += ["reasoning"] if "reasoning_content" in chunk.additional_kwargs else []
            told += ["text"] if chunk.text else []
        return list(dict.fromkeys(told))

    assert order() == ["reasoning", "text"]
    assert cache.stats().hits == 0
    assert order() == ["reasoning", "text"]
    assert cache.stats().hits == 1


# -- parts of applications ---------------------------------------------------------------------------------------


def a_cache(url: str) -> Any:
    return AskOnceCache(url)


def a_model_with_a_cache(url: str) -> Any:
    return FakeListChatModel(responses=["yes"], cache=AskOnceCache(url))


def embeddings_with_a_cache(url: str) -> Any:
    return CachedEmbeddings(Counting(), url)


@pytest.mark.xfail(
    strict=True,
    raises=TypeError,
    reason="caches and embeddings that were given a store's URL can be neither copied nor pickled",
)
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("make", [a_cache, a_model_with_a_cache, embeddings_with_a_cache])
def test_what_was_given_a_url_is_copied(url: str, make: Callable[[str], Any], way: Callable[[Any], Any]) -> None:
    made = make(url)
    assert type(way(made)) is type(made)
