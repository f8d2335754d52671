"""Which model with which parameters, in normal form: what an answer depends on besides the prompt.

`parameters_of_model` reads a model object, with all its fields and with what its client adds. ``llm_string.py``
beside this file reads the text by which LangChain describes a model to a cache, for those who ask a cache without
a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from askonce.keys.fields import FieldReader
from askonce.keys.model_identity import RememberedIdentity
from askonce.keys.normal_form import Uncacheable, encode, is_credential, is_neutral, model_form
from askonce.options import options_in_effect

# Shown to people and to tracing only (`with_structured_output`); the model is sent neither.
_FOR_PEOPLE = frozenset({"name", "ls_structured_output_format", "structured_output_format"})
_WAY_OUT = "name the model: cached(model, name='…')"
# Of every model of LangChain's: the running program's, and not the provider's.
_OF_EVERY_MODEL = frozenset(
    "name cache verbose callbacks callback_manager custom_get_token_ids rate_limiter disable_streaming"
    " http_socket_options tiktoken_model_name validate_model_on_init max_concurrent_requests".split()
)
_PROXIES = frozenset({"openai_proxy", "anthropic_proxy", "groq_proxy", "http_client", "http_async_client"})
_HEADERS = frozenset({"default_headers", "default_query"})
# By the first part of a module's name: the fields that are told by the client, which was made of them.
_TOLD_BY_THE_CLIENT: Mapping[str, frozenset[str]] = {
    "langchain_openai": _PROXIES | _HEADERS | {"openai_api_base", "openai_organization", "azure_endpoint"},
    "langchain_deepseek": frozenset({"api_base"}),
    "langchain_xai": frozenset({"xai_api_base"}),
    "langchain_anthropic": _PROXIES | _HEADERS | {"anthropic_api_url"},
    "langchain_groq": _PROXIES | _HEADERS | {"groq_api_base"},
    "langchain_fireworks": frozenset({"fireworks_api_base"}),
    "langchain_mistralai": frozenset({"endpoint"}),
    "langchain_ollama": frozenset("base_url client_kwargs async_client_kwargs sync_client_kwargs".split()),
    "langchain_google_genai": frozenset(
        "base_url additional_headers client_args api_version _client_cleanup".split()
    ),
    "langchain_aws": frozenset("endpoint_url region_name config credentials_profile_name bedrock_client".split()),
    "langchain_openrouter": _HEADERS | frozenset("openrouter_api_base app_url app_title app_categories".split()),
    "langchain_cohere": frozenset({"base_url"}),
}
# Made when they are first used.
_LATE_CLIENTS: Mapping[str, tuple[str, str]] = {"langchain_anthropic": ("_client", "_async_client")}
# What a call gives replaces what the constructor gave, in the request that is sent.
_REPLACED_BY_THE_CALL = frozenset(
    "temperature max_tokens max_completion_tokens stop top_p n seed logprobs top_logprobs presence_penalty"
    " frequency_penalty reasoning_effort".split()
)
_REPLACING = frozenset(
    "langchain_openai langchain_deepseek langchain_xai langchain_anthropic langchain_groq langchain_fireworks"
    " langchain_mistralai langchain_openrouter langchain_perplexity langchain_google_genai langchain_ollama".split()
)
_ONE_NAME = {"model_name": "model", "model_id": "model", "stop_sequences": "stop"}
_CONTINUING = ("use_previous_response_id", "reuse_last_container")
_STATE_OF_FAKES = frozenset({"i", "messages", "response_index"})


@dataclass(frozen=True, slots=True)
class Parameters:
    """A model with its parameters, in normal form.

    Attributes:
        form: plain data.
        encoded: its bytes.
        left_out: the paths of what was left out.
        name: the name of the model, if known.
        lasting: the same text always means the same form: it names no class of the running program.
        continues: the model is sent the id of the last answer, which stands for the conversation so far.
    """

    form: Mapping[str, Any]
    encoded: bytes
    left_out: tuple[str, ...]
    name: str | None
    lasting: bool = True
    continues: bool = False


@dataclass(frozen=True, slots=True)
class _Constructor:
    """The part of `Parameters` that no call changes.

    Attributes:
        form: the class, and what was given to its constructor; empty if neither is known.
        left_out: the paths of what was left out.
        name: the name of the model, if told.
        replaced: what a call gives replaces what the constructor gave.
        continues: of `Parameters`.
    """

    form: Mapping[str, Any]
    left_out: tuple[str, ...]
    name: str | None
    replaced: bool = False
    continues: bool = False


def parameters_of_model(
    model: Any, stop: list[str] | None, kwargs: dict[str, Any], *, asynchronous: bool = False
) -> Parameters:
    """What a model's answer depends on besides the prompt.

    Args:
        model: the model.
        stop: of the call.
        kwargs: all else that the call gives.
        asynchronous: the call is sent by the asynchronous client.

    Raises:
        Uncacheable: it holds something that cannot be read, or has no stable representation.
    """
    call = {**kwargs, "stop": stop} if stop is not None else kwargs
    constructor, without_call = _constructors[asynchronous, bool(options_in_effect.get().tenants)].of(model)
    return _with_call(constructor, call) if call else without_call


def parameters_from(
    constructor: Mapping[str, Any], call: Mapping[str, Any] | str, *, lasting: bool = True
) -> Parameters:
    """The normal form of a model's constructor, as `langchain_core.load.dumpd` writes it, and of one call.

    Raises:
        Uncacheable: they hold something without a stable representation.
    """
    return _with_call(_constructor_from(constructor), call, lasting=lasting)


def _with_call(constructor: _Constructor, call: Mapping[str, Any] | str, *, lasting: bool = True) -> Parameters:
    left_out: list[str] = []
    form = dict(constructor.form)
    called = call if isinstance(call, str) else model_form(_own(call, left_out, "call"), left_out, "call")
    if constructor.replaced and isinstance(called, dict):
        form["constructor"], called = _replaced(form["constructor"], called)
    if called or not constructor.form:
        form["call"] = called
    name = None if isinstance(call, str) else _name_in(call)
    left = (*constructor.left_out, *left_out)
    return Parameters(form, encode(form), left, name or constructor.name, lasting, constructor.continues)


def _replaced(constructor: dict[str, Any], call: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is sent: a call's parameter in place of the constructor's, and no default that is spelt out."""
    constructor = {_ONE_NAME.get(name, name): value for name, value in constructor.items()}
    call = {_ONE_NAME.get(name, name): value for name, value in call.items()}
    if call.get("model") == constructor.get("model"):
        call.pop("model", None)
    if "max_completion_tokens" in call and "max_tokens" in constructor:
        constructor.pop("max_tokens")
    sent = constructor | {name: call.pop(name) for name in list(call) if name in _REPLACED_BY_THE_CALL}
    if "max_completion_tokens" in sent:
        sent["max_tokens"] = sent.pop("max_completion_tokens")
    for name, default in (("n", 1), ("logprobs", False)):
        if name in sent and sent[name] == default:
            del sent[name]
    if isinstance(sent.get("stop"), str):
        sent["stop"] = [sent["stop"]]
    return sent, call


def _constructor_from(written: Mapping[str, Any]) -> _Constructor:
    if not written:
        return _Constructor({}, (), None)
    left_out: list[str] = []
    given = written.get("kwargs", {})
    kept = _own(given, left_out, "model")
    form = {"class": ".".join(map(str, written.get("id", ()))), "constructor": model_form(kept, left_out)}
    continues = any(given.get(flag) is True for flag in _CONTINUING)
    return _Constructor(form, tuple(left_out), _name_in(given), continues=continues)


def _constructor_of(model: Any, *, asynchronous: bool) -> tuple[_Constructor, Parameters]:
    base = getattr(type(model), "_askonce_base", type(model))
    given = getattr(type(model), "_askonce_name", None)
    name = _name_in(model.__dict__)
    if given is not None:
        constructor = _Constructor({"named": given}, (), name)
        return constructor, _with_call(constructor, {})
    left_out: list[str] = []
    packages = {one.__module__.partition(".")[0] for one in base.__mro__}
    form = _form_of(model, base, packages, asynchronous=asynchronous, left_out=left_out)
    continues = any(getattr(model, flag, None) is True for flag in _CONTINUING)
    constructor = _Constructor(form, tuple(left_out), name, bool(packages & _REPLACING), continues)
    return constructor, _with_call(constructor, {})


def described(owner: Any, neutral: frozenset[str], way_out: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An object that is no language model, such as embeddings, in normal form: its class, its fields, its endpoint.

    Args:
        owner: the object.
        neutral: the fields that do not count.
        way_out: what to do about one that cannot be read, for people.

    Returns:
        The form, and of it the fields.

    Raises:
        Uncacheable: one of its fields cannot be read.
    """
    cls = type(owner)
    told = [_TOLD_BY_THE_CLIENT.get(one.__module__.partition(".")[0], frozenset()) for one in cls.__mro__]
    reader = FieldReader(f"name the model: {way_out}", _special, private=False)
    fields = model_form(reader.fields(owner, neutral.union(*told)), [])
    endpoints = [model_form(one, [], "endpoint") for one in reader.endpoints(asynchronous=False)]
    return {"class": f"{cls.__module__}.{cls.__qualname__}", "fields": fields, "endpoints": endpoints}, fields


def _form_of(
    model: Any, base: type[Any], packages: set[str], *, asynchronous: bool, left_out: list[str]
) -> dict[str, Any]:
    for package in packages & _LATE_CLIENTS.keys():
        getattr(model, _LATE_CLIENTS[package][asynchronous], None)
    told = [_TOLD_BY_THE_CLIENT[package] for package in packages & _TOLD_BY_THE_CLIENT.keys()]
    fakes = any(
        one.__name__.lstrip("_").startswith(_FAKES) for one in base.__mro__ if "langchain" in one.__module__
    )
    reader = FieldReader(_WAY_OUT, _special)
    kept = reader.fields(model, _OF_EVERY_MODEL.union(*told, _STATE_OF_FAKES if fakes else ()))
    form: dict[str, Any] = {
        "class": f"{base.__module__}.{base.__qualname__}",
        "constructor": model_form(_own(kept, left_out, "model"), left_out),
    }
    endpoints = [
        model_form(endpoint, left_out, "endpoint") for endpoint in reader.endpoints(asynchronous=asynchronous)
    ]
    return form | ({"endpoints": endpoints} if endpoints else {})


_FAKES = ("Fake", "GenericFake")
_constructors = {
    (asynchronous, within): RememberedIdentity(partial(_constructor_of, asynchronous=asynchronous))
    for asynchronous in (False, True)
    for within in (False, True)
}
"""Each model's constructor, and the parameters of a call that gives none: with which client, and in a namespace."""


def _special(value: Any) -> Any:
    """A tool as the provider is sent it; a message by its fields, but the name of its run."""
    return _tool(value) if hasattr(value, "tool_call_schema") else None


def _own(parameters: Mapping[str, Any], left_out: list[str], path: str) -> dict[str, Any]:
    own = {}
    for name, value in parameters.items():
        if name in _FOR_PEOPLE or (is_neutral(str(name)) and not isinstance(value, str)):
            left_out.append(f"{path}.{name}")
        elif isinstance(value, (dict, list)) and not is_credential(str(name)):
            value = _plain(value)
            if value is not _SECRET:
                own[name] = value
        else:
            own[name] = value
    return own


_SECRET: Any = object()


def _plain(value: Any) -> Any:
    """LangChain's written objects, wherever they stand, as what they say."""
    if isinstance(value, list):
        return [item for one in value if (item := _plain(one)) is not _SECRET]
    if not isinstance(value, dict):
        return _tool(value) if hasattr(value, "tool_call_schema") else value
    if value.get("lc") == 1 and "id" in value:
        kind = value.get("type")
        if kind == "secret":
            return _SECRET
        if kind == "not_implemented":
            return _opaque(value.get("repr"), value["id"])
        return {"class": value["id"], **_plain(value.get("kwargs") or {})}
    return {name: item for name, one in value.items() if (item := _plain(one)) is not _SECRET}


def _tool(tool: Any) -> Any:
    """A LangChain tool as the provider is sent it."""
    from langchain_core.utils.function_calling import (
        convert_to_openai_tool,
    )  # here: few models get tools as objects

    return convert_to_openai_tool(tool)


def _opaque(shown: Any, name: Any) -> Any:
    if not isinstance(shown, str) or " at 0x" in shown or "<class " in shown:
        raise Uncacheable(f"a {'.'.join(map(str, name))} among the parameters shows nothing of its content")
    return shown


def _name_in(parameters: Mapping[str, Any]) -> str | None:
    names = (parameters.get(field) for field in ("model", "model_name", "model_id"))
    return next((name for name in names if isinstance(name, str)), None)
