"""Only good answers are stored, and a hit has the form of a fresh answer."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    ThinkingBlock,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CustomLLM
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.types import PydanticProgramMode
from llama_index.llms.openai import OpenAI, OpenAIResponses
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion_usage import CompletionUsage
from openai.types.responses import Response
from pydantic import BaseModel, ValidationError, field_validator

from askonce import Cache
from askonce.llama_index import cached
from askonce.llama_index.models.acceptance import breaks_off
from askonce.llama_index.models.answers import pack
from tests.llama_index.samples import HELLO
from tests.support.provider import Answer, Call, Provider


def chat(provider: Provider, kind: type[Any] = OpenAI, **fields: Any) -> Any:
    fields = {"model": "gpt-4o"} | fields
    return kind(api_base=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


# -- the form of a fresh answer ------------------------------------------------------------------------------------


def _of_no_call(text: str) -> str:
    """Without what names one call."""
    return re.sub(r'"(id|created)": ("[^"]*"|\d+)', "", text)


@pytest.mark.parametrize("streamed_first", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_raw_of_a_hit_has_the_form_of_the_fresh_one(
    provider: Provider, cache: Cache, streamed_first: bool, streamed: bool
) -> None:
    options = {"additional_kwargs": {"stream_options": {"include_usage": True}}}

    def last_of(llm: Any, streams: bool) -> Any:
        return list(llm.stream_chat(HELLO))[-1] if streams else llm.chat(HELLO)

    plain, llm = chat(provider, **options), cached(chat(provider, **options), cache)
    last_of(llm, streamed_first)
    fresh, hit = last_of(plain, streamed), last_of(llm, streamed)
    assert hit.additional_kwargs["askonce"]["hit"] == "exact"
    assert isinstance(hit.raw, ChatCompletionChunk if streamed else ChatCompletion)
    assert type(hit.raw.usage.model_dump()) is dict and isinstance(hit.raw.usage, CompletionUsage)
    assert hit.raw["usage"]["prompt_tokens"] == hit.raw.usage.prompt_tokens == fresh.raw.usage.prompt_tokens
    assert json.loads(hit.raw.model_dump_json(indent=2)) == hit.raw.model_dump()
    assert hit.raw.model_dump().keys() >= hit.raw.keys()
    assert hit.raw.copy().usage.prompt_tokens == hit.raw.usage.prompt_tokens and hit.raw._request_id is None
    assert "usage" in hit.raw.model_dump(exclude_none=True, include={"usage"})
    if not streamed:
        assert hit.raw.choices[0].message.content == fresh.raw.choices[0].message.content
        assert hit.raw.choices[0].finish_reason == "stop"
    assert hit.raw.to_dict().keys() == fresh.raw.to_dict().keys()
    if streamed_first == streamed:
        assert hit.raw.model_dump().keys() == fresh.raw.model_dump().keys()
        assert _of_no_call(hit.raw.to_json()) == _of_no_call(fresh.raw.to_json())
        assert hit.raw["service_tier"] is None and "service_tier" not in hit.raw.to_dict()
    for copied in (copy.deepcopy(hit.raw), pickle.loads(pickle.dumps(hit.raw)), hit.raw.model_copy()):
        assert copied.model_dump() == hit.raw.model_dump()


def test_raw_can_be_compared(provider: Provider, cache: Cache) -> None:
    llm = cached(chat(provider), cache)
    fresh, hit, other = (llm.chat(messages).raw for messages in (HELLO, HELLO, [*HELLO, *HELLO]))
    assert hit == llm.chat(HELLO).raw == hit.model_dump() == json.loads(json.dumps(hit))
    assert hit != other
    assert isinstance(fresh == hit, bool)
    assert isinstance(hit == fresh, bool)


async def test_streams_of_openais_responses_are_stored(provider: Provider, cache: Cache) -> None:
    """Their chunks have texts where other providers say why an answer ended."""
    llm = cached(chat(provider, OpenAIResponses), cache)
    texts = []
    for _ in range(2):
        texts.append(list(llm.stream_chat(HELLO))[-1].message.content)
        texts.append([chunk async for chunk in await llm.astream_chat(HELLO)][-1].message.content)
    texts.append(llm.chat(HELLO).message.content)
    assert provider.count == 1
    assert len(set(texts)) == 1


def test_a_hit_names_no_conversation_of_the_first_call(provider: Provider, cache: Cache) -> None:
    provider.answer = lambda request: Answer()
    llm = cached(chat(provider, OpenAIResponses), cache)
    fresh, hit = llm.chat(HELLO), llm.chat(HELLO)
    assert len(provider.ledger) == 1
    assert fresh.raw.id.startswith("resp_") and hit.raw.id is None
    assert isinstance(hit.raw, Response)
    assert hit.raw.output_text == fresh.raw.output_text
    assert "resp_" not in str(hit)


def test_a_hit_has_the_usage_that_a_call_would_report(provider: Provider, cache: Cache) -> None:
    llm = cached(chat(provider), cache)
    for _ in range(2):
        list(llm.stream_chat(HELLO))
    assert len(provider.ledger) == 1
    for _ in range(2):
        assert llm.chat(HELLO).raw.usage.total_tokens > 0
    list(llm.stream_chat(HELLO))
    assert len(provider.ledger) == 2


async def test_cached_embeddings_are_not_counted_as_tokens_again(cache: Cache) -> None:
    counter = TokenCountingHandler(tokenizer=str.split)
    model = cached(MockEmbedding(2, callback_manager=CallbackManager([counter])), cache)
    for _ in range(3):
        vector = model.get_text_embedding("three words here")
        await model.aget_text_embedding("three words here")
        model.get_query_embedding("two words")
        assert type(vector) is list
    assert counter.total_embedding_token_count == 5
    texts = ["three words here", "one"]
    vectors = [*model.get_text_embedding_batch(texts), *await model.aget_text_embedding_batch(texts)]
    assert counter.total_embedding_token_count == 6
    assert {type(vector) for vector in vectors} == {list}
    assert counter in model.callback_manager.handlers


# -- what is stored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        {"choices": [{"finish_reason": "insufficient_system_resource"}]},
        {"choices": [{"finish_reason": "abort"}]},
        {"candidates": [{"finish_reason": "LANGUAGE"}]},
        {"stop_reason": "refusal"},
        {"done_reason": "load"},
        {"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"object": "chat.completion", "choices": [{"finish_reason": None}]},
        {"choices": [{"finish_reason": "stop", "message": {"refusal": "no"}}]},
    ],
    ids=str,
)
def test_an_answer_without_a_proper_end_is_not_stored(raw: Any) -> None:
    answer = pack(ChatResponse(message=ChatMessage(role="assistant", content="I"), raw=raw), None)
    assert answer is not None and answer.truncated and answer.detail


@pytest.mark.parametrize(
    "raw", [None, {"choices": [{"finish_reason": "stop"}]}, {"stop_reason": "end_turn"}, {"status": "completed"}]
)
def test_an_answer_with_a_proper_end_is_stored(raw: Any) -> None:
    answer = pack(ChatResponse(message=ChatMessage(role="assistant", content="I"), raw=raw), None)
    assert answer is not None and not answer.truncated and not answer.empty and not answer.invalid


def test_thoughts_alone_are_no_answer() -> None:
    for message in (
        ChatMessage(role="assistant", blocks=[ThinkingBlock(content="hm")]),
        ChatMessage(role="assistant", content="<think>hm</think>"),
    ):
        answer = pack(ChatResponse(message=message), None)
        assert answer is not None and answer.empty


class Opaque(CustomLLM):
    """Its answers hold what cannot be stored."""

    _raw: Any = PrivateAttr(default=None)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="opaque")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=prompt, additional_kwargs={"tensor": object()})

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


def test_a_model_whose_answers_are_never_stored_is_reported_once(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    llm = cached(Opaque(), cache)
    with caplog.at_level(logging.WARNING, "askonce"):
        for _ in range(5):
            llm.complete("hi")
    assert len(caplog.records) == 1
    assert cache.stats().not_stored_reasons == {"not storable": 5}


def test_the_application_decides_what_is_stored(provider: Provider) -> None:
    seen: list[Any] = []
    with Cache("memory://", cache_if=lambda answer: bool(seen.append(answer))) as cache:
        llm = cached(chat(provider), cache)
        for _ in range(2):
            llm.chat(HELLO)
            list(llm.stream_chat(HELLO))
        cached(MockEmbedding(2), cache).get_text_embedding_batch(["a", "b"])
        assert cache.stats().not_stored_reasons == {"cache_if": 6}
    assert isinstance(seen[0], ChatResponse) and seen[-1] == [0.5, 0.5]


class Odd(MockEmbedding):
    """Gives each vector that it has once."""

    _left: list[list[float]] = PrivateAttr(default_factory=list)

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [self._left.pop(0) for _ in texts]


@pytest.mark.parametrize("bad", [[float("nan"), 1.0], [1.0], []], ids=str)
def test_a_vector_that_is_none_is_not_stored(bad: list[float], cache: Cache) -> None:
    model = Odd(2)
    left = [[1.0, 2.0], bad, [1.0, 2.0], [3.0, 4.0]]
    twin = cached(model, cache)
    twin._left.extend(left)
    with contextlib.suppress(Exception):
        twin.get_text_embedding_batch(["a", "b"])
    assert cache.stats().not_stored >= 1


# -- structured output ---------------------------------------------------------------------------------------------


class Album(BaseModel):
    """An album."""

    title: str
    tracks: int

    @field_validator("title")
    @classmethod
    def check(cls, title: str) -> str:
        if title == "Red":
            raise ValueError("there is no such album")
        return title


GOOD = {"title": "Blue", "tracks": 10}


def script(*scripted: Any) -> Callable[[Any], Answer]:
    left = list(scripted)

    def answer(request: Any) -> Answer:
        one = left.pop(0)
        if isinstance(one, str):
            return Answer(one)
        return Answer("", (Call("Album", one),)) if request.get("tools") else Answer(json.dumps(one))

    return answer


@pytest.fixture(
    params=[
        *("predict", "apredict", "stream", "astream", "structured_llm", "astructured_llm", "program", "aprogram"),
        *("tool_program", "atool_program"),
    ]
)
def predict(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Requests an album, in each way."""

    async def call(llm: Any) -> Any:
        prompt = PromptTemplate("An album?")
        match request.param:
            case "predict":
                return llm.structured_predict(Album, prompt)
            case "apredict":
                return await llm.astructured_predict(Album, prompt)
            case "stream":
                return list(llm.stream_structured_predict(Album, prompt))[-1]
            case "astream":
                return [part async for part in await llm.astream_structured_predict(Album, prompt)][-1]
            case "program":
                return LLMTextCompletionProgram.from_defaults(output_cls=Album, prompt=prompt, llm=llm)()
            case "aprogram":
                return await LLMTextCompletionProgram.from_defaults(
                    output_cls=Album, prompt=prompt, llm=llm
                ).acall()
            case "tool_program":
                return FunctionCallingProgram.from_defaults(output_cls=Album, prompt=prompt, llm=llm)()
            case "atool_program":
                return await FunctionCallingProgram.from_defaults(output_cls=Album, prompt=prompt, llm=llm).acall()
            case "structured_llm":
                return llm.as_structured_llm(Album).chat(HELLO).raw
        return (await llm.as_structured_llm(Album).achat(HELLO)).raw

    return call


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("gpt-4o", PydanticProgramMode.DEFAULT),
        ("gpt-4.1", PydanticProgramMode.FUNCTION),
        ("gpt-4.1", PydanticProgramMode.LLM),
    ],
    ids=["json_schema", "tools", "text"],
)
@pytest.mark.parametrize("bad", [{"title": "Blue"}, {"title": "Red", "tracks": 1}, "Which album?"], ids=str)
async def test_the_model_is_called_again_after_a_prediction_that_does_not_parse(
    provider: Provider, cache: Cache, predict: Callable[[Any], Any], model: str, mode: PydanticProgramMode, bad: Any
) -> None:
    provider.answer = script(bad, GOOD)
    llm = cached(chat(provider, model=model, pydantic_program_mode=mode), cache)
    albums = []
    for _ in range(3):
        with contextlib.suppress(ValueError, ValidationError, TypeError, AssertionError, UnboundLocalError):
            album = await predict(llm)
            albums += [album] if isinstance(album, Album) and album.tracks == 10 else []
    assert albums == [Album(title="Blue", tracks=10)] * 2
    assert len(provider.ledger) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_what_the_output_parser_of_an_llm_refuses_is_not_stored(
    provider: Provider, cache: Cache, asynchronous: bool
) -> None:
    provider.answer = script("Which album?", json.dumps(GOOD))
    llm = cached(chat(provider, model="gpt-4.1", output_parser=PydanticOutputParser(Album)), cache)
    prompt, titles = PromptTemplate("An album?"), []
    for _ in range(3):
        with contextlib.suppress(ValueError):
            titles.append(await llm.apredict(prompt) if asynchronous else llm.predict(prompt))
    assert len(titles) == 2
    assert len(provider.ledger) == 2


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


@pytest.mark.parametrize(
    "last",
    [
        {"metadata": {"usage": {"outputTokens": 3}}},  # BedrockConverse passes on no messageStop
        {"contentBlockDelta": {"delta": {"text": "The dose"}}},
        {"candidates": [{"content": {}, "finish_reason": None}]},
        {"message": {"content": "The dose"}, "done": False},
    ],
)
def test_a_stream_whose_provider_gives_no_end_reason_is_not_whole(last: dict[str, Any]) -> None:
    response = ChatResponse(message=ChatMessage(role="assistant", content="The dose is at most"), raw=last)
    assert breaks_off(response, []) == "it ended without an end reason"
    assert not breaks_off(response, ["stop"])
