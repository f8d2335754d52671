"""Which model with which settings: LLMs, embedding models and prompts of LlamaIndex in normal form."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.schema import BaseComponent
from llama_index.core.tools.types import BaseTool

from askonce.keys.model_identity import RememberedIdentity
from askonce.keys.normal_form import NEUTRAL, Uncacheable, is_credential, model_form

P = ParamSpec("P")
T = TypeVar("T")

# Fields that LlamaIndex leaves out of `to_dict()` and that an endpoint may still use.
_EXCLUDED_BUT_MEANT = frozenset({"messages_to_prompt", "completion_to_prompt", "query_wrapper_prompt"})
# Applied around the endpoints, or of no consequence for the answer.
_LEFT_OUT = frozenset({"output_parser", "embed_batch_size", "embeddings_cache"})
# Private attributes that cannot change a model's answers, and those that, where they are objects
# (a loaded model, a client's settings), say nothing which the declared fields do not say.
_MACHINERY = re.compile(r"client|session|boto|lock|semaphore|executor|logger|warned|askonce")
_OBJECTS = re.compile(r"http|tokenizer|model$|config$")
_SIMPLE = (str, int, float, bytes, type(None))


def guarded(build: Callable[P, T]) -> Callable[P, T]:
    """Decorates what builds a normal form: any error of it means that the request is not cached (`Uncacheable`)."""

    @functools.wraps(build)
    def guard(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return build(*args, **kwargs)
        except Uncacheable:
            raise
        except Exception as error:
            raise Uncacheable(f"{type(error).__name__}: {error}") from error

    return guard


def component_form(component: BaseModel, left_out: list[str]) -> dict[str, Any]:
    """The normal form of an LLM, an embedding model or a prompt: its class and what its settings say.

    Raises:
        Uncacheable: a setting cannot be named, or the model remembers earlier calls.
    """
    form, left = _components.of(component)
    left_out.extend(left)
    return form


@guarded
def _derived(component: BaseModel) -> tuple[dict[str, Any], list[str]]:
    if getattr(component, "track_previous_responses", False):
        raise Uncacheable("the model keeps the conversation on its provider's server")
    left_out: list[str] = []
    return model_form(_settings(component, component), left_out), left_out


_components = RememberedIdentity(_derived)


def _settings(value: BaseModel, owner: Any = None) -> dict[str, Any]:
    """The class and fields of a pydantic object, its private attributes too if it is one of LlamaIndex's."""
    cls = type(value)
    found: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}"}
    if hasattr(value, "askonce_form"):  # a model of askonce's own
        return {**found, **value.askonce_form()}
    for name, field in cls.model_fields.items():
        if (not field.exclude or name in _EXCLUDED_BUT_MEANT) and name not in _LEFT_OUT:
            found[name] = getattr(value, name, None)
    found |= value.__pydantic_extra__ or {}
    if isinstance(value, BaseComponent):
        for name, item in (value.__pydantic_private__ or {}).items():
            if _counts(name, item):
                found[name] = item
    return fields_of({name: item for name, item in found.items() if item != {}}, owner)


def _counts(name: str, private: Any) -> bool:
    """Whether a private attribute can change a model's answers."""
    if _OBJECTS.search(name.lower()):
        return isinstance(private, (*_SIMPLE, Mapping, list, tuple, BaseModel))
    return _MACHINERY.search(name.lower()) is None


def fields_of(values: Mapping[str, Any], owner: Any = None) -> dict[str, Any]:
    """Settings or arguments as data that ``askonce.keys.normal_form`` knows.

    Args:
        values: by name.
        owner: the model that they are of, if any.
    """
    return {
        str(name): value if name in NEUTRAL or is_credential(str(name)) else _data(value, owner)
        for name, value in values.items()
    }


def _data(value: Any, owner: Any = None) -> Any:
    """A setting or argument as data that ``askonce.keys.normal_form`` knows."""
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, Mapping):
        return fields_of(value, owner)
    if isinstance(value, (list, tuple)):
        return [_data(item, owner) for item in value]
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return {
            "name": metadata.name,
            "description": metadata.description,
            "parameters": metadata.get_parameters_dict(),
        }
    if isinstance(value, BaseModel):
        return _settings(value, owner)
    if inspect.ismethod(value):
        return _method_name(value, owner)
    if inspect.isroutine(value) or (isinstance(value, type) and not issubclass(value, BaseModel)):
        return importable_name(value)
    return value


def _method_name(method: Any, owner: Any) -> str:
    """The name of a method of the model itself, whose settings stand in the form anyway."""
    if owner is None or not isinstance(owner, type(method.__self__)):
        raise Uncacheable(f"a bound method, {method.__qualname__}")
    return f"{method.__module__}.{method.__qualname__}"


def importable_name(value: Any) -> str:
    """The name of a function or class that stands in a module.

    Raises:
        Uncacheable: it does not.
    """
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not value:
        raise Uncacheable(f"{qualname or value!r} is not a function at the top of a module")
    return f"{module}.{qualname}"
