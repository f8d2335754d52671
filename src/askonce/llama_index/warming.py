"""Requests that are given as plain data, to an LLM of LlamaIndex: for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms import LLM

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm
from askonce.llama_index.keys.model import known_of
from askonce.llama_index.keys.requests import chat_form, completion_form
from askonce.llama_index.models.cached import cached_llm

Request = str | list[ChatMessage]
_OWN = frozenset({"role", "content", "blocks", "additional_kwargs"})
"""Fields of LlamaIndex's own messages."""
_BESIDE = ("name", "tool_call_id")
"""What LlamaIndex's messages have in ``additional_kwargs``, in all providers' classes."""


def request_of(model: Any, given: str | Sequence[Mapping[str, Any]]) -> Request:
    """A request to an LLM, as it takes it: a prompt is for `complete`, messages are for `chat`.

    Args:
        model: an LLM.
        given: a prompt, or messages with ``role`` and ``content``, and perhaps ``name``, ``tool_call_id`` and
            ``tool_calls``.

    Raises:
        ConfigError: it is no LLM of LlamaIndex, or a message has what LlamaIndex's have in no one way.
    """
    llm = _llm(model)
    if isinstance(given, str):
        return given
    return [_message(llm, one, f"messages[{at}]") for at, one in enumerate(given)]


def form_of_request(model: Any, request: Request) -> NormalForm:
    """The normal form of what `request_of` returned.

    Raises:
        Uncacheable: it has none.
    """
    if isinstance(request, str):
        return completion_form(model, request, False, {})
    return chat_form(model, request, {})


def form_of_plain(model: Any, given: str | Sequence[Mapping[str, Any]]) -> NormalForm:
    """The normal form of a request to an LLM; see `request_of` and `form_of_request`."""
    return form_of_request(model, request_of(model, given))


def send(model: Any, cache: Cache, request: Request) -> None:
    """Have what `request_of` returned answered, from the cache or by the LLM; then it is in the cache.

    Raises:
        Exception: what the LLM raised.
    """
    cached = cached_llm(_llm(model), cache, {})
    if isinstance(request, str):
        cached.complete(request)
    else:
        cached.chat(request)


def _llm(model: Any) -> LLM:
    if not isinstance(model, LLM):
        raise ConfigError(f"a model of LangChain or an LLM of LlamaIndex, got a {type(model).__name__}")
    return model


def _message(llm: LLM, given: Mapping[str, Any], where: str) -> ChatMessage:
    fields = {name: one for name, one in given.items() if one not in (None, [], {})}
    others = sorted(fields.keys() - _OWN - {*_BESIDE, "tool_calls"})
    if others:
        raise ConfigError(f"{where} has {', '.join(others)}, which a message of LlamaIndex has nowhere")
    calls = fields.pop("tool_calls", [])
    if calls and not known_of(llm).calls_alike:
        kind = type(llm).__name__
        raise ConfigError(f"{where} has tool_calls: where {kind} has them is its own; use cache.explain() there")
    beside = {name: fields.pop(name) for name in _BESIDE if name in fields}
    try:
        if isinstance(content := fields.pop("content", None), list):
            content = [_block(one) for one in content]
        elif not isinstance(content, str | None):
            raise ValueError(f"content of type {type(content).__name__}")
        if content is not None:
            fields["content"] = content
        if beside:
            fields["additional_kwargs"] = {**fields.get("additional_kwargs", {}), **beside}
        message = ChatMessage(**fields)
        message.blocks += [_call(one) for one in calls]
    except KeyError as error:
        raise ConfigError(f"{where} is no message of LlamaIndex: it lacks {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where} is no message of LlamaIndex: {' '.join(str(error).split())[:300]}") from error
    return message


def _block(given: Any) -> Any:
    """A block of content: a text, or one that is written as LlamaIndex writes its own."""
    if isinstance(given, Mapping) and given.keys() == {"type", "text"} and given["type"] == "text":
        return TextBlock(text=given["text"])
    if isinstance(given, Mapping) and "block_type" not in given:
        raise ValueError(f"a block of type {given.get('type')!r} among its content")
    return given


def _call(given: Mapping[str, Any]) -> ToolCallBlock:
    function = given["function"]
    return ToolCallBlock(tool_call_id=given["id"], tool_name=function["name"], tool_kwargs=function["arguments"])
