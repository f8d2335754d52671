"""Twins: a copy of a model whose class is a generated subclass of the model's own class.

LlamaIndex asks ``isinstance`` of its models, providers override much more than the endpoints, and applications
reach for attributes; a wrapper that delegates breaks all of that. A twin is the model, with a few methods
overridden. It shares the fields' values and the SDK's clients with the original, which stays as it is.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseComponent
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from askonce.cache import Cache, shared_cache
from askonce.stores import Store

logger = logging.getLogger("askonce")
M = TypeVar("M", bound=BaseComponent)
Rebuild = Callable[..., Any]

_working: ContextVar[frozenset[int]] = ContextVar("askonce_llama_index_working", default=frozenset())


@dataclass(frozen=True, eq=False)
class Link:
    """What ties a twin to its cache. Copies of a twin share it.

    Attributes:
        cache: where its answers are kept.
        make: makes a twin, in another process after pickling.
        source: ``store`` and ``options`` as they were given, where another process can use them.
        rate_limiter: the original's, where the twin asks for it later than the original would.
    """

    cache: Cache
    make: Rebuild
    source: tuple[str | None, dict[str, Any]] | None
    rate_limiter: Any = None

    def __copy__(self) -> Link:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Link:
        return self


class Twin:
    """The base of all generated classes."""

    _askonce: Link

    def __reduce__(self) -> Any:
        link = self._askonce
        return _rebuild, (link.make, original(self), link.source)  # type: ignore[type-var]


def _rebuild(make: Rebuild, model: Any, source: tuple[str | None, dict[str, Any]] | None) -> Any:
    if source is None:
        logger.warning("askonce: a copy of %s in another process is not cached: its cache was given as an object,"
                       " give a store's URL", type(model).__name__)  # fmt: skip
        return model
    store, options = source
    return make(model, store, **options)


def link_to(store: str | Store | Cache | None, options: dict[str, Any], make: Rebuild) -> Link:
    """A link to the cache that ``store`` and ``options`` name."""
    source = (store, options) if store is None or isinstance(store, str) else None
    return Link(shared_cache(store, options), make, source)


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
        **methods,
    }
    return type(base)(base.__name__, (Twin, base), namespace)


def make_twin(model: M, cls: type, link: Link) -> M:
    """A twin of ``model`` of the generated class."""
    twin: M = _shape(model, cls, {**(model.__pydantic_private__ or {}), "_askonce": link})
    return twin


def original(model: M) -> M:
    """A copy of a twin that is not cached; another model as it is."""
    if not isinstance(model, Twin):
        return model
    base = type(model).__mro__[2]
    private = {name: value for name, value in (model.__pydantic_private__ or {}).items() if name != "_askonce"}
    plain: M = _shape(model, base, private or None)
    if model._askonce.rate_limiter is not None:
        plain.__dict__["rate_limiter"] = model._askonce.rate_limiter
    return plain


def is_working(model: BaseComponent) -> bool:
    """Whether a call of this very twin is under way in the running context."""
    return id(model) in _working.get()


@contextlib.contextmanager
def working(model: BaseComponent) -> Iterator[None]:
    """While a model works: what its methods ask of one another is part of the outermost call."""
    token = _working.set(_working.get() | {id(model)})
    try:
        yield
    finally:
        _working.reset(token)


def _shape(model: Any, cls: Any, private: dict[str, Any] | None) -> Any:
    copy = cls.__new__(cls)
    object.__setattr__(copy, "__dict__", dict(model.__dict__))
    object.__setattr__(copy, "__pydantic_fields_set__", set(model.__pydantic_fields_set__))
    extra = model.__pydantic_extra__
    object.__setattr__(copy, "__pydantic_extra__", None if extra is None else dict(extra))
    object.__setattr__(copy, "__pydantic_private__", private)
    return copy
