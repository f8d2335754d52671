"""Cached models: a model with a cache between LangChain and its provider.

The cached model is a copy whose class is a subclass of the model's own class, made here: it overrides only the
methods by which LangChain calls the provider. So it is what the model was, to `isinstance`, `bind_tools`,
`with_structured_output` and all else; and every way to call it, streams included, passes the cache.
"""

from __future__ import annotations

import weakref
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM

from askonce.cache import Cache, shared_cache
from askonce.engine.settings import Settings
from askonce.langchain.models import chat, completions
from askonce.langchain.models.calls import LimitMisses
from askonce.langchain.models.prompts import follow_prompts
from askonce.options import check_name
from askonce.stores import Client, Store

Model = TypeVar("Model", bound=BaseChatModel | BaseLLM)


def cached_model(
    model: Model, store: str | Store | Client | Cache | None, settings: Settings, name: str | None = None
) -> Model:
    """`askonce.langchain.cached` for a model.

    A model that is cached already comes back as it is, unless a store or settings are given.

    Args:
        model: any chat model or completion model; it stays as it is.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`.
        name: stands for the model and all its settings, instead of what it shows of itself.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """
    own = type(model)
    base: type[Any] = getattr(own, "_askonce_base", own)
    if name is not None:
        check_name("the name of a model", name)
    if base is not own and store is None and not settings and name is None:
        return model
    cache = shared_cache(store, settings)
    if cache.engine.is_semantic:
        follow_prompts()
    cls = _class(base, cache, name)
    return model if own is cls else _copy(model, cls)


def _copy(model: Any, cls: type[Any]) -> Any:
    fields = {name: value for name, value in model.__dict__.items() if name != "_serialized"}
    limiter = fields.get("rate_limiter")
    if limiter is not None and not isinstance(limiter, LimitMisses):
        fields["rate_limiter"] = LimitMisses(limiter)
    copy = object.__new__(cls)
    object.__setattr__(copy, "__dict__", {**fields, "cache": False})
    for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        value = getattr(model, name)
        object.__setattr__(copy, name, None if value is None else value.copy())
    return copy


# By base class, cache and the model's name. A class holds its cache, and lives as long as a model of it.
_classes: weakref.WeakValueDictionary[tuple[type[Any], int, str | None], type[Any]] = weakref.WeakValueDictionary()


def _class(base: type[Any], cache: Cache, name: str | None) -> type[Any]:
    key = base, id(cache), name
    cls = _classes.get(key)
    if cls is None:
        kind = chat if issubclass(base, BaseChatModel) else completions
        body = {
            **kind.overrides(base, cache),
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "__reduce__": _reduce,
        }
        metaclass: Any = type(base)
        cls = metaclass(base.__name__, (base,), body)
        # After the class is made, since pydantic would take them for private fields of the model.
        type.__setattr__(cls, "_askonce_base", base)
        type.__setattr__(cls, "_askonce_cache", cache)
        type.__setattr__(cls, "_askonce_name", name)
        _classes[key] = cls
    return cls


def _reduce(model: Any) -> Any:
    base = type(model)._askonce_base
    original = _copy(model, base)
    limiter = original.__dict__.get("rate_limiter")
    if isinstance(limiter, LimitMisses):
        original.__dict__["rate_limiter"] = limiter.limiter
    return cached_model, (original, type(model)._askonce_cache, {}, type(model)._askonce_name)


# -- models that are chosen at run time ------------------------------------------------------------------------


def is_chosen_at_run_time(x: Any) -> bool:
    """Whether it is what ``init_chat_model`` gives where fields are configurable: of the package langchain."""
    return any(cls.__name__ == "_ConfigurableModel" for cls in type(x).__mro__)


def cached_choice(choice: Any, store: str | Store | Client | Cache | None, settings: Settings) -> Any:
    """`askonce.langchain.cached` for what `is_chosen_at_run_time`: each model that it makes is cached."""
    base: type[Any] = getattr(type(choice), "_askonce_base", type(choice))
    if base is not type(choice) and store is None and not settings:
        return choice
    cache = shared_cache(store, settings)
    if cache.engine.is_semantic:
        follow_prompts()
    return _of_class(choice, _choice_class(base, cache))


def _choice_class(base: type[Any], cache: Cache) -> type[Any]:
    held: set[type[Any]] = set()  # classes of cached models, which live as long as something holds them

    def _model(self: Any, config: Any = None) -> Any:
        bare = _of_class(self, base)
        bare._queued_declarative_operations = []
        made = cached_model(base._model(bare, config), cache, {})
        held.add(type(made))
        for name, args, kwargs in self._queued_declarative_operations:
            made = getattr(made, name)(*args, **kwargs)
        return made

    def __getattr__(self: Any, name: str) -> Any:
        found = base.__getattr__(self, name)
        if not getattr(found, "__qualname__", "").startswith(f"{base.__qualname__}.__getattr__."):
            return found
        # It records an operation, such as `bind_tools`, for the models to come, on a new object of the plain class.
        return lambda *args, **kwargs: _of_class(found(*args, **kwargs), cls)

    def with_config(self: Any, config: Any = None, **kwargs: Any) -> Any:
        return _of_class(base.with_config(self, config, **kwargs), cls)

    methods = {"_model": _model, "__getattr__": __getattr__, "with_config": with_config, "_askonce_base": base}
    cls = type(base.__name__, (base,), {**methods, "__module__": base.__module__, "__doc__": base.__doc__})
    return cls


def _of_class(choice: Any, cls: type[Any]) -> Any:
    copy = object.__new__(cls)
    copy.__dict__.update(choice.__dict__)
    return copy
