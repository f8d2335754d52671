"""Documents as bytes, and back: MessagePack of plain data.

Nodes are rebuilt by pydantic's validation, only of LlamaIndex's own classes. They are only stored if they come back
equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from llama_index.core.schema import (
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    Node,
    NodeWithScore,
    TextNode,
)

from askonce.llama_index.models import answers
from askonce.retrieval.cached_retrieval import NotPlain

_TYPES: dict[str, Any] = {
    cls.__name__: cls for cls in (TextNode, Node, ImageNode, IndexNode, Document, ImageDocument)
}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[str, dict[str, Any], float | None]])


def pack(nodes: Sequence[NodeWithScore]) -> bytes:
    """The bytes of what was found.

    Raises:
        NotPlain: it would not come back as it is; the message says why.
    """
    payload = _encoder.encode([_plain(one) for one in nodes])
    for before, after in zip(nodes, unpack(payload), strict=True):
        if before != after:
            raise NotPlain(f"a {type(before.node).__name__} that does not come back equal from plain data")
    return payload


def unpack(payload: bytes) -> list[NodeWithScore]:
    """What was found, in new objects.

    Raises:
        Exception: the bytes are not from `pack`.
    """
    found = []
    for name, data, score in _decoder.decode(payload):
        found.append(NodeWithScore(node=_TYPES[name].from_dict(data), score=score))
    return found


def ids_of(nodes: Sequence[NodeWithScore]) -> tuple[str, ...]:
    """Every id by which a change of the documents may be reported: of the nodes, and of what they are from."""
    ids = (one for found in nodes for one in (found.node.node_id, found.node.ref_doc_id))
    return tuple(dict.fromkeys(one for one in ids if one))


def _plain(found: NodeWithScore) -> tuple[str, dict[str, Any], float | None]:
    node = found.node
    if type(found) is not NodeWithScore or _TYPES.get(type(node).__name__) is not type(node):
        raise NotPlain(f"a node of class {type(node).__qualname__}")
    try:
        data = answers.plain_data(node.to_dict())
    except answers.NotPlain:
        raise NotPlain(f"a {type(node).__name__} that holds more than plain data") from None
    except ValueError as error:  # an IndexNode whose object LlamaIndex cannot write
        raise NotPlain(f"an {type(node).__name__}: {error}") from error
    return type(node).__name__, data, None if found.score is None else float(found.score)
