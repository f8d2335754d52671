"""Requests that are given as plain data, to an LLM of LlamaIndex: for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm
from askonce.llama_index.keys.requests import chat_form, completion_form
from askonce.llama_index.models.cached import cached_llm


def form_of_plain(model: Any, request: str | Sequence[Mapping[str, Any]]) -> NormalForm:
    """The normal form of a request to an LLM: `complete` for a prompt, `chat` for messages.

    Args:
        model: an LLM.
        request: a prompt, or messages with ``role`` and ``content``.

    Raises:
        Uncacheable: it has none.
        ConfigError: it is no LLM of LlamaIndex.
    """
    if isinstance(request, str):
        return completion_form(_llm(model), request, False, {})
    return chat_form(_llm(model), _messages(request), {})


def send(model: Any, cache: Cache, request: str | Sequence[Mapping[str, Any]]) -> None:
    """Have a request answered, from the cache or by the LLM; then it is in the cache.

    Raises:
        Exception: what the LLM raised.
    """
    cached = cached_llm(_llm(model), cache, {})
    if isinstance(request, str):
        cached.complete(request)
    else:
        cached.chat(_messages(request))


def _llm(model: Any) -> LLM:
    if not isinstance(model, LLM):
        raise ConfigError(f"a model of LangChain or an LLM of LlamaIndex, got a {type(model).__name__}")
    return model


def _messages(request: Sequence[Mapping[str, Any]]) -> list[ChatMessage]:
    return [ChatMessage(role=one["role"], content=one["content"]) for one in request]
