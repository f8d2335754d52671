"""Requests that are given as plain data, to a model of LangChain: for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.load import dumps
from langchain_core.messages import convert_to_messages

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm
from askonce.langchain.keys.model import parameters_of_model
from askonce.langchain.keys.requests import form_of
from askonce.langchain.models.cached import cached_model


def form_of_plain(model: Any, request: str | Sequence[Mapping[str, Any]]) -> NormalForm:
    """The normal form of a request to a model.

    Args:
        model: a chat model or a completion model.
        request: a prompt, or messages with ``role`` and ``content``.

    Raises:
        Uncacheable: it has none.
        ConfigError: it is no model of LangChain.
    """
    parameters = parameters_of_model(_model(model), None, {})
    if isinstance(model, BaseLLM):
        return form_of(_prompt(request), parameters)
    messages = convert_to_messages(
        [("user", request)] if isinstance(request, str) else [dict(one) for one in request]
    )
    return form_of(dumps(messages), parameters)


def send(model: Any, cache: Cache, request: str | Sequence[Mapping[str, Any]]) -> None:
    """Have a request answered, from the cache or by the model; then it is in the cache.

    Raises:
        Exception: what the model raised.
    """
    if isinstance(_model(model), BaseLLM):
        cached_model(model, cache, {}).invoke(_prompt(request))
    else:
        cached_model(model, cache, {}).invoke(request if isinstance(request, str) else list(request))


def _model(model: Any) -> Any:
    if not isinstance(model, (BaseChatModel, BaseLLM)):
        raise ConfigError(
            f"a chat model or a completion model of LangChain or LlamaIndex, got a {type(model).__name__}"
        )
    return model


def _prompt(request: str | Sequence[Mapping[str, Any]]) -> str:
    if not isinstance(request, str):
        raise ConfigError("a completion model takes a prompt, not messages")
    return request
