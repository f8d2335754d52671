"""What `CachedTransport` adds to an SDK's own call: hits against a transport that has the answer at hand.

    python -m benchmarks.transport [--quick]

The canned transport parses and hashes the body, as the least that any cache must, and gives the same bytes. All
run in one process, in turns; the ratio is taken within each round. The prompt has 0.8 kB, the answer 1.2 kB, a
stream 24 events.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai

from askonce.httpx import CachedTransport
from benchmarks.measure import Claim, Series, markdown, one_by_one

HTTP: Any = importlib.import_module("httpx2" if openai.__version__ >= "3" else "httpx")
PROMPTS = {
    streams: [{"role": "user", "content": f"{'Tell' if streams else 'Say'}: why is the sky blue? " * 28}]
    for streams in (False, True)
}
TEXT = "Air scatters blue light more than red light. " * 24


def answered(streams: bool) -> bytes:
    """The body of an answer."""
    base = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o"}
    if not streams:
        message = {"role": "assistant", "content": TEXT}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": 240, "total_tokens": 440}
        return json.dumps({**base, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    pieces = [TEXT[at : at + len(TEXT) // 22] for at in range(0, len(TEXT), len(TEXT) // 22)]
    deltas = [({"content": piece}, None) for piece in pieces] + [({}, "stop")]
    chunks = [
        {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": one, "finish_reason": end}]}
        for one, end in deltas
    ]
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


class Canned(HTTP.BaseTransport):  # type: ignore[misc]
    """Has the answer at hand."""

    bodies = (answered(False), answered(True))
    types = ("application/json", "text/event-stream")

    def handle_request(self, request: Any) -> Any:
        body = json.loads(request.content)
        hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
        streams = bool(body.get("stream"))
        return HTTP.Response(200, headers={"content-type": self.types[streams]}, content=self.bodies[streams])


def call(transport: Any, streams: bool) -> Callable[[], object]:
    """A call of the SDK, to its end."""
    sdk = openai.OpenAI(api_key="k", base_url="http://host/v1", http_client=HTTP.Client(transport=transport))

    def send() -> object:
        made: Any = sdk.chat.completions.create(model="gpt-4o", messages=PROMPTS[streams], stream=streams)  # type: ignore[arg-type, call-overload]
        return list(made) if streams else made

    send()
    return send


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    rounds, calls = (5, 60) if parser.parse_args().quick else (9, 200)
    claims, rows = [], []
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'cache.db')}"
        for streams in (False, True):
            kind = "streamed" if streams else "plain"
            subjects = {
                "canned": call(Canned(), streams),
                "SQLite": call(CachedTransport(url, Canned()), streams),
                "local": call(CachedTransport(url, Canned(), local_ttl=60), streams),
            }
            series = {name: Series(name) for name in subjects}
            for _ in range(rounds):
                for name, one in subjects.items():
                    series[name].rounds.append(one_by_one([one] * (calls // 5 if streams else calls)))
            for name in ("SQLite", "local"):
                over = series[name].over(series["canned"])
                claims.append(Claim(f"a {kind} hit, {name}, over the canned answer", over, 1.15))
            rows += [(kind, one.name, f"{one.median:.0f}") for one in series.values()]
    print(f"openai {openai.__version__} over {HTTP.__name__}\n")
    print(markdown(("call", "transport", "µs"), rows), "\n")
    print(markdown(("claim", "ratio (spread)", "target", ""), [claim.row() for claim in claims]))


if __name__ == "__main__":
    main()
