"""Which model with which parameters, in normal form: what an answer depends on besides the prompt.

`parameters_of_model` reads a model object, as `askonce.langchain.cached` has it. ``llm_string.py`` beside this file
reads the text by which LangChain describes a model to a cache. Both give the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from askonce.keys.model_identity import RememberedIdentity
from askonce.keys.normal_form import Uncacheable, encode, is_credential, model_form

# Shown to people and to tracing only (`with_structured_output`); the model is sent neither.
_FOR_PEOPLE = frozenset({"name", "ls_structured_output_format", "structured_output_format"})
# Of a model that LangChain cannot serialize, these fields decide whether it answers alike.
_DECIDING = (
    "model model_name model_id deployment_name temperature top_p top_k max_tokens seed n base_url endpoint"
    " endpoint_url system system_prompt model_kwargs"
).split()


@dataclass(frozen=True, slots=True)
class Parameters:
    """A model with its parameters, in normal form.

    Attributes:
        form: plain data.
        encoded: its bytes.
        left_out: the paths of what was left out.
        name: the name of the model, if known.
        lasting: the same text always means the same form: it names no class of the running program.
    """

    form: Mapping[str, Any]
    encoded: msgspec.Raw
    left_out: tuple[str, ...]
    name: str | None
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class _Constructor:
    """The part of `Parameters` that no call changes.

    Attributes:
        form: the class, and what was given to its constructor; empty if neither is known.
        left_out: the paths of what was left out.
        name: the name of the model, if told.
    """

    form: Mapping[str, Any]
    left_out: tuple[str, ...]
    name: str | None


def parameters_of_model(model: Any, stop: list[str] | None, kwargs: dict[str, Any]) -> Parameters:
    """What a model's answer depends on besides the prompt.

    Raises:
        Uncacheable: it holds something without a stable representation.
    """
    call = {**kwargs, "stop": stop} if stop is not None else kwargs
    if not model.is_lc_serializable():
        is_chat_model = hasattr(model, "_get_invocation_params")
        known = model._get_invocation_params(stop=stop, **kwargs) if is_chat_model else model._identifying_params
        call = {**known, **call}
    constructor, without_call = _constructors.of(model)
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
    called = call if isinstance(call, str) else model_form(_own(call, left_out, "call"), left_out, "call")
    form = {**constructor.form, "call": called}
    name = None if isinstance(call, str) else _name_in(call)
    left = (*constructor.left_out, *left_out)
    return Parameters(form, msgspec.Raw(encode(form)), left, name or constructor.name, lasting)


def _constructor_from(written: Mapping[str, Any]) -> _Constructor:
    if not written:
        return _Constructor({}, (), None)
    left_out: list[str] = []
    given = written.get("kwargs", {})
    kept = _own(given, left_out, "model")
    form = {"class": ".".join(map(str, written.get("id", ()))), "constructor": model_form(kept, left_out)}
    return _Constructor(form, tuple(left_out), _name_in(given))


def _constructor_of(model: Any) -> tuple[_Constructor, Parameters]:
    constructor = _constructor_from(_written(model))
    return constructor, _with_call(constructor, {})


def _written(model: Any) -> Mapping[str, Any]:
    """A model's constructor as LangChain writes it."""
    if model.is_lc_serializable():
        from langchain_core.load import dumpd  # here: a cache of LangChain's own is told it as text

        written: dict[str, Any] = dumpd(model)
        return written
    base = getattr(type(model), "_askonce_base", type(model))
    telling = {name: getattr(model, name) for name in _DECIDING if name in type(model).model_fields}
    return {"id": [base.__module__, base.__qualname__], "kwargs": telling}


_constructors = RememberedIdentity(_constructor_of)
"""Each model's constructor, and the parameters of a call that gives none."""


def _own(parameters: Mapping[str, Any], left_out: list[str], path: str) -> dict[str, Any]:
    own = {}
    for name, value in parameters.items():
        if name in _FOR_PEOPLE:
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
