"""A text is found in stored data however it is encoded there, and in however many parts."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from askonce.entries.texts import texts_in

NAME = "Zoë Ångström/Doe"
PIECES = [NAME[:2], NAME[2:6], NAME[6:11], NAME[11:]]


def stream(*events: dict[str, Any], ending: str = "\n\n", named: bool = False) -> bytes:
    lines = ((f"event: {one['type']}\n" if named else "") + f"data: {json.dumps(one)}" for one in events)
    return "".join(one + ending for one in lines).encode() + b"data: [DONE]" + ending.encode()


def chat(*deltas: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": "c", "choices": [{"index": index, "delta": delta}]} for index, delta in deltas]


def call(piece: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def stored(body: bytes) -> bytes:
    return msgspec.msgpack.encode(["stream", [["content-type", "text/event-stream"]], body, b"{}", True])


ENCODED = base64.b64encode(f"It is {NAME}.".encode()).decode()
ARGUMENTS = json.dumps({"who": NAME}).replace("/", "\\/")
BLOCKS = [
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": one}} for one in PIECES
]
DELTAS = [
    {
        "type": "response.output_text.delta",
        "output_index": 0,
        "content_index": 0,
        "sequence_number": at,
        "delta": one,
    }
    for at, one in enumerate(PIECES)
]
TURNS = [
    (at, {"content": one}) for other, own in zip("abcd", PIECES, strict=True) for at, one in enumerate((other, own))
]
CHUNKS = chat(*((0, {"content": one}) for one in PIECES))
CALL_CHUNKS = chat(*((0, call(ARGUMENTS[at : at + 3])) for at in range(0, len(ARGUMENTS), 3)))
CASES = {
    "a chat": stored(stream(*CHUNKS)),
    "a chat with other ends of lines": stored(stream(*CHUNKS, ending="\r\n\r\n")),
    "choices that take turns": stored(stream(*chat(*TURNS))),
    "a tool call": stored(stream(*CALL_CHUNKS)),
    "messages": stored(stream(*BLOCKS, named=True)),
    "responses": stored(stream(*DELTAS, named=True)),
    "a plain reply that escapes": stored(json.dumps({"content": NAME}).replace("/", "\\u002f").encode()),
    "JSON": json.dumps([{"a": NAME}]).replace("/", "\\/").encode(),
    "JSON in JSON in JSON": json.dumps({"a": json.dumps({"b": json.dumps({"c": NAME})})}).encode(),
    "several blocks of an answer": msgspec.msgpack.encode({"blocks": [{"text": one} for one in PIECES]}),
    "a list of deltas": msgspec.msgpack.encode([["delta", {"delta": one}] for one in PIECES]),
    "base64": msgspec.msgpack.encode({"data": ENCODED}),
    "a data URL": json.dumps({"url": "data:text/plain;base64," + ENCODED}).encode(),
    "a name in a map": msgspec.msgpack.encode({NAME: 1}),
    "packed in packed": msgspec.msgpack.encode(["a", msgspec.msgpack.encode([msgspec.msgpack.encode(NAME)])]),
    "text": f"It is {NAME}.".encode(),
}  # fmt: skip


@pytest.mark.parametrize("data", CASES.values(), ids=CASES)
def test_a_text_is_found(data: bytes) -> None:
    assert any(NAME in one for one in texts_in(data))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc1\xff", b"data: ", b"data:\n\n", b"data: {\n\n", b"{", b"[" * 100_000,
        b"[" * 900 + b"]" * 900, b"\x91" * 900 + b"\x01", b'"' + b"\\" * 99,
        msgspec.msgpack.encode([["[" * 100_000], b"\x91" * 100_000]), msgspec.msgpack.encode("A" * 17 + "="),
    ],
)  # fmt: skip
def test_odd_data_is_read_as_far_as_it_goes(data: bytes) -> None:
    assert not any(NAME in one for one in texts_in(data))


def test_what_belongs_to_nothing_is_not_put_together() -> None:
    data = msgspec.msgpack.encode({"first": "Jane", "last": "Doe", "of": {"first": "Joe"}})
    found = list(texts_in(data))
    assert "JaneJoe" in found
    assert not any("JaneDoe" in one for one in found)
