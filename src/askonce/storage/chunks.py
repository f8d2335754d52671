"""Parts of payloads that many entries hold, such as a document that many questions find: each is stored once.

A chunk is an entry of its own in the same namespace, under the digest of its content; what holds it refers to it.
One that is missing (evicted, expired, deleted with its document) makes all that refer to it misses. One that was
stored again later has another version, so that what was invalidated stays so.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from askonce.concurrency.drivers import SyncDriver
from askonce.entries.codec import Codec
from askonce.entries.entry import Chunk, Entry, Miss, Place, Slice, tags_of
from askonce.errors import CodecError
from askonce.eviction.policy import Budget
from askonce.storage.entries import EntryStorage, cost_of
from askonce.storage.freshness import Freshness
from askonce.storage.pieces import by_part
from askonce.stores.base import LARGEST_VALUE_BYTES, LogPage, Record
from askonce.stores.circuit_breaker import StoreDown

_VERSION = 6
"""A chunk's payload begins with so many random bytes."""
_MOST_DECODED, _LARGEST_DECODED_BYTES = 2000, 8000
_MOST_TAGS = 32
"""A chunk that would have more is stored anew, so that what refers to it until then becomes a miss."""
_NIL = msgspec.msgpack.encode(None)
_LONGER = 1.25
"""A chunk lives so much longer than what refers to it, so that not every further reference writes it anew."""


class Apart(NamedTuple):
    """An entry whose chunks are stored apart.

    Attributes:
        entry: what is left of it.
        size_bytes: how many bytes the chunks take.
        evicted: how many entries were evicted for them.
        tags: of the documents in the chunks.
    """

    entry: Entry
    size_bytes: int = 0
    evicted: int = 0
    tags: tuple[str, ...] = ()


class ChunkStorage:
    """Stores and reads the chunks of entries.

    Args:
        storage: stores entries.
        codec: encodes and decodes them.
        freshness: how long they live.
        budget: what a namespace may hold.
    """

    def __init__(self, storage: EntryStorage, codec: Codec, freshness: Freshness, budget: Budget) -> None:
        self._storage, self._codec, self._freshness, self._budget = storage, codec, freshness, budget
        self._decoder = _Decoder(codec)

    # -- storing ---------------------------------------------------------------------------------------------------

    async def put(self, driver: SyncDriver, namespace: str, entry: Entry, slices: Sequence[Slice]) -> Apart:
        """Store those chunks of an entry that are not there yet.

        Args:
            driver: of the caller.
            namespace: of the entry.
            entry: with its whole payload.
            slices: where in it the chunks are.

        Returns:
            the entry with references in their place; as it is, if they are too large together.
        """
        pieces = [entry.payload[one.begin : one.end] for one in slices]
        digests = [self._codec.digest(piece, namespace) for piece in pieces]
        stored = await self._stored(driver, namespace, list(dict.fromkeys(digests)))
        fresh: dict[bytes, tuple[Entry, bytes]] = {}
        versions: dict[bytes, bytes] = {}
        sizes: dict[bytes, int] = {}
        for digest, piece, one in zip(digests, pieces, slices, strict=True):
            held, size = stored.get(digest, (None, 0))
            if held is not None and len({*held.tags, *_tags(entry, one.ids)}) > _MOST_TAGS:
                held = None
            version = versions.setdefault(digest, os.urandom(_VERSION) if held is None else held.payload[:_VERSION])
            if held is None or not _serves(held, entry, one.ids):
                chunk = _chunk(entry, version + piece, one.ids, held)
                value = self._codec.encode(chunk, bound_to=Place(namespace, digest).bound_to)
                fresh[digest], size = (chunk, value), len(value)
            sizes[digest] = size
        size_bytes = sum(sizes.values())
        if size_bytes > LARGEST_VALUE_BYTES or not self._budget.admits(size_bytes):
            return Apart(entry)  # no result is larger than an entry may be
        weight = self._budget.policy.weight(cost=cost_of(entry), size_bytes=size_bytes)
        records = [self._record(digest, *one, weight) for digest, one in fresh.items()]
        reused = {digest: 1 for digest in versions if digest not in fresh}
        evicted = 0
        with contextlib.suppress(StoreDown):
            if reused and self._budget.is_limited:  # as requested now as the entry is
                await driver.call("touch", namespace, reused, self._budget.policy)
            if records:
                results = await self._storage.put_records(driver, namespace, records)
                evicted = sum(one for one in results if isinstance(one, int))
        tags = tags_of(dict.fromkeys(one for part in slices for one in part.ids))
        return Apart(_referring(entry, slices, digests, versions), size_bytes, evicted, tags)

    async def _stored(
        self, driver: SyncDriver, namespace: str, digests: Sequence[bytes]
    ) -> dict[bytes, tuple[Entry, int]]:
        """The chunks that are in the store and can be read, and how many bytes they take."""
        found = {}
        for positions in by_part(digests, partial(driver.part, namespace)).values():
            some = [digests[at] for at in positions]
            with contextlib.suppress(StoreDown):
                for digest, value in zip(some, await driver.call("get_many", namespace, some), strict=True):
                    with contextlib.suppress(CodecError):
                        if value is not None:
                            bound_to = Place(namespace, digest).bound_to
                            found[digest] = self._codec.decode(value, bound_to=bound_to), len(value)
        return found

    def _record(self, digest: bytes, chunk: Entry, value: bytes, weight: float) -> Record:
        expires_at = self._freshness.expires_at(chunk.fresh_until)
        return Record(digest, value, expires_at, weight, chunk.tags)

    # -- reading ---------------------------------------------------------------------------------------------------

    def reader(self, driver: SyncDriver, namespace: str, entry: Entry) -> ChunkReader:
        """What reads the chunks of an entry."""
        return ChunkReader(self._decoder, driver, namespace, entry)


class _Decoder:
    """Decodes chunks; what was decoded lately is decoded no more, as long as the store returns the same bytes.

    Args:
        codec: decodes entries.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._decoded: dict[bytes, tuple[bytes, bytes]] = {}  # without a lock, which a fork could leave locked

    def payload(self, digest: bytes, namespace: bytes, value: bytes) -> bytes:
        """The payload of a chunk.

        Raises:
            CodecError: it cannot be read.
        """
        decoded = self._decoded.get(digest)
        if decoded is not None and decoded[0] == value:
            return decoded[1]
        payload = self._codec.decode(value, bound_to=digest + namespace).payload
        if len(payload) <= _LARGEST_DECODED_BYTES:
            if len(self._decoded) >= _MOST_DECODED:
                self._decoded.clear()
            self._decoded[digest] = value, payload
        return payload


class ChunkReader:
    """Reads the chunks of one entry, together with the first page of a change log.

    Args:
        decoder: decodes chunks.
        driver: of the caller.
        namespace: of the entry.
        entry: that refers to them.
    """

    def __init__(self, decoder: _Decoder, driver: SyncDriver, namespace: str, entry: Entry) -> None:
        self._decoder, self._driver, self._namespace, self._entry = decoder, driver, namespace, entry
        self._keys = [chunk.digest for chunk in entry.chunks]
        self._values: list[bytes | None] | None = None

    async def log_page(self, corpus: str, after: int) -> LogPage:
        """A page of a corpus's change log.

        Raises:
            StoreDown: it cannot be read.
        """
        page: LogPage
        if self._values is not None:
            page = await self._driver.call("log_read", corpus, after)
            return page
        call = self._driver.call("get_many_with_log", self._namespace, self._keys, corpus, after)
        self._values, page = await call
        return page

    async def payload(self) -> bytes | Miss:
        """The whole payload of the entry; a miss if a chunk is not there, or cannot be read."""
        if self._values is None:
            try:
                self._values = await self._driver.call("get_many", self._namespace, self._keys)
            except StoreDown:
                return Miss("store down")
        rest, begin, name = self._entry.payload, 0, self._namespace.encode()
        parts: list[bytes | memoryview] = []
        for chunk, value in zip(self._entry.chunks, self._values or (), strict=True):
            if value is None:
                return Miss("absent")
            try:
                held = self._decoder.payload(chunk.digest, name, value)
            except CodecError:
                return Miss("corrupt")
            if not held.startswith(chunk.version):
                return Miss("absent")
            parts += (rest[begin : chunk.at], memoryview(held)[_VERSION:])
            begin = chunk.at
        return b"".join((*parts, rest[begin:]))


def places_of(namespace: str, entry: Entry) -> list[Place]:
    """Where the chunks of an entry are."""
    return [Place(namespace, chunk.digest) for chunk in entry.chunks]


def readable_payload(entry: Entry) -> bytes:
    """What an entry holds of its payload, with a ``nil`` of MessagePack for each chunk; of a chunk its content."""
    parts, begin = list[bytes](), _VERSION if entry.kind == "chunk" else 0
    for chunk in entry.chunks:
        parts += (entry.payload[begin : chunk.at], _NIL)
        begin = chunk.at
    return b"".join((*parts, entry.payload[begin:]))


def _tags(entry: Entry, ids: tuple[str, ...]) -> tuple[str, ...]:
    """The tags of a chunk: of the documents in it, and those that the application gave to what refers to it."""
    return (*tags_of(ids), *(tag for tag in entry.tags if not tag.startswith(tags_of([""]))))


def _chunk(entry: Entry, payload: bytes, ids: tuple[str, ...], held: Entry | None) -> Entry:
    """A chunk that serves an entry, and what the chunk serves that is stored in its place."""
    until, tags = entry.fresh_until, _tags(entry, ids)
    if until is not None:
        until = entry.created_at + _LONGER * (until - entry.created_at)
    if held is not None:
        until = None if until is None or held.fresh_until is None else max(until, held.fresh_until)
        tags = tuple(dict.fromkeys((*held.tags, *tags)))
    return Entry(payload, entry.created_at, until, tags=tags, kind="chunk")


def _serves(chunk: Entry, entry: Entry, ids: tuple[str, ...]) -> bool:
    """Whether a chunk lives as long as an entry that refers to it, and is deleted with it."""
    outlives = chunk.fresh_until is None or (
        entry.fresh_until is not None and chunk.fresh_until >= entry.fresh_until
    )
    return outlives and {*_tags(entry, ids)} <= {*chunk.tags}


def _referring(
    entry: Entry, slices: Sequence[Slice], digests: Sequence[bytes], versions: Mapping[bytes, bytes]
) -> Entry:
    rest, chunks, begin = b"", [], 0
    for one, digest in zip(slices, digests, strict=True):
        rest += entry.payload[begin : one.begin]
        chunks.append(Chunk(digest, len(rest), versions[digest]))
        begin = one.end
    return msgspec.structs.replace(entry, payload=rest + entry.payload[begin:], chunks=tuple(chunks))
