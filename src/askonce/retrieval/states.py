"""What a vector store holds, by a short look at it: whether somebody wrote past `watch` shows in that.

``Chroma.from_documents(…)`` and the like write before there is an object to watch. So the state of a store is read
when it is watched or its retriever is cached, and compared with the last one in the change log of its corpus.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from askonce.keys.fields import members_of
from askonce.keys.normal_form import encode, plain
from askonce.retrieval.clients import place_of
from askonce.retrieval.versions import digest_of

logger = logging.getLogger("askonce")

States = dict[bytes, bytes]
"""The state of each collection, by its place; 16 bytes each."""

_MOST = 1000
"""Of a larger collection only these documents are read, and how many there are."""
_SEEN = "_askonce_seen"
_WARNED = "_askonce_warned"


def shows_state(part: object) -> bool:
    """Whether a client, which is no store of a framework's, shows by itself what is in its collection."""
    return any((cls.__module__.partition(".")[0], cls.__name__) in _OF_ONE_COLLECTION for cls in type(part).__mro__)


def states_of(stores: Iterable[object]) -> States:
    """The states of the collections behind stores; none of those that do not show it at little cost."""
    return {place: state for one in stores for place, state in (read_states(one) or {}).items()}


def read_states(store: object) -> States | None:
    """As `states_of`; ``None`` if a collection cannot be read now, as while its server is down."""
    states: States | None = {}
    members = members_of(store)
    for part in (store,) if shows_state(store) else members.values():
        for cls in type(part).__mro__:
            reader = _READERS.get((cls.__module__.partition(".")[0], cls.__name__))
            if reader is None:
                continue
            if reader is _qdrant and not members.get("collection_name"):
                break  # an own store, which has the name elsewhere
            try:
                place, state = reader(part, members.get("collection_name"))
            except Exception as error:  # a server that is down
                _warn_once(store, error)
                states = None
            else:
                if states is not None:
                    states[_digest(encode(plain(place)))] = _digest(state)
            break
    return states


def _warn_once(store: object, error: Exception) -> None:
    with contextlib.suppress(TypeError):
        if vars(store).setdefault(_WARNED, error) is not error:
            return
    logger.warning(
        "askonce: what a %s holds cannot be read now, so that changes since the last run are not seen until its"
        " next watched write, or until it is watched or its retriever cached again: %s",
        type(store).__name__,
        error,
    )


def unseen(stores: Iterable[object], corpus: str) -> list[object]:
    """Those of some stores whose state was not yet compared with the log of a corpus in this process."""
    return [one for one in stores if corpus not in getattr(one, "__dict__", {}).get(_SEEN, ())]


def seen(stores: Iterable[object], corpus: str) -> None:
    """Record that the state of stores was compared with the log of a corpus."""
    for one in stores:
        with contextlib.suppress(TypeError):
            known = vars(one).get(_SEEN, frozenset())
            vars(one)[_SEEN] = known | {corpus}


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]


def _of(count: object, rows: Iterator[Any]) -> bytes:
    """A state; of rows in any order."""
    return (
        f"{count} {digest_of(msgspec.msgpack.encode(row, enc_hook=str, order='sorted') for row in rows)}".encode()
    )


def _chroma(collection: Any, _: str | None) -> tuple[Any, bytes]:
    page = collection.get(limit=_MOST, include=["documents", "metadatas"])
    rows = zip(page["ids"], page["documents"], page["metadatas"], strict=True)
    return place_of(collection), _of(collection.count(), rows)


def _qdrant(client: Any, collection: str | None) -> tuple[Any, bytes]:
    if not client.collection_exists(collection):
        return [place_of(client), collection], b""
    page, _ = client.scroll(collection, limit=_MOST, with_payload=True)
    rows = ((one.id, one.payload) for one in page)
    return [place_of(client), collection], _of(client.count(collection).count, rows)


def _lance(table: Any, _: str | None) -> tuple[Any, bytes]:
    now = table._conn.open_table(table.name)  # a table stays at the version that it was opened at
    rows = (one.serialize().to_pybytes() for one in now.head(_MOST).to_batches())
    return place_of(table), _of((now.version, now.count_rows()), rows)


_READERS: dict[tuple[str, str], Callable[[Any, str | None], tuple[Any, bytes]]] = {
    ("chromadb", "Collection"): _chroma,
    ("qdrant_client", "QdrantClient"): _qdrant,
    ("lancedb", "LanceTable"): _lance,
}
_OF_ONE_COLLECTION = _READERS.keys() - {("qdrant_client", "QdrantClient")}
