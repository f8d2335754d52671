"""Where the clients of vector databases search; of what is in memory the object counts, which is nowhere else."""

from __future__ import annotations

from typing import Any

from askonce.keys import databases
from askonce.keys.databases import InMemory, Place
from askonce.retrieval.versions import instance


def place_of(client: object) -> Place | None:
    """Where a client, a collection, an index or an engine searches; ``None`` if that is not known."""
    place = databases.place_of(client)
    return None if place is None else _named(place)


def _named(place: Any) -> Any:
    if isinstance(place, InMemory):
        return instance(place.part)
    if isinstance(place, dict):
        return {name: _named(one) for name, one in place.items()}
    return [_named(one) for one in place] if type(place) is list else place
