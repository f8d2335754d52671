"""`watch`: what holds documents reports to its corpus when they are added, changed and deleted."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any, TypeVar

from langchain_core.retrievers import BaseRetriever
from langchain_core.stores import BaseStore
from langchain_core.vectorstores import VectorStore
from pydantic import BaseModel

from askonce.errors import ConfigError
from askonce.langchain.retrieval.indexes import memory_written
from askonce.langchain.retrieval.nearness import aaddition, addition
from askonce.langchain.retrieval.stored_documents import StoreWrite
from askonce.retrieval.corpus import Corpus
from askonce.retrieval.parts import BASE, own_class
from askonce.retrieval.written import WRITING, Written

Watched = TypeVar("Watched")

_CHANGING = re.compile(r"a?(add|delete|update|upsert|remove|merge|drop|reset|clear|truncate)(_\w+)?$")
_ADDING = re.compile(r"a?add_")
_EMBEDDING = re.compile(r"a?(add|update|upsert)_(documents?|texts)$")
_EMBEDDED = frozenset("self documents document texts metadatas ids id document_id kwargs batch_size".split())
_DELETING = ("delete", "adelete")
_PUTTING, _REMOVING = ("mset", "amset"), ("mdelete", "amdelete")
_BASES: tuple[type[Any], ...] = (VectorStore, BaseStore, BaseRetriever, BaseModel)
_PYDANTIC_STATE = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def watch(written: Watched, corpus: Corpus) -> Watched:
    """The same object, which reports to a corpus all documents that are written or deleted through it.

        store = watch(Chroma("handbook", embeddings), corpus)
        retriever = cached(store.as_retriever(), corpus=corpus)
        index(documents, record_manager, store, cleanup="full")

    It is of a subclass of the object's own class and shares all state with what was given, which stays as it is and
    reports nothing. A write is reported before it begins and after it ended, also if it failed half way: see
    `Corpus.writing`. Reported are additions, which are changes too where ids were given; deletions; and, where
    another writing method names no ids, that any document may have changed.

    Args:
        written: a vector store; a document store (``mset``, ``mdelete``); a retriever with methods that write, such
            as a ``ParentDocumentRetriever``, of which the stores inside are watched too; or any object with such
            methods (``add…``, ``put…``, ``ingest…``, ``delete…``, …). An addition is to be found once its method
            has returned.
        corpus: of the documents. If it has a ``near_margin`` and the store embeds by `CachedEmbeddings`, it gets
            the vectors of what ``add_documents``, ``add_texts``, ``update_document`` and the like write.

    Raises:
        ConfigError: ``written`` has no method that writes, or ``corpus`` is none.
        StoreError: not raised here, but by methods that write: nothing was written, or it was and the corpus could
            not be informed; then all found before is invalidated when the write's lease has run out.
    """
    Corpus.checked(corpus)
    base = type(written)
    if getattr(base, "_askonce_corpus", None) is corpus:
        return written
    if isinstance(written, BaseRetriever):
        written = _with_watched_stores(written, corpus)
    elif not _writing_methods(base) or not hasattr(written, "__dict__"):
        raise ConfigError(
            f"a {base.__name__} has no method that writes documents; write them within corpus.writing(ids)"
        )
    own = own_class(base)
    body: dict[str, Any] = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        # Some of LangChain looks a store up by its very class.
        "__class__": property(lambda self: own),
        **{name: _reporting(method, corpus) for name, method in _writing_methods(base).items()},
    }
    metaclass: Any = type(base)
    cls = metaclass(base.__name__, (base,), body)
    type.__setattr__(cls, BASE, own)
    type.__setattr__(cls, "_askonce_corpus", corpus)
    watched: Watched = object.__new__(cls)
    object.__setattr__(watched, "__dict__", written.__dict__)
    for name in _PYDANTIC_STATE if isinstance(written, BaseModel) else ():
        object.__setattr__(watched, name, getattr(written, name))
    if isinstance(watched, VectorStore):
        corpus.compare([watched])
    return watched


def _with_watched_stores(retriever: Any, corpus: Corpus) -> Any:
    """A copy of a retriever, whose stores are watched."""
    stores = {
        name: watch(value, corpus)
        for name, value in retriever.__dict__.items()
        if isinstance(value, (VectorStore, BaseStore))
    }
    if not stores and not _writing_methods(type(retriever)):
        raise ConfigError(
            f"a {type(retriever).__name__} holds no store and has no method that writes documents; watch the store"
            " that it searches"
        )
    return retriever.model_copy(update=stores)


def _writing_methods(cls: type[Any]) -> dict[str, FunctionType]:
    """The methods of a class that change documents.

    Those inherited from LangChain's base classes call one of these, and look at whether they are overridden.
    """
    pattern = _CHANGING if issubclass(cls, VectorStore) else WRITING
    methods = {name: inspect.getattr_static(cls, name) for name in dir(cls) if pattern.match(name)}
    return {
        name: method
        for name, method in methods.items()
        if isinstance(method, FunctionType)
        and all(method is not inspect.getattr_static(one, name, None) for one in _BASES)
    }


class _Method:
    """What a writing method reports.

    Args:
        method: which.
    """

    def __init__(self, method: FunctionType) -> None:
        self._signature = inspect.signature(method)
        self._only_deletes = method.__name__ in _DELETING
        self._only_adds = _ADDING.match(method.__name__) is not None
        self._embeds = _EMBEDDING.match(method.__name__) is not None
        self._in_store = method.__name__ in (*_PUTTING, *_REMOVING)
        self._adds = method.__name__ not in _REMOVING

    def given(self, itself: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """The arguments of a call by their names."""
        try:
            return {**self._signature.bind_partial(itself, *args, **kwargs).arguments, **kwargs}
        except TypeError:  # the call itself will raise it
            return {}

    def written(self, given: Mapping[str, Any]) -> Written:
        """What a call with these arguments writes."""
        ids = _ids(given)
        if self._only_deletes and ids:
            return Written(ids, added=False)
        return Written(ids if ids or self._only_adds else None, added=self._adds)

    def store_write(self, itself: Any, given: Mapping[str, Any]) -> StoreWrite | None:
        """The call, if it writes to a document store."""
        first = next(iter([*given.values()][1:]), None)
        if not self._in_store or not isinstance(itself, BaseStore) or not isinstance(first, (list, tuple)):
            return None
        return StoreWrite(itself, first, puts=self._adds)

    def texts(self, given: Mapping[str, Any]) -> list[str]:
        """The texts of which a call adds the vectors; none if that is not known."""
        rows = given.get("documents", given.get("texts"))
        rows = [given["document"]] if rows is None and "document" in given else rows
        if not self._embeds or not isinstance(rows, (list, tuple)) or not given.keys() <= _EMBEDDED:
            return []
        return [str(getattr(one, "page_content", one)) for one in rows]


def _reporting(method: FunctionType, corpus: Corpus) -> Callable[..., Any]:
    kind = _Method(method)

    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = kind.given(self, args, kwargs)
        written = kind.written(given)
        if (stored := kind.store_write(self, given)) is not None:
            written = Written(stored.ids(), added=written.added)
        with _under_way(self, corpus, written) as is_new:
            if not is_new:
                return method(self, *args, **kwargs)
            with corpus.writing(written.ids, added=written.added, stores=[self]) as done, _in_memory(self):
                result = method(self, *args, **kwargs)
                done.vectors = addition(corpus, self, kind.texts(given))
                return result

    async def awrite(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = kind.given(self, args, kwargs)
        written = kind.written(given)
        if (stored := kind.store_write(self, given)) is not None:
            written = Written(await stored.aids(), added=written.added)
        with _under_way(self, corpus, written) as is_new:
            if not is_new:
                return await method(self, *args, **kwargs)
            async with corpus.awriting(written.ids, added=written.added, stores=[self]) as done:
                with _in_memory(self):
                    result = await method(self, *args, **kwargs)
                    done.vectors = await aaddition(corpus, self, kind.texts(given))
                    return result

    return functools.wraps(method)(awrite if inspect.iscoroutinefunction(method) else write)


@contextmanager
def _in_memory(store: Any) -> Iterator[None]:
    """A write of a store, which may hold its documents in memory."""
    try:
        yield
    finally:
        memory_written(store)


_writes: ContextVar[dict[tuple[int, int], Written] | None] = ContextVar("askonce_writes", default=None)


@contextmanager
def _under_way(store: Any, corpus: Corpus, written: Written) -> Iterator[bool]:
    """A write of a store; yields whether it is news: not if the method that calls this one reports it all."""
    writes, name = _writes.get() or {}, (id(store), id(corpus))
    outer = writes.get(name)
    if outer is not None and outer.includes(written):
        yield False
        return
    token = _writes.set({**writes, name: written})
    try:
        yield True
    finally:
        _writes.reset(token)


def _ids(given: Mapping[str, Any]) -> list[str]:
    """The ids that a call names."""
    ids = given.get("ids")
    if ids is None:
        ids = [given.get("document_id"), given.get("id")]
        documents = given.get("documents")
        ids += [getattr(one, "id", None) for one in documents] if isinstance(documents, (list, tuple)) else []
    ids = [ids] if isinstance(ids, str) else ids
    return [str(one) for one in ids if one is not None] if isinstance(ids, (list, tuple, set, frozenset)) else []
