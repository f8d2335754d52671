"""Whether a server lets its user do all that a cache needs: each operation once, in a namespace that is erased."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from askonce.errors import ConfigError, StoreError, StoreUnavailable
from askonce.eviction.policy import Budget
from askonce.stores.base import Record, Store, VectorSearch

_KEYS, _TAG, _OWNER, _PARTITION = [b"1", b"2", b"3"], "tag", "doctor", b"p"
_VECTOR = b"\0\0\x80?\0\0\0\0"
_SECONDS = 60.0


def failures(store: Store, namespace: str) -> Iterator[str]:
    """What the store cannot do: the operation, and what the server says.

    Args:
        store: which.
        namespace: one that is for this alone; its records and its log are deleted.
    """
    yield from _failing(store, _operations(store, namespace))


def vector_failures(store: Store, namespace: str) -> Iterator[str]:
    """As `failures`, of vector search; none where the server has no vector search at all."""
    if not isinstance(store, VectorSearch):
        return
    try:
        yield from _failing(store, {"vector_check": store.vector_check})
    except ConfigError:
        return
    yield from _failing(store, _vector_operations(store, namespace))


def _failing(store: Store, operations: dict[str, Callable[[], Any]]) -> Iterator[str]:
    for name, operation in operations.items():
        try:
            operation()
        except StoreUnavailable:
            pass  # it is down, or a replica: no right is missing
        except StoreError as error:
            yield f"{name}: {_words(store, error)}"


def _words(store: Store, error: StoreError) -> str:
    return str(error).removeprefix(f"{store.url}: ")


def _operations(store: Store, space: str) -> dict[str, Callable[[], Any]]:
    """Each in a state in which it sends all that it ever does: what is deleted is there."""
    ends_at = time.time() + _SECONDS
    records = [Record(key, b"value", ends_at, tags=(_TAG,)) for key in _KEYS]
    budget = Budget(max_entries=len(_KEYS))
    return {
        "put": lambda: store.put(space, records, budget),
        "get": lambda: (store.get(space, _KEYS[0]), store.get_many(space, _KEYS)),
        "scan": lambda: (list(store.scan(space)), store.page(space), store.size(space)),
        "namespaces": store.namespaces,
        "touch": lambda: store.touch(space, {_KEYS[0]: 1}),
        "evict": lambda: store.evict(space, Budget(max_entries=2)),
        "delete": lambda: store.delete(space, _KEYS[:1]),
        "delete_tag": lambda: store.delete_tag(space, _TAG),
        "lease": lambda: store.lease(space, _KEYS[0], _OWNER, _SECONDS),
        "release": lambda: store.release(space, _KEYS[0], _OWNER),
        "log_append": lambda: [store.log_append(space, b"event") for _ in range(2)],
        "log_read": lambda: store.log_read(space, 0),
        "clear": lambda: store.clear(space),
        "erase": lambda: store.erase({space: None}),
    }


def _vector_operations(store: Any, space: str) -> dict[str, Callable[[], Any]]:
    ends_at = time.time() + _SECONDS
    return {
        "vector_put": lambda: [
            store.vector_put(space, _PARTITION, _KEYS[0], _VECTOR, one) for one in (None, ends_at)
        ],
        "vector_search": lambda: store.vector_search(space, _PARTITION, _VECTOR, 1),
        "vector_delete": lambda: store.vector_delete(space, _PARTITION, _KEYS[:1]),
        "erase": lambda: store.erase({space: None}),
    }
