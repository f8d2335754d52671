"""`install`: the cache under LlamaIndex's ``Settings``."""

from __future__ import annotations

import threading
import weakref
from types import TracebackType
from typing import Any, Unpack

from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM

from askonce.cache import Cache, CacheMethods, shared_cache
from askonce.engine.settings import Settings as CacheSettings
from askonce.errors import ConfigError
from askonce.llama_index.embeddings import cached_embed_model
from askonce.llama_index.models.cached import cached_llm
from askonce.llama_index.models.twin import Link, Twin, original
from askonce.llama_index.prefix.tracker import PrefixTracker
from askonce.stores import Client, Store

_installing = threading.RLock()
_installed: Installation | None = None


def install(
    store: str | Store | Client | Cache | None = None,
    *,
    llm: bool = True,
    embed_model: bool = True,
    prefix: PrefixTracker | None = None,
    **settings: Unpack[CacheSettings],
) -> Installation:
    """Cache whatever ``Settings.llm`` and ``Settings.embed_model`` are, now and when they are set later.

    A model that LlamaIndex would make by default is still made only when it is first used. What was built
    before (query engines, agents) has the model that it was built with. Models that are cached already, with
    whichever cache, stay as they are.

    Installing again with the same store gives the same installation back.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        llm: cache ``Settings.llm``.
        embed_model: cache ``Settings.embed_model``.
        prefix: a tracker of prompt prefixes that watches all models until `Installation.uninstall`.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Raises:
        ConfigError: another store is installed, or the same for something else; or `Cache` raises it.
    """
    global _installed
    with _installing:
        if _installed is not None:
            same = (_installed._llm, _installed._embed_model, _installed._prefix) == (llm, embed_model, prefix)
            if not _installed._is_for(store, settings) or not same:
                raise ConfigError(
                    "askonce is installed already, with another store or for other models; uninstall that first"
                )
            return _installed
        installation = Installation(store, settings, llm=llm, embed_model=embed_model, prefix=prefix)
        installation._enter_settings()
        _installed = installation
        return installation


class Installation(CacheMethods):
    """What `install` did, and how to undo it. As a context manager it is undone at the end of the block.

    It has the methods of `Cache`, too: ``stats``, ``totals``, ``explain``, ``entries``, ``invalidate``, ``erase``,
    ``feedback``, ``flush``, and their asynchronous twins.

    Attributes:
        cache: where answers are stored.
    """

    def __init__(
        self,
        store: str | Store | Client | Cache | None,
        settings: CacheSettings,
        *,
        llm: bool,
        embed_model: bool,
        prefix: PrefixTracker | None = None,
    ) -> None:
        self.cache = shared_cache(store, settings)
        self._given: tuple[Any, CacheSettings] = (store, settings)
        self._llm, self._embed_model, self._prefix = llm, embed_model, prefix
        self._base: type = type(Settings)
        # By attribute of Settings: the twin that stands there, and the model that it stands for.
        self._twins: dict[str, tuple[Any, Any]] = {}
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()

    def uninstall(self) -> None:
        """Leave ``Settings`` with the models that it would hold now without a cache. Twice does nothing."""
        global _installed
        with _installing:
            if _installed is not self:
                return
            Settings.__class__ = self._base
            if self._prefix is not None:
                self._prefix.uninstall()
            for attribute in ("_llm", "_embed_model"):
                setattr(Settings, attribute, self._without_cache(attribute, getattr(Settings, attribute)))
            _installed = None

    def __enter__(self) -> Installation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstall()

    def _is_for(self, store: str | Store | Client | Cache | None, settings: CacheSettings) -> bool:
        if isinstance(store, Cache):
            return store is self.cache
        return (store, settings) == self._given

    def _enter_settings(self) -> None:
        base: Any = self._base
        caching_llm, caching_embed_model = self._llm, self._embed_model

        def get_llm(settings: Any) -> LLM:
            model: LLM = base.llm.fget(settings)
            if caching_llm and not isinstance(model, Twin):
                settings._llm = self._twin("_llm", model, cached_llm)
                model = base.llm.fget(settings)
            return model

        def get_embed_model(settings: Any) -> BaseEmbedding:
            model: BaseEmbedding = base.embed_model.fget(settings)
            if caching_embed_model and not isinstance(model, Twin):
                settings._embed_model = self._twin("_embed_model", model, cached_embed_model)
                model = base.embed_model.fget(settings)
            return model

        namespace = {
            "__module__": base.__module__,
            "__doc__": base.__doc__,
            "llm": property(get_llm, base.llm.fset),
            "embed_model": property(get_embed_model, base.embed_model.fset),
        }
        Settings.__class__ = type(base.__name__, (base,), namespace)
        if self._prefix is not None:
            self._prefix.install()

    def _twin(self, attribute: str, model: Any, make: Any) -> Any:
        twin = make(model, self.cache, {})
        if twin is model:
            return model  # a StructuredLLM whose inside is cached already
        self._twins[attribute] = (twin, model)
        if isinstance(twin, Twin):
            self._links.add(twin._askonce)
        return twin

    def _without_cache(self, attribute: str, model: Any) -> Any:
        twin: Any
        twin, stood_for = self._twins.get(attribute, (None, None))
        if model is not None and model is twin:
            if type(twin) is not type(stood_for):
                stood_for.__dict__.update(original(twin).__dict__)  # what was set on it meanwhile
            return stood_for
        if isinstance(model, Twin) and model._askonce in self._links:
            plain: Any = model  # a copy, or one that stood there before
            return original(plain)
        return model
