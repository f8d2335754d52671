"""Server-sent events, and their bytes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from askonce.wire.apis import Api

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")
DONE = b"data: [DONE]\n\n"
_LINE = re.compile(rb"\r\n|\n|\r")
_OF_AN_EVENT = re.compile(rb"(data|event|id|retry)?:|(data|event|id|retry)?$").match
"""Begins a line of an event, a comment, or an empty line."""
_decode = msgspec.json.Decoder().decode


class ServerEvent(msgspec.Struct, frozen=True):
    """One event of a stream.

    Attributes:
        raw: its bytes, with the blank line that ends it.
        data: read as JSON; ``None`` if it has none, or none that can be read.
        is_done: it is OpenAI's end of the stream.
        is_unreadable: it holds what is no JSON object, or a line that no event has: what it says is not known.
    """

    raw: bytes
    data: Any = None
    is_done: bool = False
    is_unreadable: bool = False


def events_in(body: bytes) -> list[ServerEvent]:
    """The whole events of a stream; what comes after the last blank line is none."""
    return list(map(event_of, raw_events(body)))


def raw_events(body: bytes) -> list[bytes]:
    """The bytes of the events of a stream, each with the blank line that ends it."""
    if b"\r" not in body:
        *whole, _ = body.split(b"\n\n")
        return [raw + b"\n\n" for raw in whole]
    ends = [blank.end() for blank in _BLANK_LINE.finditer(body)]
    return [body[start:end] for start, end in itertools.pairwise([0, *ends])]


def event_of(raw: bytes) -> ServerEvent:
    """An event, of its bytes."""
    start = raw.find(b"\n") + 1 if raw.startswith(b"event: ") else 0
    if raw.startswith(b"data: {", start) and raw.find(b"\n", start) == len(raw) - 2 and b"\r" not in raw:
        data, is_odd = raw[start + 6 :], False  # as almost all are: one line, perhaps after a name
    else:
        lines = _LINE.split(raw.removeprefix(b"\xef\xbb\xbf"))
        data = b"\n".join([line[5:].removeprefix(b" ") for line in lines if line[:5] == b"data:"])
        is_odd = not all(map(_OF_AN_EVENT, lines))
        if data.strip() == b"[DONE]":
            return ServerEvent(raw, None, True, is_odd)
    try:
        read = _decode(data) if data else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ServerEvent(raw, is_unreadable=True)
    return ServerEvent(raw, read, False, is_odd or (data != b"" and not isinstance(read, dict)))


def has_ended(api: Api, body: bytes) -> bool:
    """Whether a stream came to its end event, so that what a client has not read yet says nothing more."""
    raws = raw_events(body[-_LONGEST_DONE:] if api == "chat" else body)
    last = last_event(api, raws)
    return last is not None and is_end(api, last)


def last_event(api: Api, raws: list[bytes]) -> ServerEvent | None:
    """The last event that says something; ``None``: there is none. What comes after it is taken off.

    That is comments, and OpenAI's mark of the end, which some gateways put after the end event of other APIs.
    """
    while raws:
        event = event_of(raws[-1])
        if event.data is not None or event.is_unreadable or (event.is_done and api == "chat"):
            return event
        raws.pop()
    return None


_LONGEST_DONE = 64
_ENDS = {"messages": "message_stop", "responses": "response.completed"}


def is_end(api: Api, event: ServerEvent) -> bool:
    """Whether an event ends the streams of an API."""
    return event.is_done if api == "chat" else _type(event) == _ENDS.get(api)


def _type(event: ServerEvent) -> Any:
    return event.data.get("type") if isinstance(event.data, dict) else None


def written(events: Iterable[dict[str, Any]], *, named: bool) -> bytes:
    """Events as bytes.

    Args:
        events: their data.
        named: each is named by the type in its data, as Anthropic's and those of OpenAI's responses are.
    """
    parts = []
    for data in events:
        name = f"event: {data['type']}\n".encode() if named else b""
        parts.append(name + b"data: " + msgspec.json.encode(data) + b"\n\n")
    return b"".join(parts)
