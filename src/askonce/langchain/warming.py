"""Requests that are given as plain data, to a model of LangChain: for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import _utils
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.load import dumps
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.runnables import RunnableBinding

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm
from askonce.langchain.keys.llm_string import given_in
from askonce.langchain.keys.model import parameters_of_model
from askonce.langchain.keys.requests import form_of
from askonce.langchain.models.cached import cached_model

Request = str | list[BaseMessage]


def request_of(model: Any, given: str | Sequence[Mapping[str, Any]]) -> Request:
    """A request to a model, as it takes it.

    Args:
        model: a chat model or a completion model, also with what is bound to it, such as tools.
        given: a prompt, or messages as LangChain reads them: with ``role``, ``content``, ``tool_calls``,
            ``tool_call_id``, ``name`` and what else a provider takes.

    Raises:
        ConfigError: it is no model of LangChain, or takes no such request.
    """
    if isinstance(_model(model), BaseLLM):
        if not isinstance(given, str):
            raise ConfigError("a completion model takes a prompt, not messages")
        return given
    if isinstance(given, str):
        return convert_to_messages([("user", given)])
    return [_message(one, f"messages[{at}]") for at, one in enumerate(given)]


def form_of_request(model: Any, request: Request) -> NormalForm:
    """The normal form of what `request_of` returned.

    Raises:
        Uncacheable: it has none.
    """
    model, call = _taken_apart(model)
    stop = call.pop("stop", None)
    parameters = parameters_of_model(model, stop, call)
    return form_of(request if isinstance(request, str) else dumps(_as_called(request)), parameters)


def form_of_cached(model: Any, prompt: str, llm_string: str) -> NormalForm:
    """The normal form of what LangChain gives its cache for a call of a model; see `AskOnceCache.lookup`.

    Args:
        model: whose call it was. The text tells less than its answers depend on.
        prompt: as LangChain writes it.
        llm_string: as LangChain writes the model and the call.

    Raises:
        ConfigError: the text is not that of this model, or its call cannot be read from it.
        Uncacheable: the request has no form.
    """
    call = dict(given_in(llm_string)[1])
    stop = call.pop("stop", None)
    model = _model(model)
    for kwargs in (call, {}):  # some models' texts have all that is sent
        if _described(model, stop, kwargs) == llm_string:
            return form_of(prompt, parameters_of_model(model, stop, kwargs))
    raise ConfigError(
        "the llm_string is not that of the model, or of a call that cannot be read from it: see cache.explain()"
    )


def _described(model: Any, stop: list[str] | None, kwargs: dict[str, Any]) -> str:
    """How LangChain describes a call to its cache."""
    if isinstance(model, BaseChatModel):
        return model._get_llm_string(stop=stop, **kwargs)
    return str(sorted({**model.dict(), "stop": stop}.items()))


def _as_called(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Messages as a chat model gets them: LangChain puts audio and files in its own form before it calls."""
    normalize = getattr(_utils, "_normalize_messages", None)
    return messages if normalize is None else list(normalize(messages))


def form_of_plain(model: Any, given: str | Sequence[Mapping[str, Any]]) -> NormalForm:
    """The normal form of a request to a model; see `request_of` and `form_of_request`."""
    return form_of_request(model, request_of(model, given))


def send(model: Any, cache: Cache, request: Request) -> None:
    """Have what `request_of` returned answered, from the cache or by the model; then it is in the cache.

    Raises:
        Exception: what the model raised.
    """
    model, call = _taken_apart(model)
    cached_model(model, cache, {}).invoke(request, **call)


def _message(given: Mapping[str, Any], where: str) -> BaseMessage:
    try:
        fields = dict(given)
        return convert_to_messages([{**fields, "content": fields.get("content") or ""}])[0]
    except KeyError as error:
        raise ConfigError(f"{where} is no message of LangChain: it lacks {error}") from error
    except (ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise ConfigError(f"{where} is no message of LangChain: {' '.join(str(error).split())[:300]}") from error


def _model(model: Any) -> Any:
    return _taken_apart(model)[0]


def _taken_apart(model: Any) -> tuple[Any, dict[str, Any]]:
    """A model, and what is bound to it for each call; what is bound last counts."""
    bound = dict[str, Any]()
    while isinstance(model, RunnableBinding):
        model, bound = model.bound, {**model.kwargs, **bound}
    if not isinstance(model, (BaseChatModel, BaseLLM)):
        raise ConfigError(
            "a chat model or a completion model of LangChain or LlamaIndex, also with what bind_tools() and bind() "
            f"add to it, got a {type(model).__name__}"
            + (
                "; for the model in it, see cache.explain()"
                if hasattr(model, "bound") or hasattr(model, "steps")
                else ""
            )
        )
    return model, bound
