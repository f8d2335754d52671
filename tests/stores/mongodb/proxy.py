"""A proxy before a MongoDB server that answers some commands with an error, as a server with that fault does."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import bson

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "createIndexes"})
READS = frozenset({"find", "aggregate", "getMore"})
_HEADER = struct.Struct("<iiii")
_OP_MSG = 2013
_POLLED = "&serverMonitoringMode=poll&heartbeatFrequencyMS=500"
"""Or the client waits for news of the server's state, which the real one does not have."""


class FaultyServer:
    """Use as a context manager; ``fail`` sets the fault."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = parts.hostname or "127.0.0.1", parts.port or 27017
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = (
            f"mongodb://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}?directConnection=true{_POLLED}"
        )
        self._commands: frozenset[str] = frozenset()
        self._error: dict[str, Any] = {}
        self._open: list[socket.socket] = [self._listener]

    def fail(self, commands: frozenset[str], code: int, name: str) -> None:
        """Answer these commands so from now on."""
        self._commands, self._error = commands, {"ok": 0.0, "errmsg": name, "code": code, "codeName": name}

    def recover(self) -> None:
        """Pass all on again."""
        self._commands = frozenset()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
                threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        for number, kind, message in _messages(client):
            command = next(iter(bson.decode(_body(message)))) if kind == _OP_MSG else ""
            if command in self._commands:
                body = bytes(5) + bson.encode(self._error)
                client.sendall(_HEADER.pack(_HEADER.size + len(body), 0, number, _OP_MSG) + body)
            else:
                server.sendall(message)
        server.close()

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)


def _messages(client: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    data = b""
    with contextlib.suppress(OSError):
        while more := client.recv(65536):
            data += more
            while len(data) >= 16 and len(data) >= (size := _HEADER.unpack_from(data)[0]):
                _, number, _, kind = _HEADER.unpack_from(data)
                yield number, kind, data[:size]
                data = data[size:]


def _body(message: bytes) -> bytes:
    """The document of the command; before or behind it there may be sequences of documents."""
    at = _HEADER.size + 4
    while message[at] == 1:
        at += 1 + struct.unpack_from("<i", message, at + 1)[0]
    return message[at + 1 : at + 1 + struct.unpack_from("<i", message, at + 1)[0]]
