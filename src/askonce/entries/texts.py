"""The texts in stored data as a reader sees them: what is encoded within is decoded, and what is in parts is whole.

A stream is stored as its provider sent it, a few letters in each event; JSON may write any letter as a number; the
arguments of a tool call are JSON in a text in JSON. So the bytes of what is said may stand nowhere in stored data.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from askonce.entries.spelled import decoded

_DEEPEST = 8
_EVENT_ENDS = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")
_BASE64 = re.compile(r"(?:data:[^,]*;base64,)?([A-Za-z0-9+/]{16,}={0,2})", re.ASCII)


class _Text(NamedTuple):
    name: str | None
    part_of: tuple[int, ...]
    text: str


def texts_in(data: bytes) -> Iterator[str]:
    """Every text in stored data, and those under one name put together in their order, like deltas of a stream.

    Args:
        data: any bytes: MessagePack, JSON, server-sent events, or plain text.
    """
    parts: dict[tuple[Any, ...], list[str]] = {}
    for one in _texts_of(data):
        yield one.text
        if one.name is None:
            continue
        parts.setdefault((one.name,), []).append(one.text)  # an answer in several blocks
        parts.setdefault((one.name, one.part_of), []).append(one.text)  # several at once, which take turns
    for texts in parts.values():
        if len(texts) > 1:
            whole = "".join(texts)
            yield whole
            yield from (one.text for one in _texts_of(whole))


def opened(value: Any, depth: int = _DEEPEST) -> Any:
    """Plain data with what is encoded within it decoded."""
    if isinstance(value, dict):
        return {key: opened(one, depth) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [opened(one, depth) for one in value]
    if depth and isinstance(value, (bytes, str)):
        within = _of_bytes(value) if isinstance(value, bytes) else _of_text(value)
        return value if within is None else opened(within, depth - 1)
    return value


def _texts_of(value: Any) -> list[_Text]:
    found: list[_Text] = []
    with suppress(RecursionError):  # what is nested too deeply is read as far as it goes
        _read(value, "", (), _DEEPEST, found)
    return found


def _read(value: Any, name: str, part_of: tuple[int, ...], depth: int, found: list[_Text]) -> None:
    """Add the texts in a value, each under the last name on the way to it, and the indexes that stand there."""
    if isinstance(value, str):
        found.append(_Text(name, part_of, value))
        if depth and (within := _of_text(value)) is not None:
            _read(within, name, part_of, depth - 1, found)
    elif isinstance(value, dict):
        for key, one in value.items():
            if isinstance(key, str) and isinstance(one, int) and key.endswith("index"):
                part_of = (*part_of, one)
        for key, one in value.items():
            if isinstance(key, str):
                found.append(_Text(None, (), key))
            _read(one, str(key), part_of, depth, found)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            _read(one, name, part_of, depth, found)
    elif isinstance(value, bytes) and depth:
        _read(_of_bytes(value), name, part_of, depth - 1, found)


def _of_bytes(data: bytes) -> Any:
    """What bytes hold; ``None`` if they are no text either."""
    try:
        return decoded(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    if (events := _events(data)) is not None:
        return events
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _of_text(text: str) -> Any:
    """What a text encodes, JSON or another text in base64; ``None`` if nothing."""
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            return msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
    if found := _BASE64.fullmatch(text):
        try:
            return binascii.a2b_base64(found[1]).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _events(body: bytes) -> list[Any] | None:
    """The data of server-sent events; ``None`` if there are none."""
    found = []
    for event in _EVENT_ENDS.split(body):
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        try:
            found.append(msgspec.json.decode(b"\n".join(lines)) if lines else None)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found.append(b"\n".join(lines).decode(errors="replace"))
    return found if any(one is not None for one in found) else None
