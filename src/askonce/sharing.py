"""One cache for all that name the same store with the same options."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from askonce.cache import Cache
from askonce.engine.settings import Settings
from askonce.errors import ConfigError
from askonce.stores import Store

_shared: weakref.WeakValueDictionary[Any, Cache] = weakref.WeakValueDictionary()
_sharing = threading.Lock()


def shared_cache(store: str | Store | Cache | None, options: Settings) -> Cache:
    """The cache that an adapter is to use.

    Args:
        store: a cache, which is used as it is, or what `Cache` takes.
        options: further arguments of `Cache`. Equal URLs with equal options share one cache in this process,
            so that models that are made for each request still wait for one another and share connections.

    Raises:
        ConfigError: a cache is given and options too, or `Cache` raises it.
    """
    if isinstance(store, Cache):
        if options:
            raise ConfigError(f"{', '.join(options)}: give options to the Cache, not beside it")
        return store
    if isinstance(store, Store):
        return Cache(store, **options)
    name = (store, tuple(sorted((key, repr(value)) for key, value in options.items())))
    with _sharing:
        cache = _shared.get(name)
        if cache is None or not cache._finalizer.alive:
            cache = _shared[name] = Cache(store, **options)
        return cache
