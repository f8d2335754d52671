"""The content encodings that the proxy takes off: of a provider that compresses though it is not to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

DECODED = frozenset({"gzip", "deflate"})
"""Any other is passed on as it comes, and not stored."""
_MOST_AT_ONCE = 2**20
_GZIP_OR_ZLIB, _RAW = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS


class Undecodable(Exception):
    """A body is not so encoded, or is cut."""


class Decoder:
    """Takes the encoding off a body, as it comes.

    Args:
        encoding: one of `DECODED`; ``None`` if there is none to take off.
    """

    def __init__(self, encoding: str | None) -> None:
        self._encoding = encoding
        self._decoder: zlib._Decompress | None = None

    def parts(self, part: bytes) -> Iterator[bytes]:
        """What a further part of the body holds, in pieces that are not too large.

        Raises:
            Undecodable: it cannot be read.
        """
        if self._encoding is None:
            yield part
            return
        try:
            while part:
                if self._decoder is None or self._decoder.eof:  # what follows an end is a further member
                    self._decoder = zlib.decompressobj(self._window(part))
                if piece := self._decoder.decompress(part, _MOST_AT_ONCE):
                    yield piece
                part = self._decoder.unconsumed_tail or self._decoder.unused_data
        except zlib.error as error:
            raise Undecodable(f"it is no {self._encoding}") from error

    def end(self) -> None:
        """See that the body came to its end.

        Raises:
            Undecodable: it did not.
        """
        if self._decoder is not None and not self._decoder.eof:
            raise Undecodable(f"its {self._encoding} is cut")

    def _window(self, part: bytes) -> int:
        """Some servers' deflate has no frame of zlib."""
        return _RAW if self._encoding == "deflate" and part[0] & 0xF != 8 else _GZIP_OR_ZLIB
