"""Structured output that classes have their SDKs parse, past their own chat, is cached all the same."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable
from typing import Any, get_origin

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.prompts import SelectorPromptTemplate
from llama_index.core.types import PydanticProgramMode
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.anthropic import utils as anthropic_messages
from llama_index.llms.azure_openai import AzureOpenAIResponses
from llama_index.llms.google_genai import GoogleGenAI
from llama_index.llms.openai import OpenAIResponses
from pydantic import BaseModel

from askonce import Cache
from askonce.llama_index import cached
from tests.support.canned import Canned, Reply, plain_json, sse

pytestmark = pytest.mark.filterwarnings("ignore")  # what the packages warn of is theirs


@pytest.fixture(autouse=True)
def _newest_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MessageParam", "BetaMessageParam"):
        if get_origin(vars(anthropic_messages).get(name)) is not None:  # a union in the newest SDK
            monkeypatch.setattr(anthropic_messages, name, dict)


class Album(BaseModel):
    """An album."""

    title: str
    year: int = 0


class Record(BaseModel):
    """Another one."""

    title: str
    songs: list[str] = []


PROMPT = PromptTemplate("An album about {topic}?")


def album_number(number: int, body: Any) -> str:
    return json.dumps({"title": f"Number {number}"})


def responses_reply(text: str, body: Any, refuses: bool = False) -> Reply:
    content: list[Any] = [{"type": "output_text", "text": text, "annotations": []}]
    content += [{"type": "refusal", "refusal": "No."}] if refuses else []
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
    usage = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    response = {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o", "status": "completed",
        "output": [message], "parallel_tool_calls": True, "tool_choice": "none", "tools": [], "usage": usage,
    }  # fmt: skip
    return plain_json(response)


def anthropic_reply(text: str, body: Any, ended: str | None = "end_turn") -> Reply:
    return plain_json(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": text}],
            "stop_reason": ended,
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 2},
        }
    )


def google_reply(text: str, body: Any, streams: bool = False) -> Reply:
    def answer(part: str, ended: str | None) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": part}]}
        usage = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
        candidate = {"content": content, "index": 0} | ({"finishReason": ended} if ended else {})
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}

    if streams:
        return sse(answer(text[:9], None), answer(text[9:], "STOP"))
    return plain_json(answer(text, "STOP"))


def openai(url: str, **fields: Any) -> Any:
    return OpenAIResponses(model="gpt-4o", api_key="k", api_base=f"{url}/v1", max_retries=0, **fields)


def azure(url: str, **fields: Any) -> Any:
    return AzureOpenAIResponses(
        model="gpt-4o", engine="one", api_key="k", azure_endpoint=url, api_version="1", max_retries=0, **fields
    )


def anthropic(url: str, **fields: Any) -> Any:
    return Anthropic(model="claude-sonnet-4-5", api_key="k", base_url=url, max_retries=0, **fields)


def google(url: str, **fields: Any) -> Any:
    sizes = {"max_tokens": 100, "context_window": 1000}
    return GoogleGenAI(
        model="gemini-2.5-flash", api_key="k", http_options={"base_url": url}, max_retries=0, **sizes, **fields
    )


CLASSES: dict[str, tuple[Callable[..., Any], Callable[..., Reply]]] = {
    "OpenAIResponses": (openai, responses_reply),
    "AzureOpenAIResponses": (azure, responses_reply),
    "Anthropic": (anthropic, anthropic_reply),
    "GoogleGenAI": (google, google_reply),
}


def predict(llm: Any, how: str, cls: type[Any] = Album, topic: str = "love", **options: Any) -> Any:
    given = {"llm_kwargs": options} if options else {}
    if how == "structured_llm":
        return llm.as_structured_llm(cls).chat([ChatMessage(role="user", content=f"An album about {topic}?")]).raw
    if how == "astructured_predict":
        return asyncio.run(llm.astructured_predict(cls, PROMPT, topic=topic, **given))
    if how == "stream":
        return list(llm.stream_structured_predict(cls, PROMPT, topic=topic, **given))[-1]
    if how == "astream":

        async def last() -> Any:
            return [one async for one in await llm.astream_structured_predict(cls, PROMPT, topic=topic, **given)][
                -1
            ]

        return asyncio.run(last())
    return llm.structured_predict(cls, PROMPT, topic=topic, **given)


def canned(reply: Callable[..., Reply], words: Callable[[int, Any], str] = album_number) -> Canned:
    def answer(path: str, body: Any) -> Reply:
        text = words(len(server.requests), body)
        return reply(text, body, True) if "stream" in path else reply(text, body)

    server = Canned(answer)
    return server


HOWS = ["structured_predict", "astructured_predict", "structured_llm", "stream", "astream"]
CASES = [(name, how) for name in CLASSES for how in HOWS if "stream" not in how or "OpenAI" not in name]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_prediction_is_cached_by_prompt_class_and_options(name: str, how: str) -> None:
    make, reply = CLASSES[name]
    with canned(reply) as server, Cache("memory://") as cache:
        llm = cached(make(server.url), cache)
        first, again = predict(llm, how), predict(llm, how)
        assert first == again == Album(title="Number 1") and type(again) is Album and again is not first
        assert len(server.requests) == 1
        assert predict(llm, how, topic="war").title == "Number 2"
        assert predict(llm, how, Record) == Record(title="Number 3")
        if how != "structured_llm":
            options = (
                {"generation_config": {"temperature": 0.7}} if name == "GoogleGenAI" else {"extra_body": {"x": 1}}
            )
            assert predict(llm, how, **options).title == "Number 4"
        assert predict(llm, how).title == "Number 1"
        stats = cache.stats()
        assert (stats.hits, stats.bypassed, stats.stored) == (2, 0, len(server.requests))
        assert stats.saved_input_tokens + stats.saved_output_tokens == 22


@pytest.mark.parametrize("name", [name for name, how in CASES if how == "stream"])
def test_a_stream_and_a_whole_prediction_share_an_answer(name: str) -> None:
    make, reply = CLASSES[name]
    with canned(reply) as server, Cache("memory://") as cache:
        llm = cached(make(server.url), cache)
        assert [predict(llm, how).title for how in ("stream", "structured_predict")] == ["Number 1"] * 2


@pytest.mark.parametrize(("name", "how"), CASES)
def test_what_does_not_parse_is_not_stored(name: str, how: str) -> None:
    make, reply = CLASSES[name]

    def words(number: int, body: Any) -> str:
        return '{"title": "cut' if number == 1 else album_number(number, body)

    with canned(reply, words) as server, Cache("memory://") as cache:
        llm = cached(make(server.url), cache)
        if how in ("stream", "astream") and name == "GoogleGenAI":
            assert not isinstance(predict(llm, how), Album)  # LlamaIndex gives what there is
        else:
            with pytest.raises(Exception, match=r"(?i)invalid|eof|json|structured"):
                predict(llm, how)
        assert [predict(llm, how).title for _ in range(2)] == ["Number 2", "Number 2"]
        assert cache.stats().hits == 1


@pytest.mark.parametrize(
    ("make", "reply"),
    [
        (lambda url: CLASSES["OpenAIResponses"][0](url), functools.partial(responses_reply, refuses=True)),
        (lambda url: CLASSES["Anthropic"][0](url), functools.partial(anthropic_reply, ended=None)),
        (lambda url: CLASSES["Anthropic"][0](url), functools.partial(anthropic_reply, ended="max_tokens")),
    ],
)
def test_what_is_refused_or_has_no_end_is_not_stored(make: Any, reply: Any) -> None:
    with canned(reply) as server, Cache("memory://") as cache:
        llm = cached(make(server.url), cache)
        assert [predict(llm, "structured_predict").title for _ in range(2)] == ["Number 1", "Number 2"]


def test_a_model_that_uses_its_own_chat_is_cached_by_that() -> None:
    with canned(google_reply) as server, Cache("memory://") as cache:
        llm = cached(google(server.url, pydantic_program_mode=PydanticProgramMode.LLM), cache)
        assert [predict(llm, "structured_predict").title for _ in range(2)] == ["Number 1", "Number 1"]
        assert (cache.stats().hits, len(server.requests)) == (1, 1)


def test_google_without_function_calling() -> None:
    with canned(google_reply) as server, Cache("memory://") as cache:
        llm = cached(google(server.url), cache)
        albums = [llm.structured_predict_without_function_calling(Album, PROMPT, topic="love") for _ in range(2)]
        assert albums == [Album(title="Number 1")] * 2
        assert predict(llm, "structured_predict").title == "Number 2"  # another request


@pytest.mark.parametrize("within", [lambda prompt: prompt, lambda prompt: SelectorPromptTemplate(prompt)])
def test_a_prompt_with_functions_is_not_cached(within: Any) -> None:
    numbers = iter(range(9))
    prompt = within(PromptTemplate("{n}", function_mappings={"n": lambda **_: str(next(numbers))}))
    with canned(responses_reply) as server, Cache("memory://") as cache:
        llm = cached(openai(server.url), cache)
        assert [llm.structured_predict(Album, prompt).title for _ in range(2)] == ["Number 1", "Number 2"]
        assert cache.stats().bypassed == 2


class Own(CustomLLM):
    """One that parses by itself."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text='{"title": "own"}')

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError

    def structured_predict(self, output_cls: type[Any], prompt: Any, **kwargs: Any) -> Any:
        return output_cls(title="own")

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        raise NotImplementedError


def test_a_class_that_goes_past_its_chat_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with Cache("memory://") as cache, caplog.at_level(logging.WARNING, "askonce"):
        llm = cached(Own(), cache)
        for _ in range(2):
            assert llm.structured_predict(Album, PROMPT, topic="love").title == "own"
        assert (cache.stats().bypassed, cache.stats().hits) == (2, 0)
    lines = [one.getMessage() for one in caplog.records if "past the class's own" in one.getMessage()]
    assert len(lines) == 1 and "CachedTransport" in lines[0]
