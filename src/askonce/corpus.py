"""`Corpus`: a set of documents that changes, and how all processes come to know of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from askonce.cache import Cache
from askonce.changes import ADDED, changed
from askonce.control import Control
from askonce.errors import ConfigError
from askonce.sharing import shared_cache
from askonce.stores import Store


class Corpus:
    """A set of documents in which retrievers look, shared by all processes that use the store.

    Retrievals that are cached with it are dropped when documents change, and so are answers made from those that
    did. The wrappers of vector stores and indexes (`watch` of the adapters) tell it by themselves; whoever writes
    documents in another way calls these methods afterwards, *when the documents can be found*.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        name: tells this set of documents from others.
        options: further arguments of `askonce.Cache`.

    Attributes:
        cache: the `Cache` that keeps the retrievals.
        name: the name.
        log: the namespace of its change log in the store.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(self, store: str | Store | Cache | None = None, *, name: str = "default", **options: Any) -> None:
        if not name:
            raise ConfigError("a corpus needs a name")
        self.cache = shared_cache(store, options)
        self.name = name
        self.log = f"{Control().namespace(self.cache.namespace)}:corpus:{quote(name, safe='')}"

    def added(self) -> None:
        """Tell that documents came: any retrieval may have another result now, so all are made anew.

        Raises:
            StoreError: the store failed, so that outdated retrievals may still be served.
        """
        self.cache.store.log_append(self.log, ADDED)

    async def aadded(self) -> None:
        """Asynchronous `added`."""
        await self.cache.store.alog_append(self.log, ADDED)

    def changed(self, ids: Iterable[str]) -> None:
        """Tell of documents that were deleted, or whose content changed without making them relevant to others.

        Retrievals that returned one of them, and answers made from one, are made anew; others stay. If a document's
        new content may be found by other questions than its old one, call `added` too.

        Raises:
            StoreError: the store failed, so that outdated retrievals may still be served.
        """
        ids = _listed(ids)
        if ids:
            self.cache.store.log_append(self.log, changed(ids))
            for one in ids:  # they are not served any more; this frees their space
                self.cache.invalidate(f"doc:{one}")

    async def achanged(self, ids: Iterable[str]) -> None:
        """Asynchronous `changed`."""
        ids = _listed(ids)
        if ids:
            await self.cache.store.alog_append(self.log, changed(ids))
            for one in ids:
                await self.cache.ainvalidate(f"doc:{one}")


def _listed(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise ConfigError(f"ids is a list of ids: ids=[{ids!r}]")
    return [str(one) for one in ids]
