"""From a request to the entry that answers it: in this process, in the store, or through an alias."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from askonce.concurrency.beside import LARGE_BYTES, Turns
from askonce.concurrency.drivers import SyncDriver
from askonce.engine.request import Request
from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Hit, Incomplete, Miss, Place, Source, digest_of
from askonce.errors import CodecError
from askonce.provenance.corpora import Corpora
from askonce.storage.chunks import ChunkStorage
from askonce.storage.freshness import Freshness
from askonce.storage.local_cache import LocalCache
from askonce.storage.pieces import FIRST_ENTRIES, after_failure, by_part, next_length
from askonce.stores.base import Clock
from askonce.stores.circuit_breaker import StoreDown

logger = logging.getLogger("askonce")


class Lookup:
    """Finds entries, and says whether they may be used.

    Args:
        codec: decodes entries.
        freshness: how long they live.
        corpora: which documents have changed.
        local: entries held in this process; ``None`` for none.
        chunks: the parts of payloads that are stored apart.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        codec: Codec,
        freshness: Freshness,
        corpora: Corpora,
        local: LocalCache | None,
        chunks: ChunkStorage,
        clock: Clock,
    ) -> None:
        self._codec, self._freshness, self._corpora = codec, freshness, corpora
        self._local, self._chunks, self._clock = local, chunks, clock

    async def find(self, driver: SyncDriver, request: Request) -> Hit | Miss:
        """Look in this process, then in the store."""
        if request.options.refresh:
            return Miss("refresh")
        place = request.place
        if self._local is not None:
            entry = self._local.get(place, self._clock())
            if entry is not None:
                return await self._checked(driver, entry, request)
        return await self.find_in_store(driver, place, request)

    async def find_in_store(self, driver: SyncDriver, place: Place, request: Request) -> Hit | Miss:
        """Look in the store, at a request's own place or at that of another one which it may be answered by."""
        try:
            data = await driver.call("get", *place)
        except StoreDown:
            return Miss("store down")
        is_large = isinstance(data, bytes) and len(data) > LARGE_BYTES
        read = await driver.beside(self._read, place, data) if is_large else self._read(place, data)
        return read if isinstance(read, Miss) else await self._checked(driver, read, request)

    async def find_many(self, driver: SyncDriver, requests: Sequence[Request]) -> list[Hit | Miss]:
        """Look up requests of one namespace in few round trips."""
        namespace = requests[0].place.namespace
        found: list[Hit | Miss] = [Miss("store down")] * len(requests)
        keys = [request.place.key for request in requests]
        for positions in by_part(keys, partial(driver.part, namespace)).values():
            start, length, failures = 0, FIRST_ENTRIES, 0
            while piece := positions[start : start + length]:
                began = time.monotonic()
                try:
                    rows = await driver.call("get_many", namespace, [keys[position] for position in piece])
                except StoreDown:
                    failures += 1
                    retry = after_failure(start, length, failures)
                    if retry is None:
                        break
                    length = retry.length
                    await driver.pause(retry.pause)
                    continue
                start, failures = start + len(piece), 0
                length = next_length(len(piece), _bytes_in(rows), time.monotonic() - began)
                await driver.pause(0)  # others have their turn
                turns = Turns()
                for position, data in zip(piece, rows, strict=True):
                    found[position] = await self.found(driver, requests[position], data)
                    if turns.is_over():
                        await driver.pause(0)
        return found

    async def found(self, driver: SyncDriver, request: Request, data: bytes | None) -> Hit | Miss:
        """What a request finds in what is stored at its place; ``None``: nothing is."""
        read = Miss("refresh") if request.options.refresh else self._read(request.place, data)
        return read if isinstance(read, Miss) else await self._checked(driver, read, request)

    async def is_outdated(self, driver: SyncDriver, entry: Entry) -> bool:
        """Whether documents that an entry was made from have changed; also if the store is down."""
        return await self.have_changed(driver, entry.sources)

    async def have_changed(self, driver: SyncDriver, sources: Sequence[Source]) -> bool:
        """Whether documents have changed since they were found; also if the store is down."""
        return await self._corpora.have_changed(driver, sources)

    def usable(self, place: Place, data: bytes) -> Entry | None:
        """The answer in ``data``, found by a scan, if it can be read and is fresh."""
        entry = self._decoded(place, data)
        fresh = (
            entry is not None
            and entry.kind != "chunk"
            and isinstance(self._freshness.judge(entry, self._clock(), None), Hit)
        )
        return entry if fresh else None

    def _read(self, place: Place, data: bytes | None) -> Entry | Miss:
        if data is None:
            return Miss("absent")
        try:
            entry = self._codec.decode(data, bound_to=place.bound_to)
        except CodecError as error:
            logger.info("askonce: a cached answer cannot be read, the model is called: %s", error)
            return Miss("corrupt")
        if self._local is not None:
            self._local.put(place, entry, self._clock())
        return entry

    def _decoded(self, place: Place, data: bytes) -> Entry | None:
        try:
            return self._codec.decode(data, bound_to=place.bound_to)
        except CodecError:
            return None

    async def _checked(self, driver: SyncDriver, entry: Entry, request: Request) -> Hit | Miss:
        """Whether an entry may be used: its documents are unchanged, its alias holds, it is fresh and readable."""
        if entry.chunks:
            return await self._checked_whole(driver, entry, request)
        if entry.sources and await self._corpora.have_changed(driver, entry.sources):
            return Miss("outdated")
        if entry.semantic is not None and entry.semantic.answer:
            whole = await self._through_alias(driver, entry, Place(request.place.namespace, entry.semantic.answer))
            if isinstance(whole, Miss):
                return whole
            entry = whole
        rules, ttl = (
            request.freshness or self._freshness,
            None if request.freshness else request.options.ttl_seconds,
        )
        found = rules.judge(entry, self._clock(), ttl)
        if len(entry.payload) > LARGE_BYTES:
            return await driver.beside(self.unpacked, found, request)
        return self.unpacked(found, request)

    async def _checked_whole(self, driver: SyncDriver, entry: Entry, request: Request) -> Hit | Miss:
        """`_checked`, of an entry that refers to chunks."""
        reader = self._chunks.reader(driver, request.place.namespace, entry)
        if entry.sources and await self._corpora.have_changed(driver, entry.sources, reader.log_page):
            return Miss("outdated")
        payload = await reader.payload()
        if isinstance(payload, Miss):
            return payload
        rules, ttl = (
            request.freshness or self._freshness,
            None if request.freshness else request.options.ttl_seconds,
        )
        whole = msgspec.structs.replace(entry, payload=payload)  # for those, too, who wait for this request
        return self.unpacked(rules.judge(whole, self._clock(), ttl), request)

    def unpacked(self, found: Hit | Miss, request: Request) -> Hit | Miss:
        """What was found, with the value that the adapter makes of it; a miss if it cannot be read."""
        hit = found if isinstance(found, Hit) else found.stale
        if hit is None or request.unpack is None:
            return found
        try:
            value = request.unpack(hit.entry.payload)
        except Incomplete:
            return Miss("incomplete")
        except Exception as error:
            logger.warning("askonce: a cached %s cannot be read, it is made anew: %s", request.kind, error)
            return Miss("corrupt")
        hit = Hit(hit.entry, hit.kind, hit.age_seconds, hit.key, hit.match, value)
        return hit if isinstance(found, Hit) else Miss(found.reason, hit, found.late_seconds)

    async def _through_alias(self, driver: SyncDriver, alias: Entry, place: Place) -> Entry | Miss:
        """An alias with the text that another entry holds, as old as the younger of both."""
        try:
            data = await driver.call("get", *place)
        except StoreDown:
            return Miss("store down")
        if data is None:
            return Miss("absent")
        stored = self._decoded(place, data)
        if stored is None:
            return Miss("corrupt")
        whole, pointer = stored.semantic, alias.semantic
        if whole is None or pointer is None or whole.answer or digest_of(whole.answer_text) != pointer.digest:
            return Miss("absent")  # it is another answer by now
        if stored.sources and await self._corpora.have_changed(driver, stored.sources):
            return Miss("outdated")
        ends = [until for until in (alias.fresh_until, stored.fresh_until) if until is not None]
        return msgspec.structs.replace(
            alias,
            payload=stored.payload,
            created_at=max(alias.created_at, stored.created_at),  # the model gave this text both times
            fresh_until=min(ends, default=None),
        )


def _bytes_in(rows: Iterable[Any]) -> int:
    """How many bytes a store gave; what is no bytes, since it was damaged, is found to be corrupt later."""
    return sum(len(row) for row in rows if isinstance(row, bytes))
