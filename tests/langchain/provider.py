"""A model provider that speaks OpenAI's chat protocol over real HTTP, and never says a thing twice.

What else it does is asked for in the last message, by a word among ``cut``, ``nothing``, ``break`` and ``tear``.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Provider:
    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.delay_seconds = 0.0
        self.failures = 0  # how many of the next requests fail
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.provider = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        return len(self.requests)

    def note(self, body: dict[str, Any]) -> tuple[int, bool]:
        with self._lock:
            self.requests.append(body)
            fails = self.failures > 0
            self.failures -= fails
            return len(self.requests), fails

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    provider: Provider
    daemon_threads = True
    request_queue_size = 256


def reply(body: dict[str, Any], number: int) -> tuple[dict[str, Any], str]:
    """The message, and why it ends."""
    last = body["messages"][-1]
    asked = last["content"] if isinstance(last["content"], str) else json.dumps(last["content"])
    if body.get("response_format", {}).get("type") == "json_schema":
        return {"role": "assistant", "content": json.dumps({"city": "Paris", "number": number})}, "stop"
    if body.get("tools") and last["role"] != "tool":
        name = body["tools"][0]["function"]["name"]
        arguments = json.dumps({"city": "Paris", "number": number})
        call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    if "nothing" in asked:
        return {"role": "assistant", "content": ""}, "stop"
    return {
        "role": "assistant",
        "content": f"Answer {number} to {asked[-40:]}",
    }, "length" if "cut" in asked else "stop"


USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 16},
}


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number, fails = self.server.provider.note(body)
        time.sleep(self.server.provider.delay_seconds)
        if fails:
            return self._send(500, json.dumps({"error": {"message": "overloaded"}}))
        base = {"id": f"chatcmpl-{number}", "created": 1, "model": body["model"]}
        if body.get("stream"):
            return self._stream(base, body, number)
        choices = []
        for index in range(body.get("n") or 1):
            message, why = reply(body, number * 10 + index)
            choices.append({"index": index, "message": message, "finish_reason": why, "logprobs": None})
        return self._send(
            200, json.dumps({**base, "object": "chat.completion", "choices": choices, "usage": USAGE})
        )

    def _send(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, base: dict[str, Any], body: dict[str, Any], number: int) -> None:
        message, why = reply(body, number * 10)
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word + " "} for word in (message["content"] or "").split()]
        for call in message.get("tool_calls", ()):
            function, arguments = call["function"], call["function"]["arguments"]
            deltas.append({"tool_calls": [{"index": 0, **call, "function": {**function, "arguments": ""}}]})
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
                for part in (arguments[:7], arguments[7:])
            ]
        events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": why}]}, {"choices": [], "usage": USAGE}]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        asked = json.dumps(body["messages"])
        for at, event in enumerate(events):
            if at == 3 and ("break" in asked or "tear" in asked):
                self.close_connection = True
                if "break" in asked:  # the answer ends in the middle as if all were well; else the connection does
                    self.wfile.write(b"0\r\n\r\n")
                return
            self._chunk(f"data: {json.dumps({**base, 'object': 'chat.completion.chunk', **event})}\n\n")
        self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()
