"""`watch`: a vector store that reports to its corpus when documents are added, changed and deleted."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from contextvars import ContextVar
from types import FunctionType
from typing import Any, TypeVar

from langchain_core.vectorstores import VectorStore

from askonce.errors import ConfigError
from askonce.langchain.retrieval.indexes import memory_written
from askonce.langchain.retrieval.nearness import aaddition, addition
from askonce.provenance.additions import ADDED
from askonce.provenance.changes import ANYTHING, changed
from askonce.retrieval.corpus import Corpus

Watched = TypeVar("Watched", bound=VectorStore)

_CHANGING = re.compile(r"a?(add|delete|update|upsert|remove|merge|drop|reset|clear|truncate)(_\w+)?$")
_ADDING = re.compile(r"a?add_")
_EMBEDDING = re.compile(r"a?add_(documents|texts)$")
_OF_ADDING = frozenset("self documents texts metadatas ids kwargs batch_size".split())
_DELETING = ("delete", "adelete")
_IDS_IN_AN_EVENT = 1000


def watch(vectorstore: Watched, corpus: Corpus) -> Watched:
    """The same vector store, which reports to a corpus all documents that are written or deleted through it.

        store = watch(Chroma("handbook", embeddings), corpus)
        retriever = cached(store.as_retriever(), corpus=corpus)
        index(documents, record_manager, store, cleanup="full")

    It is of a subclass of the store's own class and shares all state with what was given, which stays as it is and
    reports nothing. The corpus is informed after the documents were written, also when writing failed half way: of
    additions, which are changes too where ids were given; of deletions; and, where a deletion or another method
    (``update…``, ``upsert…``, ``merge…``, ``drop…``, ``reset…``, ``clear…``) names no ids, that any document may
    have changed. A method that writes raises `StoreError` if the corpus cannot be informed: then write again.

    Args:
        vectorstore: any vector store; an addition is to be found once its method has returned.
        corpus: of the documents. If it has a ``near_margin`` and the store embeds by `CachedEmbeddings`, it gets
            the vectors of what ``add_documents`` and ``add_texts`` add.

    Raises:
        ConfigError: ``vectorstore`` is none.
    """
    if not isinstance(vectorstore, VectorStore):
        raise ConfigError(f"watch() takes a vector store, not a {type(vectorstore).__name__}")
    base = type(vectorstore)
    if getattr(base, "_askonce_corpus", None) is corpus:
        return vectorstore
    own = getattr(base, "_askonce_base", base)
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
    type.__setattr__(cls, "_askonce_base", own)
    type.__setattr__(cls, "_askonce_corpus", corpus)
    watched: Watched = object.__new__(cls)
    object.__setattr__(watched, "__dict__", vectorstore.__dict__)
    return watched


def _writing_methods(cls: type[Any]) -> dict[str, FunctionType]:
    """The methods of a class that change documents.

    Those inherited from `VectorStore` itself call one of these, and look at whether they are overridden.
    """
    methods = {name: inspect.getattr_static(cls, name) for name in dir(cls) if _CHANGING.match(name)}
    return {
        name: method
        for name, method in methods.items()
        if isinstance(method, FunctionType) and method is not inspect.getattr_static(VectorStore, name, None)
    }


_under_way: ContextVar[frozenset[tuple[int, int]]] = ContextVar("askonce_writing", default=frozenset())


def _reporting(method: FunctionType, corpus: Corpus) -> Callable[..., Any]:
    signature = inspect.signature(method)
    only_deletes, only_adds = method.__name__ in _DELETING, _ADDING.match(method.__name__) is not None
    embeds = _EMBEDDING.match(method.__name__) is not None

    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = (id(self), id(corpus))
        if name in _under_way.get():  # called by another of these, which will report it
            return method(self, *args, **kwargs)
        given = _given(signature, self, args, kwargs)
        ids, came = _ids(given), ADDED
        token = _under_way.set(_under_way.get() | {name})
        try:
            result = method(self, *args, **kwargs)
            came = addition(corpus, self, _texts(given) if embeds else [])
            return result
        finally:
            _under_way.reset(token)
            memory_written(self)
            if only_deletes and ids:
                corpus.changed(ids)
            else:
                for event in _events(ids, only_adds, came):
                    corpus.cache.store.log_append(corpus.log, event)

    async def awrite(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = (id(self), id(corpus))
        if name in _under_way.get():
            return await method(self, *args, **kwargs)
        given = _given(signature, self, args, kwargs)
        ids, came = _ids(given), ADDED
        token = _under_way.set(_under_way.get() | {name})
        try:
            result = await method(self, *args, **kwargs)
            came = await aaddition(corpus, self, _texts(given) if embeds else [])
            return result
        finally:
            _under_way.reset(token)
            memory_written(self)
            if only_deletes and ids:
                await corpus.achanged(ids)
            else:
                for event in _events(ids, only_adds, came):
                    await corpus.cache.store.alog_append(corpus.log, event)

    return functools.wraps(method)(awrite if inspect.iscoroutinefunction(method) else write)


def _events(ids: list[str], only_adds: bool, came: bytes) -> list[bytes]:
    """What happened to documents with these ids, and to others if documents came."""
    if not ids and not only_adds:
        return [ANYTHING]
    batches = range(0, len(ids), _IDS_IN_AN_EVENT)
    return [*(changed(ids[begin : begin + _IDS_IN_AN_EVENT]) for begin in batches), came]


def _given(signature: inspect.Signature, self: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by their names."""
    try:
        return {**signature.bind_partial(self, *args, **kwargs).arguments, **kwargs}
    except TypeError:  # the call itself will raise it
        return {}


def _texts(given: dict[str, Any]) -> list[str]:
    """The texts of which a call adds the vectors; none if that is not known."""
    rows = given.get("documents", given.get("texts"))
    if not isinstance(rows, (list, tuple)) or not given.keys() <= _OF_ADDING:
        return []
    return [str(getattr(one, "page_content", one)) for one in rows]


def _ids(given: dict[str, Any]) -> list[str]:
    """The ids that a call names."""
    ids = given.get("ids")
    if ids is None:
        ids = [given.get("document_id"), given.get("id")]
        documents = given.get("documents")
        ids += [getattr(one, "id", None) for one in documents] if isinstance(documents, (list, tuple)) else []
    ids = [ids] if isinstance(ids, str) else ids
    return [str(one) for one in ids if one is not None] if isinstance(ids, (list, tuple, set, frozenset)) else []
