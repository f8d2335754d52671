r"""Entries in a file, to be carried from one store to another.

    17 bytes  ``askonce export 1`` and a line end: the format and its version
    frames    4 bytes mark (``\xa5ask``), 4 bytes length, 4 bytes CRC-32, big-endian, and a MessagePack array

The first frame is the head ``["head", sealed, namespace, seconds since the epoch]``, the last one the end
``["end", number of records]``. The others are records:
``["record", namespace, key, value, expires_at, weight, hits]``, where ``value`` is an entry's bytes (see
``askonce.entries.codec``), bound to its namespace and key. Entries of a sealed store stay sealed in the file, and
so is each frame but the first: as an entry whose payload is the array. A damaged frame is passed over: the next
mark begins another one.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import msgspec

from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Place
from askonce.errors import CodecError, ConfigError
from askonce.stores.base import LARGEST_VALUE_BYTES, Record, Store, pages

MAGIC = b"askonce export 1\n"
_MARK, _FRAME = b"\xa5ask", struct.Struct(">4sII")
_BOUND_TO = b"askonce export"
_LARGEST_FRAME = LARGEST_VALUE_BYTES + 2**20
_READ_BYTES = 2**20
_RECORDS_AT_ONCE, _BYTES_AT_ONCE = 500, 2_000_000


class _HeadFrame(msgspec.Struct, frozen=True, array_like=True, tag="head"):
    sealed: bool
    namespace: str
    written_at: float


class _RecordFrame(msgspec.Struct, frozen=True, array_like=True, tag="record"):
    namespace: str
    key: bytes
    value: bytes
    expires_at: float | None
    weight: float
    hits: int


class _EndFrame(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    records: int


_AnyFrame = _HeadFrame | _RecordFrame | _EndFrame
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_AnyFrame] = msgspec.msgpack.Decoder(_AnyFrame)

Progress = Callable[[int], object]
"""Called with the number of records done since it was called last."""


class Imported(msgspec.Struct):
    """What an import did.

    Attributes:
        stored: how many entries are in the store now.
        expired: how many were no longer valid.
        older: how many are older than what the store has under their key.
        unreadable: how many could not be read: damaged, sealed with another key, or of another version.
        locked: how many of these are sealed with keys that are not given.
        complete: no part of the file is damaged: it has its end, and as many records as this says. Some of them may
            be unreadable.
    """

    stored: int = 0
    expired: int = 0
    older: int = 0
    unreadable: int = 0
    locked: int = 0
    complete: bool = False


class Exported(NamedTuple):
    """What an export did.

    Attributes:
        entries: how many were written.
        unreadable: how many were left out, since they are damaged or of another version.
    """

    entries: int
    unreadable: int


# -- to a file -------------------------------------------------------------------------------------------------


def export_entries(
    store: Store, namespaces: Sequence[str], file: BinaryIO, codec: Codec, *, progress: Progress | None = None
) -> Exported:
    """Write the entries of some namespaces of a store, but for those that nobody can read.

    Raises:
        StoreError: the store failed.
        OSError: the file cannot be written.
    """
    file.write(MAGIC)
    file.write(_frame(_encoder.encode(_HeadFrame(codec.seals, namespaces[0], time.time()))))
    count = unreadable = 0
    for namespace in namespaces:
        for records in pages(store, namespace):
            for one in records:
                bound_to = Place(namespace, one.key).bound_to
                if codec.has_key_of(one.value) and not codec.can_decode(one.value, bound_to=bound_to):
                    unreadable += 1
                    continue
                count += 1
                record = _RecordFrame(namespace, one.key, one.value, one.expires_at, one.weight, one.hits)
                file.write(_frame(_sealed(codec, record)))
            if progress is not None:
                progress(len(records))
    file.write(_frame(_sealed(codec, _EndFrame(count))))
    return Exported(count, unreadable)


def _sealed(codec: Codec, frame: _AnyFrame) -> bytes:
    data = _encoder.encode(frame)
    return codec.encode(Entry(data, 0.0), bound_to=_BOUND_TO) if codec.seals else data


def _frame(data: bytes) -> bytes:
    return _FRAME.pack(_MARK, len(data), zlib.crc32(data)) + data


# -- from a file -----------------------------------------------------------------------------------------------


class _Dated(NamedTuple):
    """A record, and when its entry was made."""

    record: Record
    created_at: float


Batch = dict[str, list[_Dated]]
"""Records by their namespaces."""


class Import:
    """The entries of a file, on their way into a store: each under the namespace and key that it had.

        reading = Import(file, codec)
        reading.into(store, reading.batches())

    Args:
        file: what `export_entries` wrote.
        codec: of the store: entries are sealed as it seals.
        now: seconds since the epoch.

    Attributes:
        done: what was done so far.
        was_sealed: the file is encrypted, so that what comes of `batches` shows that the codec has its key.

    Raises:
        ConfigError: it is no such file, of a newer version, or sealed while the store is not.
    """

    def __init__(self, file: BinaryIO, codec: Codec, *, now: float | None = None) -> None:
        if file.read(len(MAGIC)) != MAGIC:
            raise ConfigError("not a file of `askonce export`, or one of a newer version")
        self._frames = _frames(file)
        try:
            head = _opened(next(self._frames, None), None)
        except CodecError:
            head = None
        self.was_sealed = isinstance(head, _HeadFrame) and head.sealed
        if self.was_sealed and not codec.seals:
            raise ConfigError(
                "the file is encrypted: set ASKONCE_ENCRYPTION_KEYS, and import into an encrypted store"
            )
        self._codec, self._theirs = codec, codec if self.was_sealed else Codec()
        self._now, self._records = time.time() if now is None else now, 0
        self._damaged = False
        self.done = Imported()

    def batches(self) -> Iterator[Batch]:
        """What is to be stored, some of it at a time.

        Raises:
            ConfigError: no key opens the file.
        """
        waiting: Batch = {}
        size_bytes = 0
        for data in self._frames:
            found = self._record(data)
            if found is None:
                continue
            namespace, dated = found
            waiting.setdefault(namespace, []).append(dated)
            size_bytes += len(dated.record.value)
            if len(waiting[namespace]) >= _RECORDS_AT_ONCE or size_bytes > _BYTES_AT_ONCE:
                yield waiting
                waiting, size_bytes = {}, 0
        if waiting:
            yield waiting

    def into(self, store: Store, batches: Iterable[Batch], *, progress: Progress | None = None) -> None:
        """Store batches.

        Raises:
            StoreError: the store failed. What was stored before stays.
            ConfigError: as `batches`.
        """
        for batch in batches:
            self._store(store, batch)
            if progress is not None:
                progress(sum(map(len, batch.values())))

    def _store(self, store: Store, batch: Batch) -> None:
        """Store a batch, except what is older than what is there."""
        for namespace, some in batch.items():
            present = store.get_many(namespace, [one.record.key for one in some])
            records = [
                one.record
                for one, value in zip(some, present, strict=True)
                if value is None or not self._is_newer(namespace, one, value)
            ]
            store.put(namespace, records)
            self.done.stored += len(records)
            self.done.older += len(some) - len(records)

    def _is_newer(self, namespace: str, one: _Dated, value: bytes) -> bool:
        try:
            entry = self._codec.decode(value, bound_to=Place(namespace, one.record.key).bound_to)
        except CodecError:
            return False
        return entry.created_at > one.created_at

    def _frame(self, data: bytes | None) -> _RecordFrame | _EndFrame:
        try:
            found = _opened(data, self._theirs if self.was_sealed else None)
            if isinstance(found, _HeadFrame):
                raise CodecError("another kind of frame")
        except CodecError:
            self._damaged = True
            raise
        return found

    def _record(self, data: bytes | None) -> tuple[str, _Dated] | None:
        """The namespace and record in a frame; ``None`` if it has none, or one that is not to be stored."""
        if self.was_sealed and data is not None and not self._theirs.has_key_of(data):
            raise ConfigError("the file is encrypted, and no key in ASKONCE_ENCRYPTION_KEYS opens it")
        try:
            found = self._frame(data)
            if isinstance(found, _EndFrame):
                self.done.complete = found.records == self._records and not self._damaged
                return None
            self._records += 1
            key, value = found.key, found.value
            bound_to = Place(found.namespace, key).bound_to
            self.done.locked += not self._theirs.has_key_of(value)
            entry = self._theirs.decode(value, bound_to=bound_to)
            if found.expires_at is not None and found.expires_at <= self._now:
                self.done.expired += 1
                return None
            if not self._codec.wrote(value):
                value = self._codec.encode(entry, bound_to=bound_to)
            record = Record(key, value, found.expires_at, found.weight, entry.tags, found.hits)
            return found.namespace, _Dated(record, entry.created_at)
        except CodecError:
            self.done.unreadable += 1
            return None


def _opened(data: bytes | None, codec: Codec | None) -> _AnyFrame:
    if data is None:
        raise CodecError("damaged")
    if codec is not None:
        data = codec.decode(data, bound_to=_BOUND_TO).payload
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise CodecError(f"damaged: {error}") from error


def _frames(file: BinaryIO) -> Iterator[bytes | None]:
    """The data of each frame; ``None`` for a damaged part between two of them."""
    waiting = bytearray()

    def has(size: int) -> bool:
        while len(waiting) < size:
            more = file.read(_READ_BYTES)
            if not more:
                return False
            waiting.extend(more)
        return True

    while has(_FRAME.size):
        mark, length, checksum = _FRAME.unpack_from(waiting)
        if mark == _MARK and length <= _LARGEST_FRAME and has(_FRAME.size + length):
            data = bytes(waiting[_FRAME.size : _FRAME.size + length])
            if zlib.crc32(data) == checksum:
                del waiting[: _FRAME.size + length]
                yield data
                continue
        yield None
        at = waiting.find(_MARK, 1)
        while at < 0:
            del waiting[: 1 - len(_MARK)]
            if not has(len(waiting) + 1):
                return
            at = waiting.find(_MARK)
        del waiting[:at]
    if waiting:
        yield None
