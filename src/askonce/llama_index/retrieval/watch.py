"""`watch`: an index, a vector store or an ingestion pipeline reports its changes to a corpus."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, TracebackType
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.indices.base import BaseIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.storage.docstore.types import BaseDocumentStore
from llama_index.core.storage.storage_context import StorageContext
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from askonce.errors import ConfigError
from askonce.llama_index.retrieval.indexes import is_store, memory_written
from askonce.provenance.additions import added_vectors
from askonce.retrieval.corpus import Corpus
from askonce.retrieval.parts import BASE, own_class
from askonce.retrieval.written import WRITING, Written

logger = logging.getLogger("askonce")


def watch(changing: object, corpus: Corpus) -> Watching:
    """Report to a corpus every change that is made through an index, a store, a pipeline or a retriever.

    It stays the same object, and gets a generated subclass of its own class, so that changes by whatever holds it
    already are seen too. Additions make all retrievals be made anew; deletions and updates those of their
    documents, and the answers made from them. A write is reported before it begins and after it ended, also if it
    failed half way: see `Corpus.writing`.

    A corpus with a ``near_margin`` gets the vectors of added nodes that have one, or have it in a
    `SimpleVectorStore`.

    What is written past the object is not seen, as when two objects stand for one collection: watch both, or use
    `Corpus.writing`. Of a pipeline its vector store is watched too.

    Args:
        changing: an index, a vector store, a document store, an ingestion pipeline; a retriever, of which the
            indexes and stores inside are watched; or any object with methods that write (``add…``, ``put…``,
            ``ingest…``, ``delete…``, …), which report that any document may have changed.
        corpus: where the retrievers look that are to know.

    Returns:
        how to undo it; also as a context manager.

    Raises:
        ConfigError: ``changing`` has no method that writes, or ``corpus`` is none.
        StoreError: not raised here, but later by methods that write: nothing was written, or it was and the corpus
            could not be informed; then all found before is invalidated when the write's lease has run out.
    """
    watching = Watching(Corpus.checked(corpus))
    watching._enter_all(changing)
    return watching


class Watching:
    """What `watch` did, and how to undo it. As a context manager it is undone at the end of the block."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._active = True
        self._entered: list[tuple[Any, type]] = []

    def undo(self) -> None:
        """Watch no more. Twice does nothing."""
        self._active = False
        for changing, cls in self._entered:
            if type(changing) is cls:  # else somebody watches it since; this class stays beneath and says nothing
                changing.__class__ = cls.__mro__[1]
        self._entered.clear()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"watch returns how to undo it, which has no {name!r}: the object that was given is watched; use that"
        )

    def __enter__(self) -> Watching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    def _enter_all(self, changing: object) -> None:
        """Watch an object, and of a pipeline or a retriever what it writes to or searches."""
        inside = _inside(changing)
        for one in inside:
            if not any(one is entered for entered, _ in self._entered):
                self._enter_all(one)
        reports, funnels = _reports_of(changing)
        if not reports and not inside:
            raise ConfigError(
                f"a {type(changing).__name__} has no method that writes documents; write them within"
                " corpus.writing(ids)"
            )
        if reports:
            self._enter(changing, reports, funnels)

    def _enter(self, changing: Any, reports: Mapping[str, _Report], funnels: Mapping[str, Any]) -> None:
        base: Any = type(changing)
        namespace: dict[str, Any] = {
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "__reduce_ex__": _reduce,
        }
        for name, report in reports.items():
            method = getattr(base, name, None)
            if method is not None and method is not funnels.get(name):
                namespace[name] = self._reporting_method(method, report)
        cls = type(base)(base.__name__, (base,), namespace)
        type.__setattr__(cls, BASE, own_class(base))
        try:
            changing.__class__ = cls
        except TypeError as error:
            raise ConfigError(f"a {base.__name__} cannot be watched; write within corpus.writing(ids)") from error
        self._entered.append((changing, cls))
        self._corpus.compare(_vector_stores(changing))

    def _reporting_method(self, method: Any, report: _Report) -> Any:
        reporting: Any
        corpus = self._corpus
        if inspect.iscoroutinefunction(inspect.unwrap(method)):

            async def reporting(changing: Any, *args: Any, **kwargs: Any) -> Any:
                if not self._active:
                    return await method(changing, *args, **kwargs)
                ids, stores = report.ids(args, kwargs), _vector_stores(changing) or None
                async with corpus.awriting(ids, added=not report.only_gone, stores=stores) as written:
                    with _in_memory(changing):
                        result = await method(changing, *args, **kwargs)
                    self._complete(written, changing, report, args, kwargs, result)
                    return result

        else:

            def reporting(changing: Any, *args: Any, **kwargs: Any) -> Any:
                if not self._active:
                    return method(changing, *args, **kwargs)
                ids, stores = report.ids(args, kwargs), _vector_stores(changing) or None
                with corpus.writing(ids, added=not report.only_gone, stores=stores) as written:
                    with _in_memory(changing):
                        result = method(changing, *args, **kwargs)
                    self._complete(written, changing, report, args, kwargs, result)
                    return result

        reporting = functools.wraps(method)(reporting)
        setattr(reporting, DISPATCHER_SPAN_DECORATED_ATTR, True)
        return reporting

    def _complete(
        self, written: Written, changing: Any, report: _Report, args: Any, kwargs: Any, result: Any
    ) -> None:
        """Add what is known of a write only after it."""
        written.ids, nodes = report.outcome(args, kwargs, result)
        written.added = written.added and written.ids != []
        if self._corpus.near_margin is None or not nodes:
            return
        store = getattr(changing, "vector_store", None)
        vectors = [_vector(node, store) for node in nodes]
        try:
            written.vectors = added_vectors(vectors) if all(vectors) else None
        except ConfigError as error:
            logger.info("askonce: no vectors of added nodes are known: %s", error)


@contextmanager
def _in_memory(changing: Any) -> Iterator[None]:
    """A write of a store or an index, which may hold its documents in memory."""
    try:
        yield
    finally:
        memory_written(changing)


def _vector_stores(changing: Any) -> list[BasePydanticVectorStore]:
    """A vector store, or that of an index or a pipeline."""
    parts = (changing, getattr(changing, "vector_store", None))
    return [one for one in parts if isinstance(one, BasePydanticVectorStore)]


def _vector(node: Any, store: Any) -> list[float]:
    """A node's vector; empty if it is not known."""
    if node.embedding is None and isinstance(store, SimpleVectorStore):
        return store.data.embedding_dict.get(node.node_id, [])
    return node.embedding or []


def _reduce(self: Any, protocol: Any) -> Any:
    """Pickled and copied as what it was."""
    plain: Any = own_class(type(self))
    _, arguments, *rest = plain.__reduce_ex__(self, max(protocol, 2))
    return _new, (plain, *arguments[1:]), *rest


def _new(cls: Any, *arguments: Any) -> Any:
    return cls.__new__(cls, *arguments)


# -- what each method reports ----------------------------------------------------------------------------------


def _of_nodes(nodes: Iterable[Any] | None) -> list[str]:
    return list(dict.fromkeys(node.ref_doc_id or node.node_id for node in nodes or ()))


def _of_stored_nodes(nodes: Iterable[Any]) -> list[str]:
    ids = (one for node in nodes for one in (node.node_id, node.ref_doc_id) if one)
    return list(dict.fromkeys(ids))


def _of_document(document: Any) -> list[str]:
    return [document.id_]


def _of_documents(documents: Iterable[Any]) -> list[str]:
    return [document.id_ for document in documents]


def _of_id(one: str) -> list[str]:
    return [one]


@dataclass(frozen=True, slots=True)
class _Report:
    """What a method reports.

    Attributes:
        about: the ids of the documents, from the first argument.
        only_gone: they are gone after it; otherwise they can be found.
    """

    about: Callable[[Any], list[str]] | None = None
    only_gone: bool = False

    def ids(self, args: Any, kwargs: Any) -> list[str] | None:
        """The ids of the documents of a call; ``None`` if they are not known."""
        if self.about is None or any(isinstance(one, MetadataFilters) for one in (*args, *kwargs.values())):
            return None
        first = _first(args, kwargs)
        return None if first is None else self.about(first)

    def outcome(self, args: Any, kwargs: Any, result: Any) -> tuple[list[str] | None, list[Any]]:
        """The ids, and the nodes that a call added; no nodes if they are not known."""
        nodes = list(_first(args, kwargs) or ()) if self.about is _of_nodes else []
        return self.ids(args, kwargs), nodes


class _ReportOfResult(_Report):
    """Which documents change is known only after the call."""

    def ids(self, args: Any, kwargs: Any) -> list[str] | None:
        return []

    def outcome(self, args: Any, kwargs: Any, result: Any) -> tuple[list[str] | None, list[Any]]:
        return _of_nodes(result), list(result or ())


def _first(args: Any, kwargs: Any) -> Any:
    named = [value for name, value in kwargs.items() if name in _FIRST]
    return args[0] if args else named[0] if named else None


_FIRST = frozenset("nodes docs node_ids ref_doc_id doc_id document documents embedding_results".split())
_ADDED, _GONE = _Report(_of_nodes), _Report(list, only_gone=True)
_DOCUMENT_GONE = _Report(_of_id, only_gone=True)


def _both(reports: Mapping[str, _Report]) -> dict[str, _Report]:
    return {prefix + name: report for name, report in reports.items() for prefix in ("", "a")}


_INDEX = _both(
    {
        "insert_nodes": _ADDED,
        "delete_nodes": _GONE,
        "delete_ref_doc": _DOCUMENT_GONE,
        "insert": _Report(_of_document),
        "update_ref_doc": _Report(_of_document),
        "refresh_ref_docs": _Report(_of_documents),
    }
)
_VECTOR_STORE = {
    "add": _ADDED,
    "async_add": _ADDED,
    **_both({"delete": _DOCUMENT_GONE, "delete_nodes": _GONE, "clear": _Report()}),
}
_DOCUMENT_STORE = {
    "add_documents": _Report(_of_stored_nodes),
    "async_add_documents": _Report(_of_stored_nodes),
    **_both({"delete_document": _DOCUMENT_GONE, "delete_ref_doc": _DOCUMENT_GONE}),
}
_PIPELINE = _both({"run": _ReportOfResult()})

# What a class has from LlamaIndex's base class does its work through others that report.
_INDEX_FUNNELS = {
    name: getattr(BaseIndex, name)
    for name in _both(dict.fromkeys(("insert", "update_ref_doc", "refresh_ref_docs"), _ADDED))
}
_STORE_FUNNELS = {
    name: getattr(BasePydanticVectorStore, name) for name in ("async_add", "adelete", "adelete_nodes", "aclear")
}
_BASES = (BaseRetriever, BaseModel)


def _inside(changing: object) -> list[object]:
    """What a pipeline writes to, or a retriever searches."""
    if isinstance(changing, IngestionPipeline):
        return [] if changing.vector_store is None else [changing.vector_store]
    if isinstance(changing, StorageContext):
        graphs = (changing.graph_store, changing.property_graph_store)
        return [changing.docstore, *changing.vector_stores.values(), *(one for one in graphs if one is not None)]
    found: list[object] = []
    for value in vars(changing).values() if isinstance(changing, BaseRetriever) else ():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        for one in values:
            found += _inside(one) if isinstance(one, StorageContext) else [one] if _is_searched(one) else []
    return found


def _is_searched(part: object) -> bool:
    return isinstance(part, (BaseIndex, BaseRetriever)) or is_store(part)


def _reports_of(changing: object) -> tuple[Mapping[str, _Report], Mapping[str, Any]]:
    """What the methods of an object report, and those of its base class that need not."""
    if isinstance(changing, BaseIndex):
        return _INDEX, _INDEX_FUNNELS
    if isinstance(changing, BasePydanticVectorStore):
        return _VECTOR_STORE, _STORE_FUNNELS
    if isinstance(changing, BaseDocumentStore):
        return _DOCUMENT_STORE, {}
    if isinstance(changing, IngestionPipeline):
        return _PIPELINE, {}
    cls = type(changing)
    writing = {name for name in dir(cls) if WRITING.match(name) and not any(hasattr(one, name) for one in _BASES)}
    functions = {name for name in writing if isinstance(inspect.getattr_static(cls, name), FunctionType)}
    return dict.fromkeys(functions, _Report()), {}
