"""A provider's reply as far as it came, and what is stored of it."""

from __future__ import annotations

from askonce.concurrency.beside import LARGE_BYTES, Prepared
from askonce.entries.entry import Answer
from askonce.proxy.upstream import Head
from askonce.wire import replies
from askonce.wire.events import has_ended
from askonce.wire.requests import WireRequest


class TooLarge(Exception):
    """A reply is larger than what is stored."""


class ReplySoFar:
    """A provider's reply, as far as it came.

    Args:
        max_bytes: of a larger one nothing is held.

    Attributes:
        head: its head, when that came.
        is_encoded: its body comes with a content encoding.
    """

    def __init__(self, max_bytes: int) -> None:
        self.head: Head | None = None
        self.is_encoded = False
        self._parts: list[bytes] = []
        self._size, self._max_bytes = 0, max_bytes
        self._packing = Prepared(self._packed)

    def add(self, part: bytes) -> bool:
        """Add a part; returns whether all that came is held."""
        self._size += len(part)
        if self._size > self._max_bytes:
            self._parts.clear()
            return False
        self._parts.append(part)
        return True

    async def prepare(self, wire: WireRequest) -> None:
        """Do what `packed` takes long for, if the reply is large."""
        if LARGE_BYTES < self._size <= self._max_bytes:
            await self._packing.prepare(wire)

    def packed(self, wire: WireRequest) -> Answer | None:
        """What of it is stored.

        Raises:
            TooLarge: it is too large.
            Exception: it cannot be read.
        """
        if self._size > self._max_bytes:
            raise TooLarge(f"more than {self._max_bytes:,} bytes")
        return self._packing.result(wire)

    def _packed(self, wire: WireRequest) -> Answer | None:
        assert self.head is not None
        if self.is_encoded:
            return None
        return replies.packed(wire, self.head.status, self.head.headers, b"".join(self._parts))

    def has_ended(self, wire: WireRequest) -> bool:
        """Whether it is a stream that came to its end event."""
        return self._size <= self._max_bytes and has_ended(wire.api, b"".join(self._parts))
