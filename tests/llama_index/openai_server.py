"""A small OpenAI server on this machine: chat completions, plain and streamed, tools, JSON schema, embeddings."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 20,
    "total_tokens": 1020,
    "prompt_tokens_details": {"cached_tokens": 600},
}


class OpenAIServer:
    """Answers what it is asked, counts it, and remembers it.

    Attributes:
        url: of the API.
        requests: the bodies that came, in their order.
        says: the answer's text; ``None`` for an echo of the last message.
        finish: why answers end.
        breaks_off: streams end half way.
        status: of the next answers.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.says: str | None = None
        self.finish = "stop"
        self.breaks_off = False
        self.status = 200
        self.delay_seconds = 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.requests.append(body)
                if server.delay_seconds:
                    threading.Event().wait(server.delay_seconds)
                if server.status != 200:
                    self._send(json.dumps({"error": {"message": "out of order"}}).encode(), server.status)
                elif self.path.endswith("/embeddings"):
                    self._send(json.dumps(embeddings(body)).encode())
                elif body.get("stream"):
                    self._stream(server.chunks(body))
                else:
                    self._send(json.dumps(server.completion(body)).encode())

            def _send(self, content: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                for chunk in chunks:
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                    if server.breaks_off:
                        self.wfile.write(b'data: {"error": {"message": "out of order"}}\n\n')
                        break
                self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True

            def log_message(self, *args: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def calls(self) -> int:
        """How many requests came."""
        return len(self.requests)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, body: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
        """What is said to a request, and which tools are called."""
        last = body["messages"][-1]
        text = last["content"] if isinstance(last["content"], str) else json.dumps(last["content"])
        if body.get("response_format", {}).get("type") == "json_schema":
            return json.dumps({"title": f"Song of {text.split()[-1]}", "tracks": 3}), []
        if body.get("tools") and last["role"] == "user":
            tool = body["tools"][0]["function"]
            values: dict[str, Any] = {"integer": 3, "number": 3, "string": text.split()[-1]}
            arguments = {
                name: values.get(schema.get("type"), 3) for name, schema in tool["parameters"]["properties"].items()
            }
            call = {"name": tool["name"], "arguments": json.dumps(arguments)}
            return None, [{"id": f"call_{self.calls}", "type": "function", "function": call}]
        return self.says if self.says is not None else f"You said: {text}", []

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        text, calls = self.answer(body)
        message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
        finish = "tool_calls" if calls else self.finish
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return self._envelope(body, "chat.completion", [choice], usage=USAGE)

    def chunks(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        text, calls = self.answer(body)
        said = text or ""
        pieces: list[dict[str, Any]] = [{"content": said[at : at + 5]} for at in range(0, len(said), 5)]
        for index, call in enumerate(calls):
            arguments = call["function"]["arguments"]
            opened = {**call, "index": index, "function": {**call["function"], "arguments": arguments[:4]}}
            pieces.append({"tool_calls": [opened]})
            pieces.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[4:]}}]})
        for piece in pieces:
            delta = {"role": "assistant", **piece}
            yield self._chunk(body, [{"index": 0, "delta": delta, "finish_reason": None}])
        finish = "tool_calls" if calls else self.finish
        yield self._chunk(body, [{"index": 0, "delta": {}, "finish_reason": finish}])
        if body.get("stream_options", {}).get("include_usage"):
            yield self._chunk(body, [], usage=USAGE)

    def _chunk(self, body: dict[str, Any], choices: list[Any], usage: Any = None) -> dict[str, Any]:
        return self._envelope(body, "chat.completion.chunk", choices, usage=usage)

    def _envelope(self, body: dict[str, Any], kind: str, choices: list[Any], usage: Any) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.calls}",
            "object": kind,
            "created": 1_700_000_000,
            "model": "gpt-4o-2024-08-06",
            "choices": choices,
            "usage": usage,
        }


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [
        {"object": "embedding", "index": at, "embedding": [float(len(text)), 0.5, -0.25]}
        for at, text in enumerate(texts)
    ]
    return {
        "object": "list",
        "data": data,
        "model": body["model"],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
