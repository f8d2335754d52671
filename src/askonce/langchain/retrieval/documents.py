"""Documents as bytes, and the ids by which somebody may announce that they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from langchain_core.documents import Document

from askonce.entries.values import revived, tagged
from askonce.retrieval.cached_retrieval import NotPlain
from askonce.retrieval.encoded import EncodedDocument

_ID_KEYS = ("id", "doc_id", "_id", "pk")
"""Where stores and applications leave a document's id in its metadata."""


class _StoredDocument(msgspec.Struct, array_like=True, frozen=True):
    page_content: str
    metadata: Any
    id: str | None = None
    state: Any = None  # what LangChain's filters by embeddings leave with a document


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_StoredDocument], ext_hook=revived).decode


def encoded(document: Document) -> EncodedDocument:
    """A document as bytes.

    Raises:
        NotPlain: it is of another class, or its metadata holds what would not come back as it is.
    """
    try:
        content = _encode(_stored(document))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise NotPlain(str(error)) from error
    return EncodedDocument(b"", content, b"", ids_of([document]))


def unpack(payload: bytes) -> list[Document]:
    """New documents, equal to those encoded.

    Raises:
        Exception: the payload is not of documents.
    """
    return [_document(one) for one in _decode(payload)]


def ids_of(documents: Sequence[Document]) -> tuple[str, ...]:
    """The ids of documents, each once: their own, and those in their metadata.

    Qdrant has its own id there under ``_id``, and Milvus under ``pk``; applications put theirs under ``id`` or
    ``doc_id``.
    """
    return tuple(dict.fromkeys(one for document in documents for one in _ids(document)))


def id_field(store: object) -> str | None:
    """Where in the metadata a vector store leaves the id under which it would delete a document.

    Another store's documents may have been copied with their metadata, so that it says nothing elsewhere.
    """
    if any(base.__module__.partition(".")[0] == "langchain_qdrant" for base in type(store).__mro__):
        return "_id"
    field = getattr(store, "_primary_field", None)  # Milvus
    return field if field in _ID_KEYS else None


def has_own_id(document: Document, field: str | None) -> bool:
    """Whether a document shows the id under which its store would delete it; ``field``: of `id_field`."""
    return bool(document.id) or field in document.metadata


def _ids(document: Document) -> list[str]:
    ids, metadata = [document.id] if document.id else [], document.metadata
    for key in _ID_KEYS:
        if key in metadata:
            value = metadata[key]
            if isinstance(value, (str, int)) and value != "":
                ids.append(str(value))
    return ids


def _stored(document: Document) -> _StoredDocument:
    state = None
    if type(document) is not Document:
        if type(document).__name__ != "_DocumentWithState" or type(document) is not _stateful():
            raise TypeError(f"a {type(document).__qualname__} is no plain Document")
        state = tagged(vars(document)["state"], "state")
    return _StoredDocument(document.page_content, tagged(document.metadata, "metadata"), document.id, state)


def _document(stored: _StoredDocument) -> Document:
    if stored.state is None:
        return Document(page_content=stored.page_content, metadata=stored.metadata, id=stored.id)
    document: Document = _stateful()(
        page_content=stored.page_content, metadata=stored.metadata, id=stored.id, state=stored.state
    )
    return document


def _stateful() -> Any:
    from langchain_community.document_transformers.embeddings_redundant_filter import (
        _DocumentWithState,
    )

    return _DocumentWithState
