"""Shared state as bytes: sealed by the cache's codec, and bound to its log.

A `Delta` is what one process adds at once. A `Snapshot` is the whole state up to a position in the log, so that a
new process need not read earlier deltas. The value of either is a `msgspec.Struct`, defined by the sharing module.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from askonce.entries.codec import Codec
from askonce.entries.decodable import decodable
from askonce.entries.entry import Entry
from askonce.errors import CodecError

T = TypeVar("T", bound=msgspec.Struct)


@decodable
class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one process adds.

    Attributes:
        source: the process, 8 bytes.
        number: counted by the process from 1.
        value: in MessagePack.
    """

    source: bytes
    number: int
    value: msgspec.Raw


@decodable
class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """All that was shared.

    Attributes:
        position: it includes at least the deltas up to this one in the log.
        seen: all deltas that it includes, as `askonce.changelog.seen.Seen` stores them.
        value: in MessagePack.
    """

    position: int
    seen: dict[bytes, tuple[int, bytes]]
    value: msgspec.Raw


_encode = msgspec.msgpack.encode


def packed(value: msgspec.Struct) -> msgspec.Raw:
    """The value of a delta or a snapshot."""
    return msgspec.Raw(_encode(value))


def unpacked(value: msgspec.Raw, kind: type[T]) -> T:
    """The value that `packed` was called with.

    Raises:
        CodecError: it cannot be read, or is not valid.
    """
    try:
        return msgspec.msgpack.decode(value, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CodecError(f"invalid {kind.__name__}: {error}") from error


class Journal:
    """Structs as bytes and back.

    Args:
        codec: seals them, if it has keys.
        log: the namespace to which they are bound.
    """

    def __init__(self, codec: Codec, log: str) -> None:
        self._codec, self._log = codec, log.encode()

    def write(self, value: msgspec.Struct, key: bytes = b"") -> bytes:
        """The bytes of a struct; ``key`` is that of its record, if it must be valid under no other."""
        return self._codec.encode(Entry(_encode(value), 0.0), bound_to=self._place(type(value), key))

    def read(self, data: bytes, kind: type[T], key: bytes = b"") -> T:
        """The struct in ``data``.

        Raises:
            CodecError: it is not of that kind, log and key, or cannot be unsealed.
        """
        return unpacked(msgspec.Raw(self._codec.decode(data, bound_to=self._place(kind, key)).payload), kind)

    def _place(self, kind: type[msgspec.Struct], key: bytes) -> bytes:
        return kind.__name__.encode().ljust(16)[:16] + self._log + b" " + key
