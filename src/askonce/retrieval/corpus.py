"""`Corpus`: a changing set of documents, whose changes are shared by all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Unpack
from urllib.parse import quote

from askonce.cache import Cache, shared_cache
from askonce.engine.settings import Settings
from askonce.errors import ConfigError
from askonce.options import CacheOptions
from askonce.provenance import additions
from askonce.provenance.additions import ADDED
from askonce.provenance.changes import changed
from askonce.stores import Client, Store


class Corpus:
    """A set of documents that retrievers search, shared by all processes that use the store.

    Retrievals that are cached with it are invalidated when documents change, and so are answers made from those
    documents. `watch` of the adapters reports changes made through a vector store or an index. If you write
    documents in another way, call these methods afterwards, *when the documents can be found*.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        name: distinguishes this set of documents from others.
        near_margin: with a number, an addition invalidates only retrievals with a question near it: as near as the
            last document that was found, less this much of the cosine similarity, from 0 (enough where the search
            is exact) to 2. All retrievers of the corpus, and the code that adds documents, must use one embedding
            model. ``None``: an addition invalidates all.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        cache: the `Cache` that the corpus is in.
        name: the name.
        near_margin: what was given.
        log: the namespace of its change log in the store.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(
        self,
        store: str | Store | Client | Cache | None = None,
        *,
        name: str = "default",
        near_margin: float | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        if not name:
            raise ConfigError("a corpus needs a name")
        if near_margin is not None and not 0 <= near_margin <= 2:
            raise ConfigError(f"near_margin is a difference of cosine similarities, from 0 to 2; got {near_margin}")
        self.cache = shared_cache(store, settings)
        self.name = name
        self.near_margin = near_margin
        self.log = f"{CacheOptions().namespace(self.cache.namespace)}:corpus:{quote(name, safe='')}"

    def added(self, embeddings: Sequence[Sequence[float]] | None = None) -> None:
        """Report that documents were added: any retrieval may have another result now, so all are invalidated.

        Args:
            embeddings: the vector of each document. With them, retrievals without a near document stay, if the
                retriever shows its question's vector and ``near_margin`` was given. For additions of some hundred
                documents (0.5 MB, at 2 bytes a number): a larger one invalidates all.

        Raises:
            ConfigError: ``embeddings`` are not vectors of one length.
            MissingExtraError: ``embeddings`` were given, and numpy is not installed.
            StoreError: the store failed, so that outdated retrievals may still be served.
        """
        self.cache.store.log_append(self.log, _addition(embeddings))

    async def aadded(self, embeddings: Sequence[Sequence[float]] | None = None) -> None:
        """Asynchronous `added`."""
        await self.cache.store.alog_append(self.log, _addition(embeddings))

    def changed(self, ids: Iterable[str]) -> None:
        """Report documents that were deleted, or whose content changed without making them relevant to others.

        Retrievals that returned one of them, and answers made from one, are invalidated; others stay. If the new
        content may be found by other questions than its old one, call `added` too.

        Raises:
            StoreError: the store failed, so that outdated retrievals may still be served.
        """
        ids = _listed(ids)
        if ids:
            self.cache.store.log_append(self.log, changed(ids))
            for one in ids:  # they are no longer served; this frees their space
                self.cache.invalidate(f"doc:{one}")

    async def achanged(self, ids: Iterable[str]) -> None:
        """Asynchronous `changed`."""
        ids = _listed(ids)
        if ids:
            await self.cache.store.alog_append(self.log, changed(ids))
            for one in ids:
                await self.cache.ainvalidate(f"doc:{one}")


def _addition(embeddings: Sequence[Sequence[float]] | None) -> bytes:
    return ADDED if embeddings is None else additions.event(embeddings)


def _listed(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise ConfigError(f"ids is a list of ids: ids=[{ids!r}]")
    return [str(one) for one in ids]
