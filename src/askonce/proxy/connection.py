"""A client's connection: uvicorn's, with a limit for one who begins a request and does not go on."""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger("askonce")

SILENT_SECONDS = 60.0
"""For so long a client may send nothing before its request is whole."""
STOPPING_SECONDS = 2.0
"""The same while the proxy stops."""
_TLS = b"\x16\x03"


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
