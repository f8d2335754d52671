"""Sources, written short."""

from askonce.entries.entry import Source


def whole(position: int, *ids: str) -> Source:
    return Source("c", position, ids, whole=True)


def part(position: int, *ids: str) -> Source:
    return Source("c", position, ids)
