"""A stand-in for Anthropic's API on this machine: it calls the first tool, then answers, and bills by the rules.

What a request reads and writes follows from the rules that askonce knows: enough to show, and proof of nothing.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from askonce.prefix import PrefixTracker


class Handler(BaseHTTPRequestHandler):
    """Answers ``POST /v1/messages``."""

    protocol_version = "HTTP/1.1"
    server: "OfflineAnthropic"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = json.dumps(self.server.answer(request)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class OfflineAnthropic(ThreadingHTTPServer):
    """Runs until the program ends."""

    daemon_threads = True

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tracker = PrefixTracker(clock=clock)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        call = self.tracker.start(request, "anthropic")
        read, written = call.prediction.read_tokens, call.prediction.written_tokens
        call.finish(None)
        content: dict[str, Any] = {"type": "text", "text": "Group 7 goes first, as rule 1 says."}
        if request.get("tools") and isinstance(request["messages"][-1]["content"], str):
            tool = request["tools"][0]
            arguments = dict.fromkeys(tool["input_schema"]["properties"], "group 7")
            content = {"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": arguments}
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": [content],
            "stop_reason": "tool_use" if content["type"] == "tool_use" else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": call.chain.tokens - read - sum(written.values()),
                "cache_read_input_tokens": read,
                "cache_creation_input_tokens": sum(written.values()),
                "cache_creation": {
                    "ephemeral_5m_input_tokens": written.get("5m", 0),
                    "ephemeral_1h_input_tokens": written.get("1h", 0),
                },
                "output_tokens": 40,
            },
        }
