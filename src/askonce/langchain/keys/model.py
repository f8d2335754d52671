"""Which model with which parameters, in normal form: what an answer depends on besides the prompt.

`parameters_of_model` reads a model object, with all its fields and with what its client adds. ``llm_string.py``
beside this file reads the text by which LangChain describes a model to a cache, for those who use a cache without
a model.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from askonce.keys.fields import FieldReader
from askonce.keys.model_identity import RememberedIdentity
from askonce.keys.new_models import record_new_model
from askonce.keys.normal_form import (
    Uncacheable,
    actor_is_named,
    encode,
    is_credential,
    is_neutral,
    model_form,
)
from askonce.keys.own.code import class_form
from askonce.keys.own.modules import is_installed_class
from askonce.keys.server_state import refuse_server_state
from askonce.langchain.keys.providers import Provider, provider_of

# Shown to people and to tracing only (`with_structured_output`); the model is sent neither.
_SHOWN_TO_TRACING = frozenset({"ls_structured_output_format", "structured_output_format"})
_FOR_PEOPLE = _SHOWN_TO_TRACING | {"name"}
_WAY_OUT = "name the model: cached(model, name='…')"
# Of every model of LangChain's: the running program's, and not the provider's.
_OF_EVERY_MODEL = frozenset(
    "name cache verbose callbacks callback_manager custom_get_token_ids rate_limiter disable_streaming"
    " http_socket_options tiktoken_model_name validate_model_on_init max_concurrent_requests".split()
)
_OVERRIDDEN = frozenset(
    "temperature max_tokens max_completion_tokens stop top_p n seed logprobs top_logprobs presence_penalty"
    " frequency_penalty reasoning_effort".split()
)
_ONE_NAME = {"model_name": "model", "model_id": "model", "stop_sequences": "stop"}
# Of no effect until there is a conversation to continue, whose id counts then.
_CONTINUING = frozenset({"use_previous_response_id", "reuse_last_container"})
_CHOOSES_API = frozenset({"use_previous_response_id"})
"""Also sends the first request to OpenAI's responses, unless the model calls them anyway."""
_MAY_CHANGE_TEXTS = frozenset({"chunk_size"})
"""Of embeddings: a provider's class sends so many texts at once; what another does with it, its author knows."""
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
        name: the name of the model, if known.
        provider: what is known of its class.
        continues: of `Parameters`.
        own_arguments: of a model of the application's own class, what counts of a call whatever its name.
    """

    form: Mapping[str, Any]
    left_out: tuple[str, ...]
    name: str | None
    provider: Provider = field(default_factory=partial(Provider, overrides=False))
    continues: bool = False
    own_arguments: Callable[[Mapping[str, Any]], dict[str, Any]] | None = field(default=None, compare=False)


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
    constructor, without_call = _constructors[asynchronous, actor_is_named.get()].of(model)
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
    own: dict[str, Any] = {}
    if constructor.own_arguments is not None and isinstance(call, Mapping) and call:
        refuse_server_state(call)
        own = constructor.own_arguments({name: one for name, one in call.items() if name not in _SHOWN_TO_TRACING})
        call = {name: value for name, value in call.items() if name not in own}
    called: Any = call if isinstance(call, str) else model_form(_own(call, left_out, "call"), left_out, "call")
    if constructor.provider.overrides and isinstance(call, Mapping) and isinstance(called, dict):
        called |= {name: None for name, value in call.items() if value is None and name in form["constructor"]}
        form["constructor"], called = _sent(form["constructor"], called, constructor.provider)
    if own:
        called["own_fields"] = own
    if called or not constructor.form:
        form["call"] = called
    name = None if isinstance(call, str) else _name_in(call)
    left = (*constructor.left_out, *left_out)
    return Parameters(form, encode(form), left, name or constructor.name, lasting, constructor.continues)


def _sent(
    constructor: dict[str, Any], call: dict[str, Any], provider: Provider
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is sent: a call's parameter in place of the constructor's, and no default that is spelt out."""
    names = {**_ONE_NAME, "max_completion_tokens": "max_tokens"} if provider.one_limit else _ONE_NAME
    constructor, call = _with_one_name(constructor, names), _with_one_name(call, names)
    if "model" in call and call["model"] == constructor.get("model"):
        del call["model"]
    sent = constructor | {name: call.pop(name) for name in list(call) if name in _OVERRIDDEN}
    for name, default in (("n", 1), ("logprobs", False)):
        if name in sent and sent[name] == default:
            del sent[name]
    if isinstance(sent.get("stop"), str):
        sent["stop"] = [sent["stop"]]
    return sent, call


def _with_one_name(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Values under the one name of what several names mean, unless two of these stand beside each other."""
    meant = Counter(names.get(name, name) for name in values)
    return {one if meant[one := names.get(name, name)] == 1 else name: value for name, value in values.items()}


def _constructor_from(written: Mapping[str, Any]) -> _Constructor:
    if not written:
        return _Constructor({}, (), None)
    left_out: list[str] = []
    given = written.get("kwargs", {})
    arguments = _own(given, left_out, "model")
    form = {"class": ".".join(map(str, written.get("id", ()))), "constructor": model_form(arguments, left_out)}
    continues = any(given.get(flag) is True for flag in _CONTINUING)
    return _Constructor(form, tuple(left_out), _name_in(given), continues=continues)


def _constructor_of(model: Any, *, asynchronous: bool) -> tuple[_Constructor, Parameters]:
    base: type = getattr(type(model), "_askonce_base", type(model))
    given, name = getattr(type(model), "_askonce_name", None), _name_in(model.__dict__)
    if given is not None:
        constructor = _Constructor({"named": given}, (), name)
        return constructor, _with_call(constructor, {})
    left_out: list[str] = []
    form = _form_of(model, base, asynchronous=asynchronous, left_out=left_out)
    continues = any(getattr(model, flag, None) is True for flag in _CONTINUING)
    own = None
    if "code" in form:
        own = FieldReader(base, _WAY_OUT, partial(_part_form, asynchronous=asynchronous)).own_arguments
    constructor = _Constructor(form, tuple(left_out), name, provider_of(base), continues, own)
    record_new_model(model, base, _parts_in(form), "cached(model, name='…')")
    return constructor, _with_call(constructor, {})


def described(
    owner: Any, neutral: frozenset[str], way_out: str, *, asynchronous: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An object that is no language model, such as embeddings, in normal form: its class, its fields, its endpoint.

    Args:
        owner: the object.
        neutral: the fields that do not count.
        way_out: what to do about one that cannot be read, for people.
        asynchronous: its asynchronous client will be used.

    Returns:
        The form, and of it the fields.

    Raises:
        Uncacheable: one of its fields cannot be read.
    """
    cls: type = type(owner)
    special = partial(_part_form, asynchronous=asynchronous)
    reader = FieldReader(cls, f"name the model: {way_out}", special, private=False)
    own = reader.own_fields(owner, neutral - _MAY_CHANGE_TEXTS)
    read, endpoints = _read_with(reader, owner, cls, neutral, asynchronous=asynchronous)
    read, own = reader.as_at_first(owner, read, own)
    fields = model_form(read, [])
    forms = [model_form(one, [], "endpoint") for one in endpoints]
    form = {**class_form(cls), "fields": fields, "endpoints": forms}
    return (form | {"own_fields": own} if own else form), {**fields, **own}


def _form_of(model: Any, base: type, *, asynchronous: bool, left_out: list[str]) -> dict[str, Any]:
    if hasattr(model, "askonce_form"):  # a model of askonce's own
        return {
            "class": f"{base.__module__}.{base.__qualname__}",
            "constructor": model.askonce_form(asynchronous=asynchronous),
        }
    if not actor_is_named.get():
        _refuse_reader_of_its_run(base)
    late = provider_of(base).late_clients
    if late is not None:
        getattr(model, late[asynchronous], None)
    is_fake = any(
        one.__name__.lstrip("_").startswith(_FAKES) for one in base.__mro__ if "langchain" in one.__module__
    )
    neutral = _OF_EVERY_MODEL | _CONTINUING | (_STATE_OF_FAKES if is_fake else frozenset())
    if getattr(model, "use_responses_api", None) is not True:
        neutral -= _CHOOSES_API
    reader = FieldReader(base, _WAY_OUT, partial(_part_form, asynchronous=asynchronous))
    own = reader.own_fields(model, _STATE_OF_FAKES if is_fake else frozenset())
    refuse_server_state(own)
    fields, endpoints = _read_with(reader, model, base, neutral, asynchronous=asynchronous)
    fields, own = reader.as_at_first(model, fields, own)
    given = set(getattr(model, "model_fields_set", ())) - provider_of(base).through_client
    empty: tuple[Any, ...] = (None, {}, [])
    given -= fields.keys() | own.keys()
    left_out += [f"model.{name}" for name in sorted(given) if not _is_in(getattr(model, name), empty)]
    form: dict[str, Any] = {
        **class_form(base),
        "constructor": model_form(_own(fields, left_out, "model"), left_out),
    }
    forms = [model_form(endpoint, left_out, "endpoint") for endpoint in endpoints]
    return form | ({"endpoints": forms} if forms else {}) | ({"own_fields": own} if own else {})


def _is_in(value: Any, values: tuple[Any, ...]) -> bool:
    """Whether a value equals one of several of its kind; an array would compare its items."""
    return any(type(value) is type(one) and value == one for one in values)


def _read_with(
    reader: FieldReader, owner: Any, cls: type, neutral: frozenset[str], *, asynchronous: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fields of an object, and the endpoints of its clients."""
    provider = provider_of(cls)
    neutral |= provider.unsent
    fields = reader.fields(owner, neutral | provider.through_client)
    endpoints = reader.clients.endpoints(asynchronous=asynchronous)
    if not endpoints:  # no client that could be read was made of them
        fields = reader.fields(owner, neutral)
    if provider.omits_empty:
        fields = {name: value for name, value in fields.items() if value not in ({}, [])}
    return fields, endpoints


_FAKES = ("Fake", "GenericFake")
_GENERATING = ("_generate", "_agenerate", "_stream", "_astream", "_call", "_acall")
_GIVEN_BY_RUN = frozenset("metadata inheritable_metadata tags inheritable_tags".split())
_CONFIGURATION = frozenset("ensure_config var_child_runnable_config get_config get_runtime get_store".split())


def _refuse_reader_of_its_run(base: type) -> None:
    """Refuse a model of the application's own whose code uses what the run gives it, such as a user's name."""
    for cls in base.__mro__:
        for name in () if is_installed_class(cls) else _GENERATING:
            code = getattr(vars(cls).get(name), "__code__", None)
            if code is None:
                continue
            used = _GIVEN_BY_RUN if "run_manager" in code.co_varnames else frozenset[str]()
            if found := sorted((used | _CONFIGURATION) & set(code.co_names)):
                raise Uncacheable(
                    f"{cls.__name__}.{name} uses {found[0]}, which may differ from run to run: make it a field, or"
                    " give each user a namespace: cache_options(namespace=…)"
                )


def _parts_of(value: tuple[_Constructor, Any]) -> dict[str, Any]:
    return _parts_in(value[0].form)


def _parts_in(given: Mapping[str, Any]) -> dict[str, Any]:
    form = dict(given)
    return {**form.pop("constructor", {}), **form.pop("own_fields", {}), **form}


_constructors = {
    (asynchronous, within): RememberedIdentity(
        partial(_constructor_of, asynchronous=asynchronous), _parts_of, "cached(model, name='…')"
    )
    for asynchronous in (False, True)
    for within in (False, True)
}
"""Each model's constructor, and the parameters of a call that gives none: with which client, and in a namespace."""


def _part_form(value: Any, *, asynchronous: bool) -> Any:
    """A tool as the provider is sent it, a model in a model with its own clients; ``None`` for anything else."""
    models: Any = sys.modules.get(
        "langchain_core.language_models.base"
    )  # else it is none, and takes long to import
    if models is not None and isinstance(value, models.BaseLanguageModel):
        base: type = getattr(type(value), "_askonce_base", type(value))
        named = getattr(type(value), "_askonce_name", None)
        if named is not None:
            return {"named": named}
        return _form_of(value, base, asynchronous=asynchronous, left_out=[])
    return _tool(value) if hasattr(value, "tool_call_schema") else None


def _own(parameters: Mapping[str, Any], left_out: list[str], path: str) -> dict[str, Any]:
    refuse_server_state(parameters)
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
