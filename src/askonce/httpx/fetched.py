"""What came from the upstream for one request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from askonce.concurrency.beside import LARGE_BYTES
from askonce.entries.entry import Answer
from askonce.httpx.package import decoded
from askonce.wire import replies
from askonce.wire.events import has_ended
from askonce.wire.requests import WireRequest

if TYPE_CHECKING:
    import httpx2


class Fetched:
    """A response and its bytes, as far as they were read.

    Args:
        response: the upstream's, with status 200.
        chunks: of its body, as they came, perhaps compressed.
    """

    def __init__(self, response: httpx2.Response, *chunks: bytes) -> None:
        self.response, self.chunks = response, list(chunks)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Those of the response."""
        return self.response.headers.multi_items()

    @property
    def is_large(self) -> bool:
        """Whether it takes long to pack it."""
        return sum(map(len, self.chunks)) > LARGE_BYTES

    def body(self) -> bytes:
        """The body, not compressed.

        Raises:
            Exception: it cannot be read.
        """
        return decoded(self.response, b"".join(self.chunks))

    def packed(self, wire: WireRequest) -> Answer | None:
        """What of it is stored."""
        return replies.packed(wire, self.response.status_code, self.headers, self.body())

    def has_ended(self, wire: WireRequest) -> bool:
        """Whether a stream came to its end event."""
        try:
            return has_ended(wire.api, self.body())
        except Exception:  # of a decoder, which had only a part
            return False


class RefusedReply(Exception):
    """The upstream replied with another status than 200; its response has been read."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__(f"the upstream replied with status {response.status_code}")
        self.response = response
