"""Documents and graphs that a process holds in its own memory, and their version."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec
from llama_index.core.data_structs.data_structs import IndexStruct
from llama_index.core.graph_stores import SimpleGraphStore, SimplePropertyGraphStore
from llama_index.core.graph_stores.types import GraphStore, PropertyGraphStore
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import BaseComponent, BaseNode
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.core.storage.docstore.types import BaseDocumentStore
from llama_index.core.storage.kvstore.simple_kvstore import SimpleKVStore
from llama_index.core.storage.kvstore.types import BaseKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from askonce.entries.values import tagged
from askonce.keys.fields import members_of
from askonce.keys.normal_form import Uncacheable
from askonce.retrieval.cached_retrieval import NotPlain
from askonce.retrieval.places import without_places
from askonce.retrieval.versions import (
    IndexContent,
    digest_of,
    faiss_rows,
    faiss_settings,
    held_in,
    version_of,
    written,
)

INDEX_PARTS = tuple(
    "docstore index_struct vector_store image_vector_store graph_store property_graph_store".split()
)
"""Where an index has what is found in it."""

_STORES = (BasePydanticVectorStore, BaseDocumentStore, BaseKVStore, PropertyGraphStore)


def is_store(part: Any) -> bool:
    """Whether it is a store of vectors, documents, values or a graph."""
    return isinstance(part, _STORES) or GraphStore in type(part).__mro__  # a protocol, slow to compare with


def memory_version(store: Any) -> str | None:
    """The version of what a store, or the structure of an index, holds in memory; ``None`` if nothing is there.

    Raises:
        Uncacheable: it cannot be distinguished from others.
    """
    held = _held(store)
    return None if held is None else version_of(store, held.items, lambda: digest_of(held.rows()))


def memory_written(changing: Any) -> None:
    """Record that an index, a store or a pipeline was written to, and that its corpus has recorded it."""
    for part in (changing, *(getattr(changing, name, None) for name in INDEX_PARTS)):
        held = _held(part)
        if held is not None and held.items:  # of an index over a server these are empty, and all alike
            written(part, held.items)


def is_own(store: Any) -> bool:
    """Whether a store's class is none of LlamaIndex's packages."""
    return type(store).__module__.partition(".")[0] != "llama_index"


def is_known(store: Any) -> bool:
    """Whether a store holds its documents in memory where LlamaIndex's own class has them."""
    return _held_by_kind(store) is not None


def _row(row: Any) -> bytes:
    path, item = row
    if isinstance(item, BaseNode):
        item = item.node_id, item.hash
    try:
        return msgspec.msgpack.encode((path, tagged(item, "document")))
    except (NotPlain, TypeError, ValueError, RecursionError) as error:
        raise Uncacheable(str(error)) from error


def _encoded(row: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(row, enc_hook=repr, order="sorted")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Uncacheable(str(error)) from error


def _held(part: Any) -> IndexContent | None:
    """What is in a store; of an application's own, also what it holds beside what its base class does."""
    derived = _held_by_kind(part)
    if not is_own(part) or not is_store(part):
        return derived
    held = held_in(without_places(members_of(part), (BaseComponent, BaseIndex, *_STORES)))
    if held is None:
        return derived
    own = IndexContent(held.items, lambda: map(_row, held.rows()))
    if derived is None:
        return own
    return IndexContent([*derived.items, *own.items], lambda: chain(derived.rows(), own.rows()))


def _held_by_kind(part: Any) -> IndexContent | None:
    """With the ids, since other parts of the program look nodes up by them."""
    if isinstance(part, SimpleVectorStore):
        vectors = part.data.embedding_dict
        return IndexContent(
            list(vectors.values()), lambda: (_encoded((one, array("d", vectors[one]).tobytes())) for one in vectors)
        )
    if isinstance(part, KVDocumentStore) and isinstance(part._kvstore, SimpleKVStore):
        nodes = part._kvstore._collections_mappings.get(part._node_collection, {})
        return IndexContent(list(nodes.values()), lambda: map(_encoded, nodes.items()))
    if any(cls.__name__ == "FaissVectorStore" for cls in type(part).__mro__):  # its documents are in the docstore
        index = part._faiss_index
        return IndexContent(
            [faiss_settings(index), *[None] * index.ntotal],
            lambda: map(_encoded, faiss_rows(index, {at: at for at in range(index.ntotal)})),
        )
    if isinstance(part, SimplePropertyGraphStore):
        return _property_graph(part.graph)
    if isinstance(part, SimpleGraphStore):
        held = part._data.graph_dict
        return IndexContent([*held, *chain.from_iterable(held.values())], lambda: map(_encoded, held.items()))
    if isinstance(part, IndexStruct):
        return _structure(part)
    return None


def _property_graph(graph: Any) -> IndexContent:
    def rows() -> Iterator[bytes]:
        for parts in (graph.nodes, graph.relations):
            yield from (_encoded((one, type(part).__name__, part.model_dump())) for one, part in parts.items())
        yield from map(_encoded, graph.triplets)

    return IndexContent([*graph.nodes.values(), *graph.relations.values(), *graph.triplets], rows)


def _structure(structure: IndexStruct) -> IndexContent:
    """How an index has its nodes: their order, the keywords, the tree; not its id, which is random.

    A list within grows, shrinks, or has another node in place of one, which then is another in the document store.
    """
    held = {name: one for name, one in vars(structure).items() if isinstance(one, (Mapping, list, set))}
    items: list[Any] = []
    for one in held.values():
        values = [*(one.values() if isinstance(one, Mapping) else one)]
        items += values
        items += map(len, values) if values and isinstance(values[0], (list, set)) else ()
    return IndexContent(
        items,
        lambda: (
            _encoded((name, *row))
            for name, one in held.items()
            for row in (one.items() if isinstance(one, Mapping) else enumerate(one))
        ),
    )
