"""Documents that a process holds in its own memory, and their version."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import BaseComponent, BaseNode
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.core.storage.kvstore.simple_kvstore import SimpleKVStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore

from askonce.entries.values import tagged
from askonce.keys.fields import members_of
from askonce.keys.normal_form import Uncacheable
from askonce.retrieval.cached_retrieval import NotPlain
from askonce.retrieval.places import without_places
from askonce.retrieval.versions import IndexContent, digest_of, faiss_rows, held_in, version_of, written


def memory_version(store: Any) -> str | None:
    """The version of what a vector store or a document store holds in memory; ``None`` if it holds nothing there.

    Raises:
        Uncacheable: it cannot be distinguished from others.
    """
    held = _held(store)
    return None if held is None else version_of(store, held.items, lambda: digest_of(held.rows()))


def memory_written(changing: Any) -> None:
    """Record that an index, a store or a pipeline was written to, and that its corpus has recorded it."""
    for part in (changing, *(getattr(changing, name, None) for name in ("vector_store", "docstore"))):
        held = _held(part)
        if held is not None:
            written(part, held.items)


def is_own(store: Any) -> bool:
    """Whether a store's class is none of LlamaIndex's packages."""
    return type(store).__module__.partition(".")[0] != "llama_index"


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
    """What is in a store, with the ids, since other parts of the program look nodes up by them."""
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
            [None] * index.ntotal, lambda: map(_encoded, faiss_rows(index, {at: at for at in range(index.ntotal)}))
        )
    if isinstance(part, BasePydanticVectorStore) and is_own(part):
        held = held_in(without_places(members_of(part), (BaseComponent, BaseIndex)))
        return None if held is None else IndexContent(held.items, lambda: map(_row, held.rows()))
    return None
