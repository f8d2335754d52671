"""Twins: a copy of a model whose class is a generated subclass of the model's own class.

LlamaIndex checks its models with ``isinstance``, providers override much more than the endpoints, and applications
reach for attributes; a wrapper that delegates breaks all of that. A twin is the model, with a few methods
overridden. It shares the fields' values and the SDK's clients with the original, which stays as it is.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseComponent
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from askonce.cache import Cache, shared_cache
from askonce.engine.settings import Settings
from askonce.errors import ConfigError
from askonce.stores import Client, Store

logger = logging.getLogger("askonce")
M = TypeVar("M", bound=BaseComponent)
Rebuild = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Link:
    """What ties a twin to its cache. Copies of a twin share it.

    Attributes:
        cache: where its answers are stored.
        make: makes a twin, in another process after pickling.
        source: the store and the settings as they were given, where another process can use them.
        rate_limiter: the original's, where the twin waits for it later than the original would.
        name: what the application calls the model, in place of what cannot be read of it.
    """

    cache: Cache
    make: Rebuild
    source: tuple[str | None, Settings] | None
    rate_limiter: Any = None
    name: str | None = None

    def __copy__(self) -> Link:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Link:
        return self


class Twin:
    """The base of all generated classes."""

    _askonce: Link

    def __reduce__(self) -> Any:
        twin: Any = self
        return _rebuild, (self._askonce.make, original(twin), self._askonce.source, self._askonce.name)


def _rebuild(make: Rebuild, model: Any, source: tuple[str | None, Settings] | None, name: str | None = None) -> Any:
    if source is None:
        logger.warning("askonce: a copy of %s in another process is not cached: its cache was given as an object,"
                       " give a store's URL", type(model).__name__)  # fmt: skip
        return model
    store, settings = source
    return make(model, store, settings, name)


def link_to(
    store: str | Store | Client | Cache | None, settings: Settings, make: Rebuild, name: str | None = None
) -> Link:
    """A link to the cache that a store and settings stand for.

    Raises:
        ConfigError: a setting is wrong, the store cannot be used, or the name is none.
    """
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ConfigError(f"the name of a model is a text that is not empty, not {name!r}")
    cache = shared_cache(store, settings)
    return Link(cache, make, cache.source, name=name)


def twin_class(base: type, methods: Mapping[str, Any]) -> type:
    """A subclass of ``base``, and of `Twin`, that overrides the methods and opens no spans of its own."""
    for method in methods.values():
        setattr(method, DISPATCHER_SPAN_DECORATED_ATTR, True)
    namespace = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__annotations__": {"_askonce": Any},
        "_askonce": PrivateAttr(default=None),
        "__init__": _init_of(base),
        **methods,
    }
    return type(base)(base.__name__, (Twin, base), namespace)


def _init_of(base: Any) -> Callable[..., None]:
    """The constructor, as ``from_dict`` calls it: no cache is linked to what it makes, which is a plain model."""

    @functools.wraps(base.__init__)
    def init(self: Any, *args: Any, **fields: Any) -> None:
        base.__init__(self, *args, **fields)
        private = {name: one for name, one in (self.__pydantic_private__ or {}).items() if name != "_askonce"}
        object.__setattr__(self, "__pydantic_private__", private or None)
        object.__setattr__(self, "__class__", base)

    return init


def make_twin(model: M, cls: type, link: Link) -> M:
    """A twin of ``model`` of the generated class."""
    twin: M = _shape(model, cls, {**(model.__pydantic_private__ or {}), "_askonce": link})
    return twin


def own_class(twin: BaseComponent) -> type:
    """The class of the model that it is a twin of."""
    return type(twin).__mro__[2]  # after the generated class and `Twin`


def original(model: M) -> M:
    """A copy of a twin that is not cached; another model as it is."""
    if not isinstance(model, Twin):
        return model
    twin: Any = model
    private = {name: value for name, value in (twin.__pydantic_private__ or {}).items() if name != "_askonce"}
    plain: M = _shape(twin, own_class(twin), private or None)
    limiter = twin._askonce.rate_limiter
    if limiter is not None and plain.__dict__.get("rate_limiter") is None:
        plain.__dict__["rate_limiter"] = limiter
    return plain


def plain_view(twin: BaseComponent) -> Any:
    """The twin's very state under the model's own class.

    The model works on this: calls among its methods then is part of the one call, whichever thread
    or task they run in, and what they remember they remember on the twin.
    """
    cls: Any = own_class(twin)
    view = cls.__new__(cls)
    for state in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(view, state, getattr(twin, state))
    return view


def _shape(model: Any, cls: Any, private: dict[str, Any] | None) -> Any:
    copy = cls.__new__(cls)
    object.__setattr__(copy, "__dict__", dict(model.__dict__))
    object.__setattr__(copy, "__pydantic_fields_set__", set(model.__pydantic_fields_set__))
    extra = model.__pydantic_extra__
    object.__setattr__(copy, "__pydantic_extra__", None if extra is None else dict(extra))
    object.__setattr__(copy, "__pydantic_private__", private)
    return copy
