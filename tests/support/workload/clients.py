"""The real clients: each words an `ModelRequest` in its framework, sends it, and hands back what it understood."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.support.provider import Provider

from .requests import Json, ModelRequest, Reply, Result, Tool, User

EXPLICIT = {"mode": "explicit"}


class Client(Protocol):
    """A framework's client of one provider.

    Attributes:
        name: for people.
        places: where it can set marks.
    """

    name: str
    provider: str
    places: frozenset[str]

    async def send(self, request: ModelRequest) -> Reply: ...

    async def close(self) -> None: ...


_numbers = itertools.count()


def urls(provider: Provider) -> tuple[str, str]:
    """URLs for OpenAI and Anthropic of a client's own: LangChain keeps connections by URL, beyond an event loop."""
    url = f"{provider.anthropic_url}/client-{next(_numbers)}"
    return f"{url}/v1", url


async def close_connections(model: Any) -> None:
    """Close the connections of a model, which both frameworks leave to the garbage collector."""
    there = {**vars(model), **(model.__pydantic_private__ or {})}
    for name in ("root_async_client", "_async_client", "_aclient"):
        if there.get(name):
            await there[name].close()
    for name in ("root_client", "_client"):
        if there.get(name):
            there[name].close()


def anthropic_mark(lifetime: str) -> Json:
    return {"type": "ephemeral", **({"ttl": lifetime} if lifetime else {})}


def openai_tool(tool: Tool) -> Json:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def responses_tool(tool: Tool) -> Json:
    return {"type": "function", **openai_tool(tool)["function"]}


def anthropic_tools(request: ModelRequest) -> list[Json]:
    tools: list[Json] = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.schema} for tool in request.tools
    ]
    if tools and "tools" in request.marks:
        tools[-1]["cache_control"] = anthropic_mark(request.marks["tools"])
    return tools


class LangChainClient:
    """``ChatOpenAI`` (chat completions or responses) or ``ChatAnthropic``."""

    def __init__(self, provider: Provider, kind: str, callbacks: Sequence[Any] = ()) -> None:
        self.name, self.provider = f"langchain {kind}", kind.partition(" ")[0]
        self.places = frozenset({"system", "tail"} | ({"tools", "automatic"} if kind == "anthropic" else set()))
        self._openai_url, self._anthropic_url = urls(provider)
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

    def _text(self, text: str, request: ModelRequest, place: str) -> Json:
        part: Json = {"type": "text", "text": text}
        if place in request.marks:
            anthropic = self.provider == "anthropic"
            name = "cache_control" if anthropic else "prompt_cache_breakpoint"
            part[name] = anthropic_mark(request.marks[place]) if anthropic else EXPLICIT
        return part

    def _content(self, texts: Sequence[str], request: ModelRequest, place: str, images: Sequence[str] = ()) -> Any:
        if len(texts) == 1 and not images and place not in request.marks:
            return texts[0]
        inner = "every" if place == "tail" else ""
        parts: list[Json] = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}} for data in images
        ]
        parts += [self._text(text, request, inner) for text in texts[:-1]]
        return [*parts, self._text(texts[-1], request, place)]

    def _messages(self, request: ModelRequest) -> list[BaseMessage]:
        messages: list[BaseMessage] = []
        if request.system:
            messages.append(SystemMessage(self._content(request.system, request, "system")))
        for number, one in enumerate(request.messages, 1):
            place = "tail" if number == len(request.messages) else ""
            if isinstance(one, User):
                messages.append(HumanMessage(self._content(one.parts, request, place, one.images)))
            elif isinstance(one, Result):
                content = self._content([one.text], request, place)
                messages.append(ToolMessage(content, tool_call_id=one.call_id))
            else:
                messages.append(one.native)
        return messages

    async def send(self, request: ModelRequest) -> Reply:
        model: Any = self._models.get(request.model) or self._models.setdefault(
            request.model, self._make(request.model)
        )
        options = dict(request.options)
        if "automatic" in request.marks:
            options["cache_control"] = anthropic_mark(request.marks["automatic"])
        if request.tools:
            anthropic = self.provider == "anthropic"
            tools = anthropic_tools(request) if anthropic else [openai_tool(tool) for tool in request.tools]
            model = model.bind_tools(tools)
        messages = self._messages(request)
        message: Any
        if request.mode == "plain":
            message = model.invoke(messages, self._config, **options)
        elif request.mode == "async":
            message = await model.ainvoke(messages, self._config, **options)
        elif request.mode == "stream":
            message = _sum(list(model.stream(messages, self._config, **options)))
        else:
            message = _sum([chunk async for chunk in model.astream(messages, self._config, **options)])
        return Reply(message, tuple(str(call["id"]) for call in message.tool_calls))

    async def close(self) -> None:
        for model in self._models.values():
            await close_connections(model)


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
