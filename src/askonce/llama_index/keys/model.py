"""Which model with which settings: LLMs, embedding models and prompts of LlamaIndex in normal form."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import functools
import inspect
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import PurePath
from typing import Any, NamedTuple, ParamSpec, TypeVar

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.bridge.pydantic import BaseModel, SecretStr
from llama_index.core.schema import BaseComponent
from llama_index.core.tools.types import BaseTool

from askonce.keys.endpoints import endpoint_of, function_form
from askonce.keys.fields import FieldReader
from askonce.keys.model_identity import RememberedIdentity, show_inside
from askonce.keys.new_models import record_new_model
from askonce.keys.normal_form import NEUTRAL, Uncacheable, is_credential, model_form, plain
from askonce.keys.own.code import class_form, code_of
from askonce.keys.server_state import refuse_server_state
from askonce.llama_index.keys.providers import Provider, environment, makes_client_later, provider_of

P = ParamSpec("P")
T = TypeVar("T")

# Applied around the endpoints, or of no consequence for the answer; `_askonce` is a twin's link to its cache.
_LEFT_OUT = frozenset({"output_parser", "embed_batch_size", "embeddings_cache", "_askonce"})
_OF_NO_ANSWER = _LEFT_OUT - {"output_parser"}
"""Of the application's own class, whose endpoints may use a parser: what its code names counts."""
# Neutral where LangChain's models have them; in a model of LlamaIndex's they are names like any other.
_NOT_NEUTRAL_HERE = frozenset(
    "cache profile tags metadata client async_client root_client root_async_client http_client http_async_client"
    " http_socket_options custom_get_token_ids ls_structured_output_format ls_provider ls_model_name".split()
)
_WAY_OUT_NAME = "cached(…, name='…')"
_CLIENTS = frozenset("client async_client root_client root_async_client http_client http_async_client".split())
_MACHINERY = (type(threading.Lock()), type(threading.RLock()), logging.Logger, Executor)
_SIMPLE = (str, int, float, bytes, type(None))
_AS_TEXT = (PurePath, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)


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


@dataclasses.dataclass(frozen=True, slots=True)
class _Derived:
    """What is remembered of a model.

    Attributes:
        form: in normal form.
        left_out: the paths of what was left out.
        environment: the variables that a client which is not made yet would read; ``None`` if they do not count.
        own_arguments: of an LLM of the application's own class, what counts of a call whatever its name.
    """

    form: dict[str, Any]
    left_out: list[str]
    environment: tuple[str | None, ...] | None
    own_arguments: Callable[[Mapping[str, Any]], dict[str, Any]] | None = dataclasses.field(
        default=None, compare=False
    )

    def parts(self) -> dict[str, Any]:
        """What the form consists of."""
        return {**self.form, **self.form.get("own_fields", {})}


def component_form(component: BaseModel, left_out: list[str], *, asynchronous: bool = False) -> dict[str, Any]:
    """The normal form of an LLM, an embedding model or a prompt: its class and what its settings say.

    Args:
        component: the LLM, embedding model or prompt.
        left_out: the paths of what is left out are appended to it.
        asynchronous: its asynchronous client will be called, whose endpoint may be another.

    Raises:
        Uncacheable: a setting cannot be named, or the model remembers earlier calls.
    """
    components = _async_components if asynchronous else _components
    derived = components.of(component)
    if derived.environment is not None and derived.environment != environment():
        components.forget(id(component))
        derived = components.of(component)
    left_out.extend(derived.left_out)
    return derived.form


def own_arguments(llm: BaseModel, options: Mapping[str, Any], *, asynchronous: bool = False) -> dict[str, Any]:
    """What counts of a call's options whatever they are called, since the LLM is of the application's own class.

    Raises:
        Uncacheable: one of them cannot be read.
    """
    read = (_async_components if asynchronous else _components).of(llm).own_arguments
    return {} if read is None else read(options)


def _derived(component: BaseModel, asynchronous: bool) -> _Derived:
    if getattr(component, "track_previous_responses", False):
        raise Uncacheable("the model stores the conversation on its provider's server")
    left_out: list[str] = []
    link = (component.__pydantic_private__ or {}).get("_askonce")
    if link is not None and link.name is not None:
        return _Derived(model_form(_named(component, link.name), left_out), left_out, None)
    reading = _Reading(component, asynchronous)
    read = environment() if any(makes_client_later(one, asynchronous) for one in _models_in(component)) else None
    form = model_form(_settings(component, reading), left_out)
    own = _reader(_own_class(component), reading).own_arguments if "code" in form else None
    derived = _Derived(form, left_out, read, own)
    record_new_model(component, _own_class(component), derived.parts(), _WAY_OUT_NAME)
    return derived


_components, _async_components = (
    RememberedIdentity(functools.partial(_derived, asynchronous=asynchronous), _Derived.parts, _WAY_OUT_NAME)
    for asynchronous in (False, True)
)


class _Reading(NamedTuple):
    """Of which model the settings are read, if of one, and for which kind of calls."""

    owner: Any = None
    asynchronous: bool = False


_OF_NO_MODEL = _Reading()


def _models_in(value: Any, seen: set[int] | None = None) -> Iterator[BaseModel]:
    """A model, and the models that stand in its attributes."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    parts: Iterable[Any] = ()
    if isinstance(value, BaseModel):
        yield value
        parts = [*vars(value).values(), *(value.__pydantic_private__ or {}).values()]
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, one.name, None) for one in dataclasses.fields(value)]
    for part in parts:
        if not isinstance(part, _SIMPLE):
            yield from _models_in(part, seen)


def _settings(value: BaseModel, reading: _Reading) -> dict[str, Any]:
    """The class of a pydantic object, and all that it holds but what cannot change an answer."""
    cls = _own_class(value)
    found: dict[str, Any] = {**class_form(cls)}
    if hasattr(value, "askonce_form"):  # a model of askonce's own
        return {**found, **value.askonce_form(asynchronous=reading.asynchronous)}
    provider = provider_of(cls)
    reader = _reader(cls, reading)
    own = reader.own_fields(value, _OF_NO_ANSWER)
    for name, item in _held(value, provider):
        if reader.names is not None and reader.names.has(name, item):
            continue  # one of those
        named, data = _setting(name, item, value, reading)
        if data is not None and data != {}:
            found[named] = data
    _, own = reader.as_at_first(value, {}, own)
    if own:
        found["own_fields"] = own
    if isinstance(value, BaseLLM):
        refuse_server_state(found)
        refuse_server_state(own)
    places = reader.clients.endpoints(asynchronous=reading.asynchronous)
    if places:
        found["own endpoints"] = places
    if provider.endpoint is not None:
        found["endpoint"] = provider.endpoint(value, reading.asynchronous)
    return found


def _reader(cls: type, reading: _Reading) -> FieldReader:
    """Reads what an object of the application's own class holds."""
    return FieldReader(cls, _WAY_OUT.removeprefix("; "), functools.partial(_part, reading=reading))


def _part(value: Any, *, reading: _Reading) -> Any:
    """A tool or a model within a model; ``None`` for anything else."""
    if isinstance(value, BaseTool):
        return _data(value, reading)
    if isinstance(value, BaseComponent):
        return model_form(_settings(value, reading), [])
    return None


def known_of(component: BaseModel) -> Provider:
    """What is known of the class of a model."""
    return provider_of(_own_class(component))


def _own_class(value: BaseModel) -> type:
    """The class of a model; of a twin, that of what it is a twin of."""
    cls = type(value)
    return cls.__mro__[2] if "_askonce" in (value.__pydantic_private__ or {}) else cls


def _held(value: BaseModel, provider: Provider) -> Iterator[tuple[str, Any]]:
    """What an object holds that may change an answer: fields, private attributes and what else was set on it."""
    fields = {**dict.fromkeys(type(value).model_fields), **vars(value)}
    for name, item in {**fields, **(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}.items():
        if name not in _LEFT_OUT and not provider.leaves_out(name, fields):
            yield name, item


def _setting(name: str, item: Any, value: Any, reading: _Reading) -> tuple[str, Any]:
    """Under which name an attribute stands in the form, and what stands there; ``None`` for nothing.

    Raises:
        Uncacheable: it is an object that cannot be read.
    """
    if item is None or isinstance(item, (*_MACHINERY, SecretStr)):
        return name, None
    in_llama_index = isinstance(value, BaseComponent)
    meant = name in _CLIENTS or (in_llama_index and name in _NOT_NEUTRAL_HERE)
    is_model = in_llama_index or hasattr(value, "is_lc_serializable")
    if not meant and (is_credential(name) or (is_model and name in NEUTRAL)):
        return name, item if value is reading.owner else None
    endpoint = endpoint_of(item)
    if endpoint is not None:
        return f"endpoint of {name}", endpoint
    try:
        data = _data(item, reading)
        if not isinstance(data, _SIMPLE):
            plain(_without_credentials(data))
    except Uncacheable as error:
        reason = f"{type(value).__name__}.{name} cannot be read ({error})"
        if value is reading.owner and not str(error).endswith(_WAY_OUT):
            reason += _WAY_OUT
        raise Uncacheable(reason) from error
    return f"own {name}" if meant else name, data


_WAY_OUT = f"; {_WAY_OUT_NAME} names the model instead"


def _without_credentials(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _without_credentials(item) for name, item in data.items() if not is_credential(str(name))}
    return [_without_credentials(item) for item in data] if isinstance(data, (list, tuple)) else data


def _named(component: BaseModel, name: str) -> dict[str, Any]:
    """Of a model with a name of its own, which stands for private attributes and for what cannot be read."""
    cls, reading = _own_class(component), _Reading(component)
    found: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}", "named": name}
    try:
        reader = _reader(cls, reading)
    except Uncacheable:  # the name stands for its code, too
        reader = _reader(BaseModel, reading)
    fields = cls.model_fields.keys()  # type: ignore[attr-defined]
    own = reader.own_fields(component, _OF_NO_ANSWER, only={one for one in fields if _is_plain(component, one)})
    for field in fields - own.keys():
        item = getattr(component, field, None)
        try:
            if field not in _LEFT_OUT and endpoint_of(item) is None:
                named, found[named] = _setting(field, item, component, reading)
        except Uncacheable:
            continue
    found["own_fields"] = own
    return {field: data for field, data in found.items() if data is not None and data != {}}


def _is_plain(component: BaseModel, field: str) -> bool:
    """Whether a field holds plain data."""
    try:
        plain(getattr(component, field, None))
    except Exception:  # whatever an object in it raises
        return False
    return True


def fields_of(values: Mapping[str, Any], reading: _Reading = _OF_NO_MODEL) -> dict[str, Any]:
    """Settings or arguments as data that ``askonce.keys.normal_form`` takes.

    Args:
        values: by name.
        reading: the model that they are of, if any.
    """
    return {
        str(name): value if name in NEUTRAL or is_credential(str(name)) else _data(value, reading)
        for name, value in values.items()
    }


def _data(value: Any, reading: _Reading = _OF_NO_MODEL) -> Any:
    """A setting or argument as data that ``askonce.keys.normal_form`` takes."""
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, _AS_TEXT):
        return {type(value).__name__: str(value)}
    if isinstance(value, Mapping):
        return fields_of(value, reading)
    if isinstance(value, (list, tuple)):
        return [_data(item, reading) for item in value]
    if isinstance(value, BaseTool):
        show_inside(type(value), lambda tool: [tool.metadata])
        metadata = value.metadata
        return {
            "name": metadata.name,
            "description": metadata.description,
            "parameters": metadata.get_parameters_dict(),
        }
    if isinstance(value, BaseModel):
        return _settings(value, reading)
    if inspect.ismethod(value):
        return _method_name(value, reading.owner)
    if inspect.isroutine(value) or (isinstance(value, type) and not issubclass(value, BaseModel)):
        return function_form(value)
    if isinstance(value, type) and reading.owner is not None and code_of(_own_class(reading.owner)) is not None:
        code = code_of(value)  # a provider is sent its schema; an own model may call its code
        return value if code is None else {"schema": value, "code": code}
    endpoint = endpoint_of(value)
    return value if endpoint is None else {"endpoint": endpoint}


def _method_name(method: Any, owner: Any) -> str:
    """The name of a method of the model itself, whose settings stand in the form anyway."""
    if owner is None or not isinstance(owner, type(method.__self__)):
        raise Uncacheable(f"a bound method, {method.__qualname__}")
    return f"{method.__module__}.{method.__qualname__}"
