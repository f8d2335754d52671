"""Documents as bytes, and back.

Nodes are rebuilt by pydantic's validation, only of LlamaIndex's own classes. Metadata comes back with its own
types; all else must come back equal from plain data, or is not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)

from askonce.entries.values import revived, tagged
from askonce.llama_index.models import answers
from askonce.retrieval.cached_retrieval import NotPlain
from askonce.retrieval.encoded import EncodedDocument, payload_of

_TYPES: dict[str, Any] = {
    cls.__name__: cls for cls in (TextNode, Node, ImageNode, IndexNode, Document, ImageDocument)
}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[tuple[str, dict[str, Any]], float | None]], ext_hook=revived)
_PAIR = b"\x92"
"""Begins a list of two in MessagePack: a node and its score."""


def encoded(found: NodeWithScore) -> EncodedDocument:
    """A node with its score as bytes.

    Raises:
        NotPlain: it would not come back as it is; the message says why.
    """
    if type(found) is not NodeWithScore:
        raise NotPlain(f"a {type(found).__qualname__}")
    content = content_of(found.node)
    end = _encoder.encode(None if found.score is None else float(found.score))
    document = EncodedDocument(_PAIR, content, end, ids_of([found]))
    [after] = unpack(payload_of([document]))
    if found.score != after.score or _bare(found.node) != _bare(after.node):
        raise NotPlain(f"a {type(found.node).__name__} that does not come back equal from plain data")
    return document


def unpack(payload: bytes) -> list[NodeWithScore]:
    """What was found, in new objects.

    Raises:
        Exception: the payload is not of nodes.
    """
    found = []
    for (name, data), score in _decoder.decode(payload):
        node = _TYPES[name].from_dict(data)
        node.get_content(MetadataMode.ALL)  # what cannot be shown cannot be used
        found.append(NodeWithScore(node=node, score=score))
    return found


def ids_of(nodes: Sequence[NodeWithScore]) -> tuple[str, ...]:
    """Every id by which a change of the documents may be reported: of the nodes, and of what they are from."""
    ids = (one for found in nodes for one in (found.node.node_id, found.node.ref_doc_id))
    return tuple(dict.fromkeys(one for one in ids if one))


def content_of(node: BaseNode) -> bytes:
    """All that a node holds, as bytes.

    Raises:
        NotPlain: it is of another class than LlamaIndex's, or holds what cannot be written.
    """
    return _encoder.encode((type(node).__name__, _data(node)))


def _data(node: BaseNode) -> dict[str, Any]:
    if _TYPES.get(type(node).__name__) is not type(node):
        raise NotPlain(f"a node of class {type(node).__qualname__}")
    try:
        return {
            **answers.plain_data(_bare(node).to_dict()),
            "metadata": tagged(node.metadata, "metadata"),
            "relationships": {
                kind.value: [_related(one) for one in infos] if isinstance(infos, list) else _related(infos)
                for kind, infos in node.relationships.items()
            },
        }
    except answers.NotStorable:
        raise NotPlain(f"a {type(node).__name__} that holds more than plain data") from None
    except ValueError as error:  # an IndexNode whose object LlamaIndex cannot write
        raise NotPlain(f"an {type(node).__name__}: {error}") from error
    except (TypeError, RecursionError) as error:
        raise NotPlain(str(error)) from error


def _related(info: RelatedNodeInfo) -> dict[str, Any]:
    plain: dict[str, Any] = answers.plain_data(info.model_copy(update={"metadata": {}}).to_dict())
    return {**plain, "metadata": tagged(info.metadata, "metadata")}


def _bare(node: BaseNode) -> BaseNode:
    """A node without what is written, and so comes back, with its own types."""
    return node.model_copy(update={"metadata": {}, "relationships": {}})
