"""`watch`: an index, a vector store or an ingestion pipeline reports its changes to a corpus."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from llama_index.core.indices.base import BaseIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters
from llama_index_instrumentation.dispatcher import DISPATCHER_SPAN_DECORATED_ATTR

from askonce.errors import ConfigError
from askonce.llama_index.retrieval.indexes import memory_written
from askonce.provenance import additions, changes
from askonce.provenance.additions import ADDED
from askonce.retrieval.corpus import Corpus

logger = logging.getLogger("askonce")
Watched = BaseIndex[Any] | BasePydanticVectorStore | IngestionPipeline

_IDS_IN_AN_EVENT = 10_000


def watch(changing: Watched, corpus: Corpus) -> Watching:
    """Report to a corpus every change that is made through an index, a vector store or a pipeline.

    It stays the same object, and gets a generated subclass of its own class, so that changes by whatever holds it
    already are seen too. Additions make all retrievals be made anew; deletions and updates those of their
    documents, and the answers made from them. The corpus is informed when the documents are there; also when a call
    fails half way.

    A corpus with a ``near_margin`` gets the vectors of added nodes that have one, or have it in a
    `SimpleVectorStore`.

    What is written past the object is not seen, as when two objects stand for one collection: watch both, or call
    the methods of `Corpus`. Of a pipeline its vector store is watched too.

    Args:
        changing: an index, a vector store or an ingestion pipeline.
        corpus: where the retrievers look that are to know.

    Returns:
        how to undo it; also as a context manager.

    Raises:
        ConfigError: ``changing`` is none of these.
        StoreError: not raised here, but later by calls that change documents: these are written, but the corpus
            could not be informed, so that outdated retrievals may be served.
    """
    watching = Watching(corpus)
    if isinstance(changing, BaseIndex):
        watching._enter(changing, _INDEX, _INDEX_FUNNELS)
    elif isinstance(changing, BasePydanticVectorStore):
        watching._enter(changing, _VECTOR_STORE, _STORE_FUNNELS)
    elif isinstance(changing, IngestionPipeline):
        if changing.vector_store is not None:
            watching._enter(changing.vector_store, _VECTOR_STORE, _STORE_FUNNELS)
        watching._enter(changing, _PIPELINE, {})
    else:
        raise ConfigError(
            f"watch() takes an index, a vector store or an IngestionPipeline, got a {type(changing).__name__}"
        )
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

    def __enter__(self) -> Watching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()

    def _enter(self, changing: Any, reports: Mapping[str, _Report], funnels: Mapping[str, Any]) -> None:
        base: Any = type(changing)
        namespace: dict[str, Any] = {
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "__reduce_ex__": _reduce,
            "__askonce_watching__": self,
        }
        for name, report in reports.items():
            method = getattr(base, name, None)
            if method is not None and method is not funnels.get(name):
                namespace[name] = self._reporting_method(method, report)
        cls = type(base)(base.__name__, (base,), namespace)
        changing.__class__ = cls
        self._entered.append((changing, cls))

    def _reporting_method(self, method: Any, report: _Report) -> Any:
        reporting: Any
        if inspect.iscoroutinefunction(inspect.unwrap(method)):

            async def reporting(changing: Any, *args: Any, **kwargs: Any) -> Any:
                try:
                    result = await method(changing, *args, **kwargs)
                except BaseException:
                    memory_written(changing)
                    self._report_failure(report, args, kwargs)
                    raise
                memory_written(changing)
                came = self._addition(changing, report, args, kwargs, result)
                await self._asend(report, args, kwargs, result, came)
                return result

        else:

            def reporting(changing: Any, *args: Any, **kwargs: Any) -> Any:
                try:
                    result = method(changing, *args, **kwargs)
                except BaseException:
                    memory_written(changing)
                    self._report_failure(report, args, kwargs)
                    raise
                memory_written(changing)
                self._send(report, args, kwargs, result, self._addition(changing, report, args, kwargs, result))
                return result

        reporting = functools.wraps(method)(reporting)
        setattr(reporting, DISPATCHER_SPAN_DECORATED_ATTR, True)
        return reporting

    def _addition(self, changing: Any, report: _Report, args: Any, kwargs: Any, result: Any) -> bytes:
        """The event for nodes that were added, with their vectors if they are known."""
        if self._corpus.near_margin is None or not self._active:
            return ADDED
        store = getattr(changing, "vector_store", None)
        vectors = [_vector(node, store) for node in report.nodes(args, kwargs, result)]
        if not all(vectors):
            return ADDED
        try:
            return additions.event(vectors)
        except ConfigError as error:
            logger.info("askonce: no vectors of added nodes are known: %s", error)
            return ADDED

    def _send(self, report: _Report, args: Any, kwargs: Any, result: Any, came: bytes = ADDED) -> None:
        ids = report.ids(args, kwargs, result) if self._active else []
        if ids and report.only_gone:
            self._corpus.changed(ids)
        else:
            for event in _events(ids, came):
                self._corpus.cache.store.log_append(self._corpus.log, event)

    async def _asend(self, report: _Report, args: Any, kwargs: Any, result: Any, came: bytes) -> None:
        ids = report.ids(args, kwargs, result) if self._active else []
        if ids and report.only_gone:
            await self._corpus.achanged(ids)
        else:
            for event in _events(ids, came):
                await self._corpus.cache.store.alog_append(self._corpus.log, event)

    def _report_failure(self, report: _Report, args: Any, kwargs: Any) -> None:
        """Report what may have been done; without awaiting, since the call may have been cancelled."""
        try:
            self._send(report, args, kwargs, None)
        except Exception as error:  # the call's own error is the one that counts
            logger.warning("askonce: a change that failed half way could not be reported to a corpus: %s", error)


def _vector(node: Any, store: Any) -> list[float]:
    """A node's vector; empty if it is not known."""
    if node.embedding is None and isinstance(store, SimpleVectorStore):
        return store.data.embedding_dict.get(node.node_id, [])
    return node.embedding or []


def _events(ids: list[str] | None, came: bytes) -> list[bytes]:
    if ids is None:
        return [changes.ANYTHING]
    if not ids:
        return []
    batches = range(0, len(ids), _IDS_IN_AN_EVENT)
    # An added document may have been there before, in another form.
    return [*(changes.changed(ids[begin : begin + _IDS_IN_AN_EVENT]) for begin in batches), came]


def _reduce(self: Any, protocol: Any) -> Any:
    """Pickled and copied as what it was."""
    plain: Any = next(cls for cls in type(self).__mro__ if "__askonce_watching__" not in vars(cls))
    _, arguments, *rest = plain.__reduce_ex__(self, max(protocol, 2))
    return _new, (plain, *arguments[1:]), *rest


def _new(cls: Any, *arguments: Any) -> Any:
    return cls.__new__(cls, *arguments)


# -- what each method reports ----------------------------------------------------------------------------------


def _of_nodes(nodes: Iterable[Any] | None) -> list[str]:
    return list(dict.fromkeys(node.ref_doc_id or node.node_id for node in nodes or ()))


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

    def ids(self, args: Any, kwargs: Any, result: Any) -> list[str] | None:
        """The ids of the documents of a call; ``None`` if they are not known."""
        if self.about is None or any(isinstance(one, MetadataFilters) for one in (*args, *kwargs.values())):
            return None
        first = _first(args, kwargs)
        return None if first is None else self.about(first)

    def nodes(self, args: Any, kwargs: Any, result: Any) -> list[Any]:
        """The nodes that a call adds; none if they are not known."""
        return list(_first(args, kwargs) or ()) if self.about is _of_nodes else []


class _ReportOfResult(_Report):
    def ids(self, args: Any, kwargs: Any, result: Any) -> list[str] | None:
        return _of_nodes(result)

    def nodes(self, args: Any, kwargs: Any, result: Any) -> list[Any]:
        return list(result or ())


def _first(args: Any, kwargs: Any) -> Any:
    named = [value for name, value in kwargs.items() if name in _FIRST]
    return args[0] if args else named[0] if named else None


_FIRST = frozenset("nodes node_ids ref_doc_id doc_id document documents embedding_results".split())
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
_PIPELINE = _both({"run": _ReportOfResult()})

# What a class has from LlamaIndex's base class does its work through others that report.
_INDEX_FUNNELS = {
    name: getattr(BaseIndex, name)
    for name in _both(dict.fromkeys(("insert", "update_ref_doc", "refresh_ref_docs"), _ADDED))
}
_STORE_FUNNELS = {
    name: getattr(BasePydanticVectorStore, name) for name in ("async_add", "adelete", "adelete_nodes", "aclear")
}
