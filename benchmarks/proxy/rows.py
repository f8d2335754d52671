"""Right and wrong answers, row by row: what must hold, and what each proxy does."""

from __future__ import annotations

import functools
import json
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.measure import markdown
from benchmarks.proxy.gate import CHAT, EVENTS, KEY, OTHER_KEY, PLAIN, Gate, same_twice, stream
from benchmarks.proxy.programs import environment
from benchmarks.proxy.subjects import Subject, litellm, ours
from tests.httpx.upstream import Held, Received, Scripted, Upstream, completion, delta, events
from tests.support.provider import Answer, Provider

Outcome = tuple[str, bool]
"""What was seen, and whether it is right."""


@dataclass(frozen=True)
class Row:
    """Something to try.

    Attributes:
        what: it is.
        want: what is right.
        attempt: tries it.
    """

    what: str
    want: str
    attempt: Callable[[Gate], Outcome]


def calls(what: str, want: int, attempt: Callable[[Gate], int]) -> Row:
    """A row that counts calls of the provider."""

    def tried(gate: Gate) -> Outcome:
        seen = attempt(gate)
        return _calls(seen), seen == want

    return Row(what, _calls(want), tried)


def _calls(number: int) -> str:
    return f"{number} call{'s' * (number != 1)}"


def slow(gate: Gate, reply: Scripted) -> None:
    """Have the upstream take its time."""

    def script(_: Received) -> Scripted:
        time.sleep(0.5)
        return reply

    gate.upstream.script = script


def crowd(gate: Gate, number: int, streams: bool) -> int:
    slow(gate, stream() if streams else PLAIN)
    return gate.at_once(number, **({"stream": True} if streams else {}))


def foreign(gate: Gate) -> int:
    gate.post(gate.body())
    gate.post(gate.body(), key=OTHER_KEY)
    return gate.calls


def cut(gate: Gate, tears: bool) -> Outcome:
    gate.replies(stream(EVENTS[:3], tears=tears))
    ends = [gate.streamed() for _ in range(2)]
    endings = [end if isinstance(end, str) else f"finish_reason {_finish(end)}" for end in ends]
    invented = any("stop" in one for one in endings)
    return f"{_calls(gate.calls)}; ends: {', '.join(endings)}", gate.calls == 2 and not invented


def _finish(chunks: list[dict[str, Any]]) -> object:
    reasons = [choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"]]
    return reasons[-1] if reasons else "none"


def finish(gate: Gate, reason: str) -> int:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hel"}, "finish_reason": reason}
    gate.replies(Scripted([json.dumps(completion(choices=[choice])).encode()]))
    return gate.twice({})


def error(gate: Gate, status: int) -> Outcome:
    body = b'{"error":  {"message": "not now", "type": "t", "code": null}}'
    gate.replies(Scripted([body], status, [("content-type", "application/json"), ("retry-after", "7")]))
    first = gate.post(gate.body())
    gate.post(gate.body())
    unchanged = (first.status_code == status, first.content == body, first.headers.get("retry-after") == "7")
    names = ("status", "body", "retry-after")
    lost = [name for name, one in zip(names, unchanged, strict=True) if not one]
    changed = f"changed: {', '.join(lost)}" if lost else "as sent"
    return f"{_calls(gate.calls)}; {changed}", gate.calls == 2 and not lost


def only_if_cached(gate: Gate) -> Outcome:
    reply = gate.post(gate.body(), cache_control="only-if-cached")
    return f"{reply.status_code}, {_calls(gate.calls)}", reply.status_code == 504 and gate.calls == 0


def tool_call(gate: Gate) -> Outcome:
    def part(**function: str) -> dict[str, Any]:
        call: dict[str, Any] = {"index": 0, "function": function}
        return delta(tool_calls=[{**call, "id": "call_1", "type": "function"} if "name" in function else call])

    pieces = [part(arguments=one) for one in ('{"ci', 'ty": "Par', 'is"}')]
    gate.replies(stream(events(part(name="weather", arguments=""), *pieces, delta("tool_calls"))))
    return same_twice(gate.streamed, gate)


def reasoning(gate: Gate) -> Outcome:
    gate.replies(stream(events(delta(reasoning_content="Let me see."), delta(content="Hello."), delta("stop"))))
    return same_twice(gate.streamed, gate)


def usage_stream_then_plain(gate: Gate) -> int:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    gate.replies(stream([*EVENTS[:-1], *events({"choices": [], "usage": usage})]))
    gate.post(gate.body(stream=True, stream_options={"include_usage": True}))
    gate.replies(PLAIN)
    gate.post(gate.body())
    return gate.calls


def each_counts(gate: Gate) -> int:
    changed: dict[str, tuple[Any, Any]] = {
        "seed": (1, 2), "temperature": (0, 0.1), "top_p": (0.5, 0.9),
        "service_tier": ("flex", "auto"),
    }  # fmt: skip
    for name, (one, other) in changed.items():
        gate.post(gate.body(**{name: one}))
        gate.post(gate.body(**{name: other}))
    return gate.calls


def leaves(gate: Gate) -> Outcome:
    go_on = threading.Event()
    gate.replies(stream(Held(EVENTS, go_on)))
    got: list[bytes] = []
    request: Any = {"json": gate.body(stream=True), "headers": {"authorization": f"Bearer {KEY}"}}
    url = gate.proxy.url + CHAT
    with httpx2.Client(timeout=60) as one, httpx2.Client(timeout=60) as other:  # making them takes a while
        with one.stream("POST", url, **request) as first:
            parts = first.iter_raw()  # when it is collected, the connection is closed
            next(parts)
            second = threading.Thread(target=lambda: got.append(other.post(url, **request).content))
            second.start()
            time.sleep(2)
        time.sleep(0.5)
        go_on.set()
        second.join(60)
    gate.post(gate.body(stream=True))
    return _calls(gate.calls), gate.calls == 1 and got == [b"".join(EVENTS)]


def down(gate: Gate) -> Outcome:
    gate.post(gate.body())
    gate.upstream.__exit__()

    def gone(_: Received) -> Scripted:  # on connections that are still open
        raise ConnectionError

    gate.upstream.script = gone
    stored, new = gate.post(gate.body()), gate.post(gate.body(seed=7))
    right = stored.status_code == 200 and new.status_code in (502, 504)
    return f"stored {stored.status_code}, new {new.status_code}", right


def large(gate: Gate) -> Outcome:
    messages = [{"role": "user", "content": "x" * 8_000_000}]
    gate.post(gate.body(messages=messages))
    began = time.monotonic()
    gate.post(gate.body(messages=messages))
    return f"{_calls(gate.calls)}, {time.monotonic() - began:.2f} s", gate.calls == 1


def malformed(gate: Gate) -> Outcome:
    gate.replies(Scripted([b'{"error": {"message": "bad"}}'], 400))
    statuses = [gate.post(body).status_code for body in (b"{", b"[]", b"null")]
    return ", ".join(map(str, statuses)), statuses == [400] * 3


def says(gate: Gate) -> Outcome:
    gate.post(gate.body())
    reply = gate.post(gate.body())
    present = [name for name in ("cache-status", "age", "x-litellm-cache-key") if name in reply.headers]
    return ", ".join(present) or "nothing", {"cache-status", "age"} <= set(present)


def texts(gate: Gate) -> Outcome:
    gate.emulates()
    marks = [f"{one} {time.time_ns()}" + "x" * number for number, one in enumerate("abc")]
    send = gate.openai.embeddings.create
    for pair in (marks[:2], marks[1:], marks[:2]):
        made = send(model="text-embedding-3-small", input=pair, encoding_format="float")
        lengths = [one.embedding[0] for one in made.data]
        assert lengths == [float(len(text)) for text in pair], "the order is wrong"
    sent = sum(len(one.json["input"]) for one in gate.upstream.received)
    return f"{_calls(gate.calls)}, {sent} texts", (gate.calls, sent) == (2, 3)


def formats(gate: Gate) -> int:
    gate.emulates()
    text = f"one {time.time_ns()}"
    for encoding in ("float", "base64"):
        body = {"model": "text-embedding-3-small", "input": text, "encoding_format": encoding}
        gate.post(body, "/v1/embeddings")
    return gate.calls


def responses(gate: Gate, streams: bool) -> Outcome:
    gate.emulates()
    text = f"Why is the sky blue? {time.time_ns()}"

    def send() -> Any:
        made: Any = gate.openai.responses.create(model="gpt-4o", input=text, stream=streams)  # type: ignore[call-overload]
        return [one.type for one in made] if streams else made.output_text

    return same_twice(send, gate)


def messages(gate: Gate, streams: bool) -> Outcome:
    gate.emulates()
    prompt: Any = [{"role": "user", "content": f"Why is the sky blue? {time.time_ns()}"}]

    def send() -> Any:
        made: Any = gate.anthropic.messages.create(
            model="claude-sonnet-4-5", max_tokens=100, messages=prompt, stream=streams
        )  # type: ignore[call-overload]
        return [one.model_dump() for one in made] if streams else made.content[0].text

    return same_twice(send, gate)


ORDERED, OTHERWISE = [{"role": "user", "content": "Hi"}], [{"content": "Hi", "role": "user"}]
ROWS = [
    calls("200 identical at once", 1, lambda gate: crowd(gate, 200, False)),
    calls("100 identical streams at once", 1, lambda gate: crowd(gate, 100, True)),
    calls("another key, user and team", 2, foreign),
    calls("`foo_bar: 1`, then `2`", 2, lambda gate: gate.twice({"foo_bar": 1}, {"foo_bar": 2})),
    Row("a stream that ends early, twice", "2 calls; no invented end", lambda gate: cut(gate, False)),
    Row("a stream that breaks, twice", "2 calls; no invented end", lambda gate: cut(gate, True)),
    calls("`finish_reason: length`, twice", 2, lambda gate: finish(gate, "length")),
    calls("`content_filter`, twice", 2, lambda gate: finish(gate, "content_filter")),
    *(
        Row(f"an error {status}, twice", "2 calls; as sent", functools.partial(error, status=status))
        for status in (500, 429, 400)
    ),
    calls("`no-cache`", 2, lambda gate: gate.twice({}, cache_control="no-cache")),
    calls("`no-store`", 2, lambda gate: gate.twice({}, cache_control="no-store")),
    calls("`max-age=0`", 2, lambda gate: gate.twice({}, cache_control="max-age=0")),
    Row("`only-if-cached`, nothing stored", "504, 0 calls", only_if_cached),
    Row("a streamed hit", "1 call, the same", lambda gate: same_twice(gate.streamed, gate)),
    Row("a streamed tool call", "1 call, the same", tool_call),
    Row("a streamed hit with `reasoning_content`", "1 call, the same", reasoning),
    calls("a stream with usage, then plain", 1, usage_stream_then_plain),
    calls("`temperature` 0, then 0.0", 1, lambda gate: gate.twice({"temperature": 0}, {"temperature": 0.0})),
    calls(
        "the order of members of a message",
        1,
        lambda gate: gate.twice({"messages": ORDERED, "seed": 1}, {"messages": OTHERWISE, "seed": 1}),
    ),
    calls(
        "the order of `logit_bias`",
        1,
        lambda gate: gate.twice({"logit_bias": {"1": 1, "2": 2}}, {"logit_bias": {"2": 2, "1": 1}}),
    ),
    calls("seed, temperature, top_p and tier differ: 4 pairs", 8, each_counts),
    calls("`user` differs", 2, lambda gate: gate.twice({"user": "ann"}, {"user": "bob"})),
    calls(
        "`safety_identifier` differs",
        1,
        lambda gate: gate.twice({"safety_identifier": "a"}, {"safety_identifier": "b"}),
    ),
    calls(
        "`prompt_cache_key` differs",
        1,
        lambda gate: gate.twice({"prompt_cache_key": "a"}, {"prompt_cache_key": "b"}),
    ),
    Row("the first of two leaves in mid-stream", "1 call", leaves),
    Row("a prompt of 8 MB, twice", "1 call", large),
    Row("malformed bodies `{`, `[]`, `null`", "400 each", malformed),
    Row("headers that mark a hit", "cache-status, age", says),
    Row("embeddings [a, b], [b, c], [a, b]", "2 calls, 3 texts", texts),
    calls("an embedding as float, then as base64", 1, formats),
    Row("responses, twice", "1 call, the same", lambda gate: responses(gate, False)),
    Row("responses streamed, twice", "1 call, the same", lambda gate: responses(gate, True)),
    Row("messages, twice (anthropic SDK)", "1 call, the same", lambda gate: messages(gate, False)),
    Row("messages streamed, twice", "1 call, the same", lambda gate: messages(gate, True)),
    Row("the provider is down", "stored 200, new 502", down),
]


def table(log: Callable[[str], object], *, rivals: bool) -> str:
    """All rows, ours and LiteLLM's, as Markdown."""
    columns: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        makers: dict[str, Callable[[str], Subject]] = {
            "askonce": lambda url: ours("askonce", Path(folder), url, f"sqlite:///{folder}/rows.db")
        }
        if rivals:
            makers["LiteLLM"] = lambda url: litellm(
                "LiteLLM rows", environment(), Path(folder), url, {"type": "local"}, any_key=True
            )
        for name, make in makers.items():
            columns[name] = _column(name, make, log)
    right = {name: sum(is_right for _, is_right in column) for name, column in columns.items()}
    heads = ("tried", "right", *(f"{name}: {number} of {len(ROWS)}" for name, number in right.items()))
    lines = [
        (row.what, row.want, *(seen if right else f"**{seen}**" for seen, right in outcomes))
        for row, outcomes in zip(ROWS, zip(*columns.values(), strict=True), strict=True)
    ]
    return markdown(heads, lines)


def _column(name: str, make: Callable[[str], Subject], log: Callable[[str], object]) -> list[Outcome]:
    column = []
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(lambda _: PLAIN))
        provider = stack.enter_context(Provider(answer=lambda _: Answer("Air scatters blue light.")))
        gate = Gate(stack.enter_context(make(upstream.url)), upstream, provider)
        for row in ROWS:
            gate.begin()
            try:
                outcome = row.attempt(gate)
            except Exception as raised:
                outcome = f"{type(raised).__name__}: {str(raised)[:80]}", False
            log(f"  {name:10} {'right' if outcome[1] else 'WRONG'}  {row.what}: {outcome[0]}")
            column.append(outcome)
        upstream.__enter__()  # the last row ended it
    return column
