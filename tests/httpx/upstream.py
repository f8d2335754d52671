"""An upstream that replies what a test writes, byte for byte."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Scripted:
    """A reply.

    Attributes:
        chunks: of the body; several are sent as HTTP's chunks.
        tears: the connection breaks off after them.
    """

    chunks: Sequence[bytes] = ()
    status: int = 200
    headers: Sequence[tuple[str, str]] = (("content-type", "application/json"),)
    tears: bool = False


class Held(list[bytes]):
    """Chunks of a body: the first one at once, the others when ``go_on`` is set."""

    def __init__(self, chunks: Sequence[bytes], go_on: threading.Event) -> None:
        super().__init__(chunks)
        self._go_on = go_on

    def __iter__(self) -> Iterator[bytes]:
        yield self[0]
        assert self._go_on.wait(60)
        yield from self[1:]


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Upstream:
    """Use it as a context manager.

    Attributes:
        script: what is replied to a request.
        received: all requests.
    """

    script: Callable[[Received], Scripted]
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> Self:
        upstream = self

        class Served(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = b""
                if self.headers.get("transfer-encoding") == "chunked":
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("content-length") or 0))
                received = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                upstream.received.append(received)
                reply = upstream.script(received)
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                whole = len(reply.chunks) == 1 and not reply.tears
                if whole:
                    self.send_header("content-length", str(len(reply.chunks[0])))
                else:
                    self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for chunk in reply.chunks:
                    self.wfile.write(chunk if whole else b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
                if reply.tears:
                    self.close_connection = True
                elif not whole:
                    self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Served)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"


def completion(message: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A chat completion with one choice."""
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
    whole = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [choice]}
    return {**whole, "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, **more}


def events(*chunks: dict[str, Any], done: bool = True) -> list[bytes]:
    """Chunks of a chat completion as server-sent events."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    sent = [b"data: " + json.dumps({**base, **chunk}).encode() + b"\n\n" for chunk in chunks]
    return [*sent, b"data: [DONE]\n\n"] if done else sent


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    """A chunk with one choice."""
    return {"choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


STREAM = (("content-type", "text/event-stream"),)
