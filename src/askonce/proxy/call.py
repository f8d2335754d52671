"""One request to the proxy, and its response, as ASGI has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from askonce.wire.refusals import Refusal, refusal

Message = MutableMapping[str, Any]
RawHeaders = Iterable[tuple[bytes, bytes]]


class ClientLeft(Exception):
    """The client closed its connection before its request was whole."""


class ProxyCall:
    """A request.

    Attributes:
        method: of HTTP.
        path: as it came, not decoded, without the query.
        query: as it came.
        raw_headers: names in small letters, in their order.
        begun: the head of a response was sent.
    """

    def __init__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.method: str = scope["method"]
        self.path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        self.query: str = scope["query_string"].decode("latin-1")
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.begun = False
        self._receive, self._send = receive, send
        self._read: list[bytes] = []
        self._whole = asyncio.Event()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers as texts."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw_headers]

    def header(self, name: str) -> str | None:
        """The first header of a name, in small letters."""
        raw = name.encode()
        for one, value in self.raw_headers:
            if one == raw:
                return value.decode("latin-1")
        return None

    async def body(self, most: int) -> bytes | None:
        """All of the body; ``None`` if it is larger than ``most`` bytes: then `parts` has it.

        Raises:
            ClientLeft: it did not come to its end.
        """
        size = 0
        while not self._whole.is_set():
            self._read.append(part := await self._next())
            if (size := size + len(part)) > most:
                return None
        return self._read[0] if len(self._read) == 1 else b"".join(self._read)

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes, with what was read of it.

        Raises:
            ClientLeft: it did not come to its end.
        """
        for part in self._read:
            yield part
        while not self._whole.is_set():
            yield await self._next()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        if not message.get("more_body"):
            self._whole.set()
        part: bytes = message.get("body", b"")
        return part

    async def left(self) -> None:
        """Wait until the client is gone; its request is whole before."""
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    # -- the response ------------------------------------------------------------------------------------------

    async def start(self, status: int, headers: RawHeaders) -> None:
        """Send the head of the response."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, part: bytes) -> None:
        """Send a part of the body, at once."""
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def finish(self, part: bytes = b"") -> None:
        """Send the end of the body. Without it the connection breaks off, so that a cut body is seen to be cut."""
        await self._send({"type": "http.response.body", "body": part})

    async def respond(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Send a response whose body is known."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        raw.append((b"content-length", b"%d" % len(body)))
        await self.start(status, raw)
        await self.finish(body)

    async def refuse(self, status: int, message: str, kind: str, *headers: tuple[str, str]) -> None:
        """Respond with an error of the proxy's own."""
        await self.say(refusal(status, f"askonce proxy: {message}", kind, *headers))

    async def say(self, refused: Refusal) -> None:
        """Respond with an error."""
        await self.respond(refused.status, refused.headers, refused.body)
