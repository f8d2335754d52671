"""A stream that ends without the end reason that its provider gives to whole answers is not stored."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import importlib
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from askonce import Cache
from askonce.langchain import AskOnceCache, cached
from tests.support.canned import Canned, Reply, json_lines, sse

pytestmark = pytest.mark.filterwarnings("ignore")  # what the packages warn of is theirs


def openai_stream(whole: bool) -> Reply:
    def chunk(delta: dict[str, Any], ended: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": ended}
        return {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
            **more,
        }

    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    parts = [chunk({"role": "assistant", "content": "The "}), chunk({"content": "dose"})]
    return sse(*parts, *([chunk({"content": "."}, "stop", usage=usage)] if whole else []), done=whole)


def ollama_stream(whole: bool) -> Reply:
    parts = [
        {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": one}}
        | {"done": False}
        for one in ("The ", "dose")
    ]
    return json_lines(*parts, *([parts[0] | {"done": True, "done_reason": "stop"}] if whole else []))


def anthropic_stream(whole: bool) -> Reply:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    usage = {"input_tokens": 3, "output_tokens": 1}
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_sequence": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "The dose"}},
    ]
    ends = [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    return sse(*parts, *(ends if whole else []), named="type")


def google_stream(whole: bool) -> Reply:
    def part(text: str, ended: str | None = None) -> dict[str, Any]:
        candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}
        usage = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
        return {
            "candidates": [candidate | ({"finishReason": ended} if ended else {})],
            "usageMetadata": usage,
            "modelVersion": "m",
        }

    return sse(part("The "), part("dose"), *([part(".", "STOP")] if whole else []))


def cohere_stream(whole: bool) -> Reply:
    usage = {
        "billed_units": {"input_tokens": 3, "output_tokens": 2},
        "tokens": {"input_tokens": 3, "output_tokens": 2},
    }
    start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    parts: list[dict[str, Any]] = [
        {"type": "message-start", "id": "m", "delta": {"message": start}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "The dose"}}}},
    ]
    ends = [
        {"type": "content-end", "index": 0},
        {"type": "message-end", "id": "m", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]
    return sse(*parts, *(ends if whole else []), named="type", done=whole)


def bedrock_stream(whole: bool) -> Reply:
    parts: list[tuple[str, dict[str, Any]]] = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "The dose"}}),
    ]
    if whole:
        parts += [("contentBlockStop", {"contentBlockIndex": 0}), ("messageStop", {"stopReason": "end_turn"})]
    usage = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    parts.append(("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}))
    return "application/vnd.amazon.eventstream", b"".join(aws_event(*one) for one in parts)


def aws_event(name: str, value: Any) -> bytes:
    headers = b""
    for key, text in ((":message-type", "event"), (":event-type", name), (":content-type", "application/json")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
    payload = json.dumps(value).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack(">I", binascii.crc32(prelude))
    return prelude + headers + payload + struct.pack(">I", binascii.crc32(prelude + headers + payload))


KEYS = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
MODELS: dict[str, tuple[str, Callable[[bool], Reply], Callable[[str], dict[str, Any]]]] = {
    "ChatOpenAI": ("langchain_openai", openai_stream, lambda url: {"model": "m", "api_key": "k", "base_url": url}),
    "ChatDeepSeek": (
        "langchain_deepseek",
        openai_stream,
        lambda url: {"model": "m", "api_key": "k", "api_base": url},
    ),
    "ChatXAI": ("langchain_xai", openai_stream, lambda url: {"model": "m", "api_key": "k", "xai_api_base": url}),
    "ChatGroq": ("langchain_groq", openai_stream, lambda url: {"model": "m", "api_key": "k", "base_url": url}),
    "ChatFireworks": (
        "langchain_fireworks",
        openai_stream,
        lambda url: {"model": "m", "api_key": "k", "base_url": url},
    ),
    "ChatMistralAI": (
        "langchain_mistralai",
        openai_stream,
        lambda url: {"model": "m", "api_key": "k", "endpoint": url},
    ),
    "ChatOpenRouter": (
        "langchain_openrouter",
        openai_stream,
        lambda url: {"model": "m", "api_key": "k", "base_url": url},
    ),
    "ChatLiteLLM": (
        "langchain_litellm",
        openai_stream,
        lambda url: {"model": "openai/m", "api_key": "k", "api_base": url},
    ),
    "ChatPerplexity": (
        "langchain_perplexity",
        openai_stream,
        lambda url: {"model": "sonar", "api_key": "k"},
    ),
    "ChatOllama": ("langchain_ollama", ollama_stream, lambda url: {"model": "m", "base_url": url}),
    "ChatAnthropic": (
        "langchain_anthropic",
        anthropic_stream,
        lambda url: {"model": "m", "api_key": "k", "base_url": url},
    ),
    "ChatGoogleGenerativeAI": (
        "langchain_google_genai",
        google_stream,
        lambda url: {"model": "gemini-2.5-flash", "google_api_key": "k", "base_url": url},
    ),
    "ChatCohere": (
        "langchain_cohere",
        cohere_stream,
        lambda url: {"model": "command-a", "cohere_api_key": "k", "base_url": url},
    ),
    "ChatBedrockConverse": (
        "langchain_aws",
        bedrock_stream,
        lambda url: {"model": CLAUDE, "endpoint_url": url, **KEYS},
    ),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it loads prices from the net at import
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def make(name: str, url: str, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Any:
    monkeypatch.setenv("PERPLEXITY_BASE_URL", url)
    package, _, settings = MODELS[name]
    return (
        getattr(importlib.import_module(package), name)(**settings(url), max_retries=0, **fields)
        if (name not in ("ChatOllama", "ChatBedrockConverse", "ChatCohere"))
        else getattr(importlib.import_module(package), name)(**settings(url), **fields)
    )


REFUSE = ("ChatBedrockConverse", "ChatLiteLLM")
"""Those that refuse a cut stream themselves."""


@contextlib.contextmanager
def refusing(name: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        assert name in REFUSE


async def texts(model: Any) -> str:
    return "".join([str(chunk.text) async for chunk in model.astream("hi")])


HOWS = ("stream", "astream", "invoke", "global")
CASES = [(name, how) for name in MODELS for how in HOWS]
CASES.remove(("ChatFireworks", "astream"))  # over aiohttp, which is not read: it is not cached


@pytest.mark.parametrize(("name", "how"), CASES)
def test_a_whole_stream_is_stored_and_a_cut_one_is_not(
    name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = MODELS[name][1]
    with Canned(lambda *_: stream(len(server.requests) > 2)) as server, Cache("memory://") as cache:
        if how == "global":
            model = make(name, server.url, monkeypatch, cache=AskOnceCache(cache), streaming=True)
        elif how == "invoke":
            model = cached(make(name, server.url, monkeypatch, streaming=True), cache)
        else:
            model = cached(make(name, server.url, monkeypatch), cache)

        def text() -> str:
            match how:
                case "stream":
                    return "".join(str(chunk.text) for chunk in model.stream("hi"))
                case "astream":
                    return asyncio.run(texts(model))
            return str(model.invoke("hi").text)

        for _ in range(2):
            with refusing(name):
                assert text() == "The dose"
        assert len(server.requests) == 2 and cache.stats().stored == 0
        if name not in REFUSE:
            assert cache.stats().not_stored_reasons == {"truncated": 2}
        assert text().startswith("The dose") and text().startswith("The dose")
        assert len(server.requests) == 3 and cache.stats().hits == 1
