"""`AskOnceKVStore`: a LlamaIndex key-value store over the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Unpack

import msgspec
from llama_index.core.storage.kvstore.types import DEFAULT_BATCH_SIZE, DEFAULT_COLLECTION, BaseKVStore

from askonce.cache import Cache, shared_cache
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Entry, Hit, Miss
from askonce.keys.normal_form import NormalForm
from askonce.stores import Client, Store


class _StoredValue(msgspec.Struct, array_like=True, tag="askonce kv"):
    """A value with its key; tagged, so that a scan distinguishes it from other entries."""

    collection: str
    key: str
    value: str


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_StoredValue)


class AskOnceKVStore(BaseKVStore):
    """A key-value store for an embedding model's ``embeddings_cache=…`` and wherever else LlamaIndex takes one.

    Values expire and are evicted as the cache's settings say, and while the store is down there are none. So do not
    use it for a docstore or an index store. Threads, tasks and processes may share it.

    In ``embeddings_cache`` LlamaIndex uses the text alone as the key, without the model and without whether it is a
    query; ``cached(embed_model)`` stores these apart. In LlamaIndex's own ``IngestionCache`` documents of one text
    get each other's nodes; in `askonce.llama_index.IngestionCache` they do not.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Raises:
        ConfigError: as `Cache` does.
    """

    def __init__(self, store: str | Store | Client | Cache | None = None, **settings: Unpack[Settings]) -> None:
        self.cache = shared_cache(store, settings)

    def __reduce__(self) -> Any:
        return type(self), (self.cache,)

    # -- one value ---------------------------------------------------------------------------------------------

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Store a value.

        Raises:
            TypeError: it is not plain JSON.
        """
        self.cache.engine.store_many(*self._pack([(key, val)], collection))

    async def aput(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Asynchronous `put`."""
        await self.cache.engine.astore_many(*self._pack([(key, val)], collection))

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """The value under a key, as a new map, or ``None``."""
        return self.get_many([key], collection)[0]

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """Asynchronous `get`."""
        return (await self.aget_many([key], collection))[0]

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Delete a value; returns whether there was one.

        Raises:
            StoreError: the store failed, so the value may still be there.
        """
        request = self._request(key, collection)
        return request is not None and self.cache.engine.delete(request)

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Asynchronous `delete`."""
        request = self._request(key, collection)
        return request is not None and await self.cache.engine.adelete(request)

    # -- many --------------------------------------------------------------------------------------------------

    def get_many(self, keys: Sequence[str], collection: str = DEFAULT_COLLECTION) -> list[dict[str, Any] | None]:
        """The values under keys, in their order, in one round trip."""
        requests = [self._request(key, collection) for key in keys]
        found = iter(self.cache.engine.lookup_many([request for request in requests if request is not None]))
        return [None if request is None else _value(next(found)) for request in requests]

    async def aget_many(
        self, keys: Sequence[str], collection: str = DEFAULT_COLLECTION
    ) -> list[dict[str, Any] | None]:
        """Asynchronous `get_many`."""
        requests = [self._request(key, collection) for key in keys]
        found = iter(await self.cache.engine.alookup_many([request for request in requests if request is not None]))
        return [None if request is None else _value(next(found)) for request in requests]

    def put_all(
        self,
        kv_pairs: list[tuple[str, dict[str, Any]]],
        collection: str = DEFAULT_COLLECTION,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        """Store values, ``batch_size`` of them in one round trip."""
        for start in range(0, len(kv_pairs), batch_size):
            self.cache.engine.store_many(*self._pack(kv_pairs[start : start + batch_size], collection))

    async def aput_all(
        self,
        kv_pairs: list[tuple[str, dict[str, Any]]],
        collection: str = DEFAULT_COLLECTION,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        """Asynchronous `put_all`."""
        for start in range(0, len(kv_pairs), batch_size):
            await self.cache.engine.astore_many(*self._pack(kv_pairs[start : start + batch_size], collection))

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """All values of a collection by their keys. Reads the whole namespace.

        Raises:
            StoreError: the store failed.
        """
        stored = (_stored(entry) for entry in self.cache.entries())
        return {one.key: json.loads(one.value) for one in stored if one and one.collection == collection}

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """Asynchronous `get_all`."""
        stored = [_stored(entry) async for entry in self.cache.aentries()]
        return {one.key: json.loads(one.value) for one in stored if one and one.collection == collection}

    # -- names and bytes ---------------------------------------------------------------------------------------

    def _request(self, key: str, collection: str) -> Request | None:
        # As they are, not as text that is read: keys which differ in anything are different.
        return self.cache.engine.request(
            "node",
            lambda: NormalForm({"kind": "kv", "collection": collection, "key": key}),
            unpack=_unpack,
            from_sources=False,
        )

    def _pack(
        self, pairs: Sequence[tuple[str, dict[str, Any]]], collection: str
    ) -> tuple[list[Request], list[Answer], float]:
        requests, answers = [], []
        for key, value in pairs:
            payload = _encoder.encode(_StoredValue(collection, key, json.dumps(value)))
            request = self._request(key, collection)
            if request is not None:
                requests.append(request)
                answers.append(Answer(payload, values=(value,)))
        return requests, answers, 0.0  # how long the making took is not known here


def _stored(entry: Entry) -> _StoredValue | None:
    try:
        return _decoder.decode(entry.payload)
    except msgspec.MsgspecError:
        return None  # of something else in the same namespace


def _unpack(payload: bytes) -> dict[str, Any]:
    value = json.loads(_decoder.decode(payload).value)
    if not isinstance(value, dict):
        raise ValueError("no map")
    return value


def _value(found: Hit | Miss) -> dict[str, Any] | None:
    return found.value if isinstance(found, Hit) else None
