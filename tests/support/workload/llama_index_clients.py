"""LlamaIndex's real clients: apart, since one environment does without their packages."""

from __future__ import annotations

from typing import Any, Union, get_origin

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

from tests.support.provider import Provider

from .clients import anthropic_mark, anthropic_tools, close_connections, openai_tool, responses_tool, urls
from .requests import ModelRequest, Reply, Result, User

# llama-index-llms-anthropic 0.12 calls `MessageParam(...)`, which the SDK has made a union that cannot be called.
if get_origin(vars(anthropic_wording)["MessageParam"]) is Union:
    vars(anthropic_wording)["MessageParam"] = dict


class LlamaIndexClient:
    """``OpenAI``, ``OpenAIResponses`` or ``Anthropic``."""

    def __init__(self, provider: Provider, kind: str) -> None:
        self.name, self.provider = f"llama-index {kind}", kind.partition(" ")[0]
        self.places = frozenset({"tools", "tail", "automatic"} if kind == "anthropic" else ())
        self._openai_url, self._anthropic_url = urls(provider)
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

    def _messages(self, request: ModelRequest) -> list[ChatMessage]:
        messages = []
        if request.system:
            messages.append(ChatMessage(role="system", blocks=[TextBlock(text=text) for text in request.system]))
        for number, one in enumerate(request.messages, 1):
            if isinstance(one, User):
                images = [ImageBlock(url=f"data:image/png;base64,{data}") for data in one.images]
                blocks: list[Any] = [*images]
                for part, text in enumerate(one.parts, 1):
                    blocks.append(TextBlock(text=text))
                    place = "tail" if part == len(one.parts) else "every"
                    if number == len(request.messages) and place in request.marks:
                        cache_options = CacheControl(type="ephemeral", ttl=request.marks[place] or "5m")
                        blocks.append(CachePoint(cache_control=cache_options))
                messages.append(ChatMessage(role="user", blocks=blocks))
            elif isinstance(one, Result):
                messages.append(
                    ChatMessage(role="tool", content=one.text, additional_kwargs={"tool_call_id": one.call_id})
                )
            else:
                messages.append(one.native)
        return messages

    async def send(self, request: ModelRequest) -> Reply:
        model = self._models.get(request.model) or self._models.setdefault(request.model, self._make(request.model))
        options = dict(request.options)
        if "automatic" in request.marks:
            options["cache_control"] = anthropic_mark(request.marks["automatic"])
        if request.tools:
            anthropic = self.provider == "anthropic"
            word = responses_tool if self._responses else openai_tool
            options["tools"] = anthropic_tools(request) if anthropic else [word(tool) for tool in request.tools]
        if self._responses and "response_format" in options:  # LangChain's client words it so of itself
            options["text"] = {"format": options.pop("response_format")}
        messages = self._messages(request)
        response: ChatResponse
        if request.mode == "plain":
            response = model.chat(messages, **options)
        elif request.mode == "async":
            response = await model.achat(messages, **options)
        elif request.mode == "stream":
            *_, response = model.stream_chat(messages, **options)
        else:
            response = [whole async for whole in await model.astream_chat(messages, **options)][-1]
        message = response.message
        calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
        return Reply(message, tuple(str(call.tool_call_id) for call in calls))

    async def close(self) -> None:
        for model in self._models.values():
            await close_connections(model)
