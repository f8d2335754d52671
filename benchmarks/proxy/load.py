"""Requests to a subject: how many a second, how long they take, and what each costs."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Literal

from benchmarks.proxy.programs import wrk
from benchmarks.proxy.subjects import KEY, Subject

PROMPT = "Why is the sky blue, and what colour is it on Mars at noon? " * 13
PATH = "/v1/chat/completions"

Prompts = Literal["one", "new", "many"]
"""One prompt; a new one for each request; one of many at random."""


@dataclass(frozen=True)
class Load:
    """What one run of requests showed.

    Attributes:
        rate: requests a second.
        p50: milliseconds.
        p99: milliseconds.
        cpu: microseconds of the server for each request.
        wrk: microseconds of the load generator for each request.
        errors: requests that failed.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    wrk: float
    errors: int


@dataclass(frozen=True)
class Point:
    """A way to send requests.

    Attributes:
        connections: each has one request at a time.
        streams: the answers are streams.
        prompts: which.
        delay: of the provider, in milliseconds.
        among: how many prompts there are, if there are many.
    """

    connections: int
    streams: bool = False
    prompts: Prompts = "one"
    delay: int = 0
    among: int = 0

    def __str__(self) -> str:
        kind = {"one": "hit", "new": "miss", "many": f"hit among {self.among:,}"}[self.prompts]
        after = f", {self.delay} ms" if self.prompts == "new" else ""
        return f"{'streamed ' if self.streams else ''}{kind}{after}, {self.connections} conn."


def body_of(point: Point, mark: str) -> str:
    """The body of a request."""
    sent: dict[str, object] = {
        "model": f"bench-{point.delay}",
        "messages": [{"role": "user", "content": f"{mark} {PROMPT}"}],
        "temperature": 0,
    }
    if point.streams:
        sent["stream"] = True
    return json.dumps(sent)


_MARK = "@@@@"
_SCRIPT = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {key}"
local before, after = [==[{before}]==], [==[{after}]==]
local made, number = nil, 0
init = function(args)
    math.randomseed({seed})
    made = wrk.format(nil, nil, nil, before .. "{salt}" .. after)
end
request = function()
    {request}
end
done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format("\\n@ %d %d %f %f %d\\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
_REQUEST: dict[Prompts, str] = {
    "one": "return made",
    "new": 'number = number + 1; return wrk.format(nil, nil, nil, before .. "{salt} " .. number .. after)',
    "many": 'return wrk.format(nil, nil, nil, before .. "{salt} " .. math.random(0, {among} - 1) .. after)',
}


def load(subject: Subject, point: Point, seconds: float) -> Load:
    """Send requests for so long, whole seconds."""
    program, env = wrk()
    salt = "stream" if point.streams else "plain"  # of their own: a stream can also be made of a plain answer
    if point.prompts != "one":
        salt = uuid.uuid4().hex if point.prompts == "new" else ""
    before, _, after = body_of(point, _MARK).partition(_MARK)
    request = _REQUEST[point.prompts].replace("{salt}", salt).replace("{among}", str(point.among))
    script = _SCRIPT
    for name, value in {
        "request": request, "before": before, "after": after, "salt": salt, "key": KEY,
        "seed": str(time.time_ns() % 2**31),
    }.items():  # fmt: skip
        script = script.replace(f"{{{name}}}", value)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        cpu, own = subject.cpu_seconds(), _cpu_of_children()
        done = subprocess.run(
            [str(program), "-t1", f"-c{point.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s",
             "--latency", "-s", file.name, subject.url + PATH],
            env={**os.environ, **env}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        cpu, own = subject.cpu_seconds() - cpu, _cpu_of_children() - own
    requests, duration, p50, p99, errors = done.stdout.rpartition("@")[2].split()
    answered = max(1, int(requests))
    return Load(
        rate=int(requests) / int(duration) * 1e6,
        p50=float(p50) / 1000,
        p99=float(p99) / 1000,
        cpu=cpu / answered * 1e6,
        wrk=own / answered * 1e6,
        errors=int(errors),
    )


def _cpu_of_children() -> float:
    """Seconds of all processes that this one waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_event_ms(subject: Subject, point: Point, seconds: float) -> float:
    """How long the first event of a stream takes: the median of many, in milliseconds."""

    async def measured() -> list[float]:
        until = time.monotonic() + seconds
        parts = await asyncio.gather(*(_first_events(subject, point, until) for _ in range(point.connections)))
        return [one for part in parts for one in part]

    return statistics.median(asyncio.run(measured()))


async def _first_events(subject: Subject, point: Point, until: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", subject.port)
    times = []
    try:
        while time.monotonic() < until:
            body = body_of(point, uuid.uuid4().hex).encode()
            head = (
                f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {KEY}"
            )
            began = time.monotonic()
            writer.write(f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await reader.readuntil(b"data:")
            times.append((time.monotonic() - began) * 1000)
            await reader.readuntil(b"0\r\n\r\n")
    finally:
        writer.close()
    return times


def calls_of(upstream: Subject) -> int:
    """How many requests came to the provider so far."""
    with urllib.request.urlopen(f"{upstream.url}/count", timeout=10) as reply:
        return int(reply.read())
