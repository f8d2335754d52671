"""An HTTP server that answers as a test says, for the real clients of providers whose server is not `Provider`.

with Canned(lambda path, body: sse({"delta": "a"}, {"delta": "b"})) as server:
    client = Client(base_url=server.url)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[str, bytes]
"""The type of the content, and the content."""


def plain_json(value: Any) -> Reply:
    """One JSON document."""
    return "application/json", json.dumps(value).encode()


def json_lines(*values: Any) -> Reply:
    """JSON documents, one a line."""
    return "application/x-ndjson", b"".join(json.dumps(value).encode() + b"\n" for value in values)


def sse(*events: Any, named: str = "", done: bool = False) -> Reply:
    """Server-sent events.

    Args:
        events: their data.
        named: the item of the data that is the event's name, if they have names.
        done: ``[DONE]`` follows.
    """
    lines = []
    for event in events:
        name = f"event: {event[named]}\n" if named else ""
        lines.append(f"{name}data: {json.dumps(event)}\n\n")
    return "text/event-stream", ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


class Canned:
    """The server, on a free port of this machine.

    Args:
        reply: what is answered, by path and body.

    Attributes:
        url: of the server.
        requests: path and body of what was received.
    """

    def __init__(self, reply: Callable[[str, Any], Reply]) -> None:
        self.reply, self.requests = reply, list[tuple[str, Any]]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                body = json.loads(content) if content else None
                outer.requests.append((self.path, body))
                kind, data = outer.reply(self.path, body)
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Canned:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
