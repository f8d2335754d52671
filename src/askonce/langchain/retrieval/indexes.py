"""Documents that a process holds in its own memory, and their version."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import msgspec
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.stores import BaseStore, InMemoryBaseStore
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from askonce.entries.values import tagged
from askonce.keys.normal_form import Uncacheable
from askonce.langchain.retrieval.documents import encoded
from askonce.langchain.retrieval.readers import is_of_langchain
from askonce.retrieval.cached_retrieval import NotPlain
from askonce.retrieval.places import without_places
from askonce.retrieval.versions import (
    IndexContent,
    digest_in_order,
    digest_of,
    faiss_rows,
    faiss_settings,
    held_in,
    version_of,
    written,
)


def memory_version(store: Any) -> str | None:
    """The version of what a store, or a list of documents, holds in memory; ``None`` if it holds nothing there.

    Raises:
        Uncacheable: it cannot be distinguished from others.
    """
    held = _held(store)
    return None if held is None else version_of(store, held.items, lambda: digest(held.rows()))


def has_memory(part: Any) -> bool:
    """Whether a part is a store that holds its documents in memory."""
    return _held(part) is not None


def memory_written(store: Any) -> None:
    """Record that a store was written to, and that its corpus has recorded it."""
    for part in (store, *vars(store).values()):
        held = _held(part)
        if held is not None:
            written(part, held.items)


def digest(rows: Iterable[Any], *, is_ordered: bool = False) -> str:
    """A digest of documents, in any order or in theirs.

    Raises:
        Uncacheable: one holds what cannot be written.
    """
    try:
        return (digest_in_order if is_ordered else digest_of)(map(_row, rows))
    except (NotPlain, TypeError, ValueError, RecursionError) as error:
        raise Uncacheable(str(error)) from error


def _row(row: Any) -> bytes:
    if isinstance(row, Document):
        return encoded(row).content
    if isinstance(row, tuple) and len(row) == 2:  # a key and what is there
        return msgspec.msgpack.encode((row[0], _row(row[1])))
    return msgspec.msgpack.encode(tagged(row, "document"))


def _held(part: Any) -> IndexContent | None:
    derived = _held_by_kind(part)
    if derived is None and isinstance(part, VectorStore) and is_own(part):
        return held_in(without_places(vars(part), (Embeddings, VectorStore, BaseStore)))
    return derived


def _held_by_kind(part: Any) -> IndexContent | None:
    if isinstance(part, InMemoryVectorStore):
        return IndexContent(list(part.store.values()), lambda: map(_entry, part.store.values()))
    if isinstance(part, InMemoryBaseStore):
        return IndexContent(list(part.store.values()), lambda: list(part.store.items()))
    name = _in_community(type(part))
    if name == "InMemoryDocstore":
        return IndexContent(list(part._dict.values()), lambda: list(part._dict.items()))
    if name == "SKLearnVectorStore":
        held = part._ids, part._texts, part._metadatas, part._embeddings
        rows = zip(*held, strict=True)
        return IndexContent([*chain(*held)], lambda: ([*row, _vector(vector)] for *row, vector in rows))
    if name == "FAISS":
        names = part.index_to_docstore_id
        found_by = [part.index.ntotal, faiss_settings(part.index)]
        return IndexContent([*found_by, *names.values()], lambda: faiss_rows(part.index, names))
    return None


def _community_class(cls: Any) -> str | None:
    names = (one.__name__ for one in cls.__mro__ if one.__module__.partition(".")[0] == "langchain_community")
    return next((one for one in names if one in _OF_COMMUNITY), None)


_OF_COMMUNITY = frozenset({"InMemoryDocstore", "SKLearnVectorStore", "FAISS"})
_in_community: Callable[[Any], str | None] = functools.lru_cache(maxsize=512)(_community_class)
"""The name of the class of LangChain's community package that a class is, or is derived from."""


def is_store(part: Any) -> bool:
    """Whether it is a store of vectors, documents or values."""
    return isinstance(part, (VectorStore, BaseStore)) or _in_community(type(part)) is not None


def is_own(store: Any) -> bool:
    """Whether a store's class is none of LangChain's packages."""
    return not is_of_langchain(type(store).__module__)


def counts_all_it_holds(store: Any) -> bool:
    """Whether the version of a store that is in memory counts all its lists and maps, not those of one name."""
    return is_own(store) and _held_by_kind(store) is None


def _entry(entry: Any) -> Any:
    return entry["id"], entry["text"], entry["metadata"], _vector(entry["vector"])


def _vector(vector: Any) -> bytes:
    return array("f", vector).tobytes()  # as precise as cached embeddings are
