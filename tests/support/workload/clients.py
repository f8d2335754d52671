"""The real clients: each words an `Ask` in its framework, sends it, and hands back what it understood."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, Protocol, Union, get_origin

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    ChatResponse,
    ImageBlock,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.anthropic import utils as anthropic_wording
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import SecretStr

from tests.support.provider import Provider

from .asks import Ask, Json, Reply, Result, Tool, User

EXPLICIT = {"mode": "explicit"}

# llama-index-llms-anthropic 0.12 calls `MessageParam(...)`, which the SDK has made a union that cannot be called.
if get_origin(vars(anthropic_wording)["MessageParam"]) is Union:
    vars(anthropic_wording)["MessageParam"] = dict


class Client(Protocol):
    """A framework's client of one provider.

    Attributes:
        name: for people.
        places: where it can set marks.
    """

    name: str
    provider: str
    places: frozenset[str]

    async def send(self, ask: Ask) -> Reply: ...

    async def close(self) -> None: ...


_numbers = itertools.count()


def _urls(provider: Provider) -> tuple[str, str]:
    """URLs for OpenAI and Anthropic of a client's own: LangChain keeps connections by URL, beyond an event loop."""
    url = f"{provider.anthropic_url}/client-{next(_numbers)}"
    return f"{url}/v1", url


async def _close(model: Any) -> None:
    """Close the connections of a model, which both frameworks leave to the garbage collector."""
    there = {**vars(model), **(model.__pydantic_private__ or {})}
    for name in ("root_async_client", "_async_client", "_aclient"):
        if there.get(name):
            await there[name].close()
    for name in ("root_client", "_client"):
        if there.get(name):
            there[name].close()


def _anthropic_mark(lifetime: str) -> Json:
    return {"type": "ephemeral", **({"ttl": lifetime} if lifetime else {})}


def _openai_tool(tool: Tool) -> Json:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _responses_tool(tool: Tool) -> Json:
    return {"type": "function", **_openai_tool(tool)["function"]}


def _anthropic_tools(ask: Ask) -> list[Json]:
    tools: list[Json] = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in ask.tools
    ]
    if tools and "tools" in ask.marks:
        tools[-1]["cache_control"] = _anthropic_mark(ask.marks["tools"])
    return tools


# --- LangChain ------------------------------------------------------------------------------------


class LangChainClient:
    """``ChatOpenAI`` (chat completions or responses) or ``ChatAnthropic``."""

    def __init__(self, provider: Provider, kind: str, callbacks: Sequence[Any] = ()) -> None:
        self.name, self.provider = f"langchain {kind}", kind.partition(" ")[0]
        self.places = frozenset({"system", "tail"} | ({"tools", "automatic"} if kind == "anthropic" else set()))
        self._openai_url, self._anthropic_url = _urls(provider)
        self._responses = kind == "openai responses"
        self._config: Any = {"callbacks": list(callbacks)}
        self._models: dict[str, BaseChatModel] = {}

    def _make(self, name: str) -> BaseChatModel:
        if self.provider == "anthropic":
            return ChatAnthropic(  # type: ignore[call-arg]
                model_name=name,
                base_url=self._anthropic_url,
                api_key=SecretStr("none"),
                max_retries=0,
                max_tokens_to_sample=512,
            )
        return ChatOpenAI(
            model=name,
            base_url=self._openai_url,
            api_key=SecretStr("none"),
            max_retries=0,
            stream_usage=True,
            use_responses_api=self._responses,
        )

    def _text(self, text: str, ask: Ask, place: str) -> Json:
        part: Json = {"type": "text", "text": text}
        if place in ask.marks:
            anthropic = self.provider == "anthropic"
            name = "cache_control" if anthropic else "prompt_cache_breakpoint"
            part[name] = _anthropic_mark(ask.marks[place]) if anthropic else EXPLICIT
        return part

    def _content(self, texts: Sequence[str], ask: Ask, place: str, images: Sequence[str] = ()) -> Any:
        if len(texts) == 1 and not images and place not in ask.marks:
            return texts[0]
        inner = "every" if place == "tail" else ""
        parts: list[Json] = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}} for data in images
        ]
        parts += [self._text(text, ask, inner) for text in texts[:-1]]
        return [*parts, self._text(texts[-1], ask, place)]

    def _messages(self, ask: Ask) -> list[BaseMessage]:
        messages: list[BaseMessage] = []
        if ask.system:
            messages.append(SystemMessage(self._content(ask.system, ask, "system")))
        for number, one in enumerate(ask.messages, 1):
            place = "tail" if number == len(ask.messages) else ""
            if isinstance(one, User):
                messages.append(HumanMessage(self._content(one.parts, ask, place, one.images)))
            elif isinstance(one, Result):
                content = self._content([one.text], ask, place)
                messages.append(ToolMessage(content, tool_call_id=one.call_id))
            else:
                messages.append(one.native)
        return messages

    async def send(self, ask: Ask) -> Reply:
        model: Any = self._models.get(ask.model) or self._models.setdefault(ask.model, self._make(ask.model))
        options = dict(ask.options)
        if "automatic" in ask.marks:
            options["cache_control"] = _anthropic_mark(ask.marks["automatic"])
        if ask.tools:
            anthropic = self.provider == "anthropic"
            tools = _anthropic_tools(ask) if anthropic else [_openai_tool(tool) for tool in ask.tools]
            model = model.bind_tools(tools)
        messages = self._messages(ask)
        message: Any
        if ask.mode == "plain":
            message = model.invoke(messages, self._config, **options)
        elif ask.mode == "async":
            message = await model.ainvoke(messages, self._config, **options)
        elif ask.mode == "stream":
            message = _sum(list(model.stream(messages, self._config, **options)))
        else:
            message = _sum([chunk async for chunk in model.astream(messages, self._config, **options)])
        return Reply(message, tuple(str(call["id"]) for call in message.tool_calls))

    async def close(self) -> None:
        for model in self._models.values():
            await _close(model)


def _sum(chunks: list[AIMessageChunk]) -> AIMessage:
    """The message of a stream, as agents keep it."""
    whole = functools.reduce(lambda one, other: one + other, chunks)
    return AIMessage(
        content=whole.content,
        tool_calls=whole.tool_calls,
        usage_metadata=whole.usage_metadata,
        response_metadata=whole.response_metadata,
        id=whole.id,
        additional_kwargs=whole.additional_kwargs,
    )


# --- LlamaIndex -----------------------------------------------------------------------------------


class LlamaIndexClient:
    """``OpenAI``, ``OpenAIResponses`` or ``Anthropic``."""

    def __init__(self, provider: Provider, kind: str) -> None:
        self.name, self.provider = f"llama-index {kind}", kind.partition(" ")[0]
        self.places = frozenset({"tools", "tail", "automatic"} if kind == "anthropic" else ())
        self._openai_url, self._anthropic_url = _urls(provider)
        self._responses = kind == "openai responses"
        self._models: dict[str, FunctionCallingLLM] = {}

    def _make(self, name: str) -> FunctionCallingLLM:
        if self.provider == "anthropic":
            return Anthropic(
                model=name, base_url=self._anthropic_url, api_key="none", max_retries=0, max_tokens=512
            )
        if self._responses:
            return OpenAIResponses(model=name, api_base=self._openai_url, api_key="none", max_retries=0)
        return OpenAI(
            model=name,
            api_base=self._openai_url,
            api_key="none",
            max_retries=0,
            additional_kwargs={"stream_options": {"include_usage": True}},
        )

    def _messages(self, ask: Ask) -> list[ChatMessage]:
        messages = []
        if ask.system:
            messages.append(ChatMessage(role="system", blocks=[TextBlock(text=text) for text in ask.system]))
        for number, one in enumerate(ask.messages, 1):
            if isinstance(one, User):
                images = [ImageBlock(url=f"data:image/png;base64,{data}") for data in one.images]
                blocks: list[Any] = [*images]
                for part, text in enumerate(one.parts, 1):
                    blocks.append(TextBlock(text=text))
                    place = "tail" if part == len(one.parts) else "every"
                    if number == len(ask.messages) and place in ask.marks:
                        cache_options = CacheControl(type="ephemeral", ttl=ask.marks[place] or "5m")
                        blocks.append(CachePoint(cache_control=cache_options))
                messages.append(ChatMessage(role="user", blocks=blocks))
            elif isinstance(one, Result):
                messages.append(
                    ChatMessage(role="tool", content=one.text, additional_kwargs={"tool_call_id": one.call_id})
                )
            else:
                messages.append(one.native)
        return messages

    async def send(self, ask: Ask) -> Reply:
        model = self._models.get(ask.model) or self._models.setdefault(ask.model, self._make(ask.model))
        options = dict(ask.options)
        if "automatic" in ask.marks:
            options["cache_control"] = _anthropic_mark(ask.marks["automatic"])
        if ask.tools:
            anthropic = self.provider == "anthropic"
            word = _responses_tool if self._responses else _openai_tool
            options["tools"] = _anthropic_tools(ask) if anthropic else [word(tool) for tool in ask.tools]
        if self._responses and "response_format" in options:  # LangChain's client words it so of itself
            options["text"] = {"format": options.pop("response_format")}
        messages = self._messages(ask)
        response: ChatResponse
        if ask.mode == "plain":
            response = model.chat(messages, **options)
        elif ask.mode == "async":
            response = await model.achat(messages, **options)
        elif ask.mode == "stream":
            *_, response = model.stream_chat(messages, **options)
        else:
            response = [whole async for whole in await model.astream_chat(messages, **options)][-1]
        message = response.message
        calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
        return Reply(message, tuple(str(call.tool_call_id) for call in calls))

    async def close(self) -> None:
        for model in self._models.values():
            await _close(model)
