"""What a retriever found, as bytes, in which each document can be cut out: it is stored once for all questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from askonce.entries.entry import Slice

APART_FROM_BYTES = 512
"""A shorter document stays in each result that holds it: a reference and an entry of its own take as many bytes."""


class EncodedDocument(NamedTuple):
    """A document of a result, in MessagePack.

    Attributes:
        begin: what is before its content.
        content: what is the same in all results that hold the document.
        end: what only this result says of it, such as a score.
        ids: every id by which a change of it may be announced.
    """

    begin: bytes
    content: bytes
    end: bytes
    ids: tuple[str, ...]

    @property
    def whole(self) -> bytes:
        """All of it."""
        return self.begin + self.content + self.end


def payload_of(documents: Sequence[EncodedDocument]) -> bytes:
    """All documents as one list in MessagePack."""
    return msgspec.msgpack.encode([msgspec.Raw(one.whole) for one in documents])


def slices_of(documents: Sequence[EncodedDocument], payload: bytes) -> Iterable[Slice]:
    """Where the contents are, in what `payload_of` made of the documents, that are to be stored apart."""
    at = len(payload) - sum(len(one.whole) for one in documents)
    for one in documents:
        begin = at + len(one.begin)
        if len(one.content) >= APART_FROM_BYTES:
            yield Slice(begin, begin + len(one.content), one.ids)
        at += len(one.whole)
