"""Sources and documents, written short."""

from askonce.entries.entry import Source
from askonce.provenance.retrieved import RetrievedDocument


def whole(position: int, *ids: str) -> Source:
    return Source("c", position, ids, whole=True)


def part(position: int, *ids: str) -> Source:
    return Source("c", position, ids)


def found(text: str, *ids: str, position: int = 1, scope: bytes | None = None) -> RetrievedDocument:
    return RetrievedDocument("c", position, ids, text, text, scope)
