"""The emulated provider: an HTTP server on 127.0.0.1 with caches, a clock, a script of answers and a ledger."""

from __future__ import annotations

import itertools
import json
import socketserver
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Self, cast

from . import answers, caches, prompt
from .answers import Answer, Bill
from .caches import Machine, Outcome, Visit
from .models import Model, find
from .prompt import IMAGE_TOKENS, Json, Segment, Walk, compact

PATHS = {"/v1/chat/completions": "chat", "/v1/responses": "responses", "/v1/messages": "messages"}
EMBEDDINGS = "/v1/embeddings"
BREAKS_AFTER = 3
"""Events of a stream that breaks off."""
ROUTED_TOKENS = 256
RATE_SECONDS = 60.0
MAX_MARKS = 4


@dataclass(frozen=True)
class Row:
    """One request in the ledger; tokens, US dollars, and why no more was read."""

    at: float
    interface: str
    model: str
    key: str
    machine: int
    stream: bool
    input: int
    read: int
    written: dict[str, int]
    output: int
    usd: float
    why: str


class Refused(Exception):
    """A request that the provider answers with an error."""

    def __init__(self, message: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param = status, param


def _settings(interface: str, request: Json, segments: list[Segment]) -> dict[str, str]:
    """What else changes the cache, by the level from which on it does."""
    output = request.get("output_config") or {}
    if interface == "messages":
        images = any(piece.tokens == IMAGE_TOKENS for segment in segments for piece in segment.pieces)
        return {
            "system": compact([request.get("speed"), output.get("format")]),
            "messages": compact(
                [request.get("tool_choice"), request.get("thinking"), output.get("effort"), images]
            ),
        }
    text, reasoning = request.get("text") or {}, request.get("reasoning") or {}
    whole = [
        request.get("parallel_tool_calls"),
        request.get("response_format") or text.get("format"),
        request.get("reasoning_effort") or reasoning.get("effort"),
        request.get("verbosity") or text.get("verbosity"),
    ]
    return {"tools": compact(whole)}


_RENDER: dict[str, Callable[[Json], list[Segment]]] = {
    "chat": prompt.chat_completions,
    "responses": prompt.responses,
    "messages": prompt.anthropic_messages,
}


def _check_openai(model: Model, request: Json, segments: list[Segment]) -> None:
    if model.rule == "steps":
        if request.get("prompt_cache_options"):
            raise Refused("prompt_cache_options is not supported with this model.", param="prompt_cache_options")
        if any(segment.mark for segment in segments):
            raise Refused("prompt_cache_breakpoint is not supported with this model.", param="messages")
        retention = request.get("prompt_cache_retention")
        if retention and retention not in model.lifetimes:
            raise Refused(
                f"prompt_cache_retention {retention!r} is not supported with this model.",
                param="prompt_cache_retention",
            )
    elif (request.get("prompt_cache_options") or {}).get("ttl", "30m") != "30m":
        raise Refused("Supported values are: '30m'.", param="prompt_cache_options.ttl")


def _check_anthropic(request: Json, segments: list[Segment]) -> None:
    marks = [segment.mark for segment in segments if segment.mark]
    if len(marks) > MAX_MARKS:
        raise Refused(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    if "5m" in marks and "1h" in marks[marks.index("5m") :]:
        raise Refused(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. "
            "Note that blocks are processed in the following order: `tools`, `system`, `messages`."
        )
    for message in request["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            inner = block.get("content") if block.get("type") == "tool_result" else None
            if isinstance(inner, list) and any("cache_control" in one for one in inner):
                raise Refused("tool_result.content.cache_control: Extra inputs are not permitted")
    if "max_tokens" not in request:
        raise Refused("max_tokens: Field required")


class Provider:
    """OpenAI and Anthropic on one port, with their caching rules, prices and usage fields.

    Use it as a context manager. Requests are served one after the other, in the order of their arrival. A path
    before ``/v1`` is passed over: clients that keep their connections by URL can be distinguished by it.

    Args:
        clock: the seconds since the epoch by which entries expire and rates are measured.
        answer: what the model says to a request (the JSON as received), called once for each choice.
        rate: requests a minute for one prefix and key, after which the next machine is taken.
        machines: how many there are, each with a cache of its own.

    Attributes:
        requests: those that came, in the order of their arrival.
        ledger: those that were answered.
        failures: how many of the next requests fail.
        delay_seconds: what each answer takes.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        answer: Callable[[Json], Answer] = lambda request: Answer(),
        rate: int = 15,
        machines: int = 4,
    ) -> None:
        self.clock, self.answer, self.rate = clock, answer, rate
        self.requests: list[Json] = []
        self.ledger: list[Row] = []
        self.failures = 0
        self.delay_seconds = 0.0
        self._machines = [Machine() for _ in range(machines)]
        self._routes: dict[bytes, deque[float]] = {}
        self._lock = threading.Lock()
        self._served = 0
        self._server = _Server(self)
        host, port = self._server.server_address[:2]
        self.anthropic_url = f"http://{host!s}:{port}"
        self.openai_url = f"{self.anthropic_url}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def count(self) -> int:
        """How many requests came."""
        return len(self.requests)

    def receive(self, request: Json) -> None:
        """Note a request; it may fail.

        Raises:
            Refused: if it is to fail.
        """
        with self._lock:
            self.requests.append(request)
            fails = self.failures > 0
            self.failures -= fails
        time.sleep(self.delay_seconds)
        if fails:
            raise Refused("out of order", 500)

    def forget(self) -> None:
        """Empty the caches, the rates, the ledger and the list of requests."""
        with self._lock:
            for machine in self._machines:
                machine.entries.clear()
            self._routes.clear()
            self.ledger.clear()
            self.requests.clear()

    def serve(self, interface: str, request: Json) -> tuple[Model, list[Answer], Bill]:
        """Read, write and bill one request, and decide on the answer: on several if it has ``n``.

        Raises:
            Refused: for a request that the provider would answer with an error.
        """
        model = find(str(request.get("model")))
        if model is None or (model.rule == "marks") != (interface == "messages"):
            raise Refused(f"model: {request.get('model')}", 404, "model")
        segments = _RENDER[interface](request)
        if interface == "messages":
            _check_anthropic(request, segments)
        else:
            _check_openai(model, request, segments)
        with self._lock:
            now = self.clock()
            key = str(request.get("prompt_cache_key") or "")
            root = compact([request["model"], key])  # a key separates what is reused
            walk = prompt.walk(root, segments, _settings(interface, request, segments))
            number = 0 if model.rule == "marks" else self._route(walk, now)
            outcome = self._look_up(model, request, segments, walk, number, now)
            choices = [self.answer(request) for _ in range(request.get("n") or 1)]
            uncached = walk.tokens - outcome.read - sum(outcome.written.values())
            self._served += 1
            if (usage := choices[0].usage) is not None:
                bill = Bill(self._served, usage.input - usage.read, usage.read, {}, usage.output)
            else:
                output = sum(answer.tokens for answer in choices)
                bill = Bill(self._served, uncached, outcome.read, outcome.written, output)
            usd = model.cost_usd(bill.uncached, bill.read, bill.written, bill.output)
            self.ledger.append(
                Row(
                    now,
                    interface,
                    request["model"],
                    key,
                    number,
                    bool(request.get("stream")),
                    bill.input,
                    bill.read,
                    bill.written,
                    bill.output,
                    usd,
                    outcome.why,
                )
            )
            return model, choices, bill

    def _route(self, walk: Walk, now: float) -> int:
        """The machine for a prefix and key: the next one for each full rate within the last minute."""
        beginning = next((digest for tokens, digest in walk.steps if tokens >= ROUTED_TOKENS), walk.ends[-1][1])
        recent = self._routes.setdefault(beginning, deque())
        while recent and recent[0] <= now - RATE_SECONDS:
            recent.popleft()
        number = beginning[0] + len(recent) // self.rate
        recent.append(now)
        return number % len(self._machines)

    def _look_up(
        self, model: Model, request: Json, segments: list[Segment], walk: Walk, number: int, now: float
    ) -> Outcome:
        machine = self._machines[number]
        others = [other for other in self._machines if other is not machine]
        visit = Visit(model, segments, walk, machine, others, now)
        if model.rule == "steps":
            return caches.steps(visit, request.get("prompt_cache_retention") or next(iter(model.lifetimes)))
        if model.rule == "boundaries":
            return caches.boundaries(visit, (request.get("prompt_cache_options") or {}).get("mode", "implicit"))
        return caches.marks(visit)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        super().__init__(("127.0.0.1", 0), _Exchange)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news; what a request breaks is answered with a 500."""


class _Exchange(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        provider = cast(_Server, self.server).provider
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = "/v1" + self.path.partition("?")[0].partition("/v1")[2]
        interface = PATHS.get(path)
        try:
            request = json.loads(body)
            provider.receive(request)
            if path == EMBEDDINGS:
                return self._send(200, answers.embeddings(request))
            if interface is None:
                raise Refused(f"no such path: {self.path}", 404)
            self._send_answer(interface, request, *provider.serve(interface, request))
        except Refused as refused:
            self._send(refused.status, _error(interface, refused))
        except Exception as broken:
            self._send(500, _error(interface, Refused(f"{type(broken).__name__}: {broken}", 500)))

    def _send_answer(self, interface: str, request: Json, model: Model, choices: list[Answer], bill: Bill) -> None:
        writes, stream, answer = model.rule == "boundaries", bool(request.get("stream")), choices[0]
        if interface == "chat":
            if stream:
                return self._send_events(answers.chat_stream(request, answer, bill, writes), answer.breaks)
            return self._send(200, answers.chat_completion(request, choices, bill, writes))
        if interface == "responses":
            if stream:
                return self._send_events(answers.response_stream(request, answer, bill), answer.breaks)
            return self._send(200, answers.response(request, answer, bill))
        if stream:
            return self._send_events(answers.message_stream(request, answer, bill), answer.breaks)
        return self._send(200, answers.message(request, answer, bill))

    def _send(self, status: int, value: Json) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _send_events(self, events: Iterable[bytes], breaks: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if breaks:
            events = itertools.islice(events, BREAKS_AFTER)
        if breaks == "fails":
            events = itertools.chain(events, [answers.FAILED])
        for event in events:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        if breaks == "tears":
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed; requests are in the ledger."""


def _error(interface: str | None, refused: Refused) -> Json:
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(refused.status, "api_error")
    if interface == "messages":
        return {"type": "error", "error": {"type": kind, "message": str(refused)}}
    return {"error": {"type": kind, "message": str(refused), "param": refused.param, "code": None}}
