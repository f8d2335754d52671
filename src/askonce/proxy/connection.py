"""A client's connection: uvicorn's, with a limit for one who begins a request and does not go on."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

logger = logging.getLogger("askonce")

SILENT_SECONDS = 60.0
"""For so long a client may send nothing before its request is whole."""
STOPPING_SECONDS = 2.0
"""The same while the proxy stops."""
_TLS = b"\x16\x03"


class _UntilClosed:
    """Sends a response to a client of HTTP/1.0, which knows no chunks: it ends with the connection.

    One that breaks off ends with a reset, so that the client does not take it to be whole.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle, self._send, self._is_measured = cycle, cycle.send, True

    async def send(self, message: Any) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            self._is_measured = any(name.lower() == b"content-length" for name, _ in message["headers"])
            if not self._is_measured:
                cycle.chunked_encoding = False
                self._resets(True)
        elif not self._is_measured:
            cycle.expected_content_length = len(message.get("body", b""))
            if not message.get("more_body"):
                self._resets(False)
        await self._send(message)

    def _resets(self, on: bool) -> None:
        """Whether the connection is reset when it is closed."""
        opened = self._cycle.transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))


class ClientConnection(HttpToolsProtocol):
    """Closes a connection on which half a request came; and of what is no request it says who sent it.

    Between whole requests the server's own limit holds.
    """

    _is_partial, _speaks_tls, _stops = True, False, False
    _until: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_partial = False
        self._wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._speaks_tls = data.startswith(_TLS)
        super().data_received(data)
        self._wait()

    def on_headers_complete(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.parser.get_http_version() == "1.0":
            self.cycle.send = _UntilClosed(self.cycle).send  # type: ignore[method-assign]

    def on_message_begin(self) -> None:
        self._is_partial = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_partial = False
        super().on_message_complete()

    def shutdown(self) -> None:
        super().shutdown()
        self._stops = True
        self._wait()

    def send_400_response(self, msg: str) -> None:
        self._is_partial = False
        sender = self.client[0] if self.client else "a client"
        why = "it speaks TLS, and the proxy does not: its URL begins with http://" if self._speaks_tls else msg
        logger.warning("askonce: what %s sent is no HTTP request (%s)", sender, why)
        super().send_400_response(msg)

    def _wait(self) -> None:
        """From now on, for what is missing of a request."""
        if self._until is not None:
            self._until.cancel()
        seconds = STOPPING_SECONDS if self._stops else SILENT_SECONDS
        self._until = self.loop.call_later(seconds, self._silent) if self._is_partial else None

    def _silent(self) -> None:
        if self.flow.read_paused:  # it is the upstream that is slow
            self._wait()
        else:
            self.transport.close()
