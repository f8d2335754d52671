"""Server-sent events, and their bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from askonce.wire.apis import Api

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")
DONE = b"data: [DONE]\n\n"
_LINE = re.compile(rb"\r\n|\n|\r")
_OF_AN_EVENT = re.compile(rb"(data|event|id|retry)?:|(data|event|id|retry)?$").match
"""Begins a line of an event, a comment, or an empty line."""


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
    return list(_events(body))


def _events(body: bytes) -> Iterator[ServerEvent]:
    start = 0
    for blank in _BLANK_LINE.finditer(body):
        raw = body[start : blank.end()]
        start = blank.end()
        lines = _LINE.split(raw.removeprefix(b"\xef\xbb\xbf"))
        data = b"\n".join([line[5:].removeprefix(b" ") for line in lines if line[:5] == b"data:"])
        is_odd = not all(map(_OF_AN_EVENT, lines))
        if data.strip() == b"[DONE]":
            yield ServerEvent(raw, None, True, is_odd)
            continue
        try:
            read = msgspec.json.decode(data) if data else None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            yield ServerEvent(raw, is_unreadable=True)
        else:
            yield ServerEvent(raw, read, False, is_odd or (data != b"" and not isinstance(read, dict)))


def has_ended(api: Api, body: bytes) -> bool:
    """Whether a stream came to its end event, so that what a client has not read yet says nothing more."""
    events = without_marks(api, events_in(body[-_LONGEST_DONE:] if api == "chat" else body))
    return bool(events) and is_end(api, events[-1])


def without_marks(api: Api, events: Sequence[ServerEvent]) -> Sequence[ServerEvent]:
    """Events without OpenAI's mark of the end, which some gateways put after the end event of other APIs."""
    while api != "chat" and events and events[-1].is_done:
        events = events[:-1]
    return events


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
