"""`cached`: one model, with a cache between LangChain and its provider.

The cached model is a copy whose class is a subclass of the model's own class, made here: it overrides only the
methods by which LangChain asks the provider. So it is what the model was, to `isinstance`, `bind_tools`,
`with_structured_output` and all else; and every way to ask it, streams included, passes the cache.
"""

from __future__ import annotations

import weakref
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM

from askonce.cache import Cache, shared_cache
from askonce.errors import ConfigError
from askonce.langchain.models import chat, completions
from askonce.langchain.models.calls import LimitMisses
from askonce.langchain.models.prompts import follow_prompts
from askonce.stores import Store

Model = TypeVar("Model", bound=BaseChatModel | BaseLLM)


def cached(model: Model, store: str | Store | Cache | None = None, **options: Any) -> Model:
    """A copy of a model that asks its provider only for what it was not asked before.

        model = cached(ChatOpenAI(model="…"))
        model = cached(ChatAnthropic(model="…"), "redis://localhost:6379", ttl=3600)

    LangChain's own cache is switched off for the copy; calls wait for the model's rate limiter only when they go
    to the provider. Answers are shared with an `AskOnceCache` over the same store and namespace, as far as
    LangChain tells it the same of the model.

    Args:
        model: any chat model or completion model; it stays as it is.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        options: further arguments of `askonce.Cache`.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """
    if not isinstance(model, (BaseChatModel, BaseLLM)):
        raise ConfigError(
            f"cached() takes a chat model or a completion model, not a {type(model).__name__}; "
            f"of a chain or an agent, wrap the model in it"
        )
    own = type(model)
    base: type[Any] = getattr(own, "_askonce_base", own)
    if base is not own and store is None and not options:
        return model
    cache = shared_cache(store, options)
    if cache.engine.is_semantic:
        follow_prompts()
    name = None if isinstance(store, (Cache, Store)) else (store, options)
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


# By base class, cache, and whether that was given by name: only then can models be pickled. A class holds its
# cache, and lives as long as a model of it.
_classes: weakref.WeakValueDictionary[tuple[type[Any], int, bool], type[Any]] = weakref.WeakValueDictionary()


def _class(base: type[Any], cache: Cache, name: Any) -> type[Any]:
    key = base, id(cache), name is not None
    cls = _classes.get(key)
    if cls is None:
        kind = chat if issubclass(base, BaseChatModel) else completions
        body = {
            **kind.overrides(base, cache),
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "__reduce__": lambda self: _reduce(self, name),
        }
        metaclass: Any = type(base)
        cls = metaclass(base.__name__, (base,), body)
        # After the class is made, since pydantic would take them for private fields of the model.
        type.__setattr__(cls, "_askonce_base", base)
        type.__setattr__(cls, "_askonce_cache", cache)
        _classes[key] = cls
    return cls


def _reduce(model: Any, name: Any) -> Any:
    if name is None:
        raise TypeError(
            "a model cached over a Cache or a Store object cannot be pickled; give cached() a store's URL"
        )
    base = type(model)._askonce_base
    original = _copy(model, base)
    limiter = original.__dict__.get("rate_limiter")
    if isinstance(limiter, LimitMisses):
        original.__dict__["rate_limiter"] = limiter.limiter
    return _revive, (original, *name)


def _revive(original: Any, store: str | None, options: dict[str, Any]) -> Any:
    return cached(original, store, **options)
