"""A request as the provider renders it: segments in the order of the cache, and running hashes over them.

Tokens are counted by a rule that no real model has, so that a test can count by hand: a word or a sign is one. A
tool counts its compact JSON as received, a message four tokens more than its parts, a tool call its name and
arguments, a tool result its text, an image 85. Ids count nothing, but every byte that the model would see, ids too,
takes part in the hashes; marks of the cache do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

Json = dict[str, Any]
Level = Literal["tools", "system", "messages"]

LEVELS: tuple[Level | Literal[""], ...] = ("", "tools", "system", "messages")
MESSAGE_TOKENS = 4
IMAGE_TOKENS = 85
STEP = 128
_TOKEN = re.compile(r"\w+|[^\w\s]")
_MARKS = ("cache_control", "prompt_cache_breakpoint")


def count(text: str) -> int:
    """Tokens of a text: its words and its signs."""
    return sum(1 for _ in _TOKEN.finditer(text))


def compact(value: Any) -> str:
    """JSON without spaces, its keys in the order received."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the rendered prompt: a text counted by its tokens, or bytes that count a fixed number."""

    text: str
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One tool, block or part of a message.

    Attributes:
        mark: the lifetime that a breakpoint on this segment sets.
        ending: whether a message ends here after which GPT-5.6 may place its own breakpoint.
    """

    level: Level
    kind: str
    pieces: tuple[Piece, ...]
    mark: str | None = None
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """The running hash over a prompt, each with the tokens before it: at the end of each segment, and each 128."""

    tokens: int
    ends: list[tuple[int, bytes]]
    steps: list[tuple[int, bytes]]


def walk(root: str, segments: list[Segment], settings: dict[str, str]) -> Walk:
    """Hash a prompt from its beginning.

    Args:
        root: what separates caches altogether, such as the model.
        segments: the prompt.
        settings: those that change the cache from a level on; they are hashed before its first segment.
    """
    running = blake2b(root.encode(), digest_size=16)
    tokens, ends, steps, level = 0, [], [], ""
    for segment in segments:
        while level != segment.level:
            level = LEVELS[LEVELS.index(level) + 1]
            running.update(f"\0{settings.get(level, '')}\0".encode())
        running.update(f"\0{segment.level}".encode())
        for piece in segment.pieces:
            running.update(b"\0")
            if piece.tokens is not None:
                running.update(piece.text.encode())
                tokens += piece.tokens
                if tokens // STEP > (tokens - piece.tokens) // STEP:
                    steps.append((tokens // STEP * STEP, running.digest()))
                continue
            stops = [match.end() for match in _TOKEN.finditer(piece.text)]
            at = 0
            for boundary in range(tokens // STEP * STEP + STEP, tokens + len(stops) + 1, STEP):
                stop = stops[boundary - tokens - 1]
                running.update(piece.text[at:stop].encode())
                steps.append((boundary, running.digest()))
                at = stop
            running.update(piece.text[at:].encode())
            tokens += len(stops)
        ends.append((tokens, running.digest()))
    return Walk(tokens, ends, steps)


# --- What the three interfaces send ---------------------------------------------------------------


def _without_marks(value: Json) -> Json:
    return {key: item for key, item in value.items() if key not in _MARKS}


def _rest(value: Json, *known: str) -> str:
    """What else an object carries: it counts no tokens, but it is part of what must stay the same."""
    rest = {key: item for key, item in value.items() if key not in (*known, *_MARKS) and item is not None}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _mark(value: Json) -> str | None:
    if cache_options := value.get("cache_control"):
        return str(cache_options.get("ttl") or "5m")
    return "30m" if value.get("prompt_cache_breakpoint") else None


def _tool(tool: Json) -> Segment:
    return Segment("tools", "tool", (Piece(compact(_without_marks(tool))),), _mark(tool))


def _parts(content: Any) -> list[Json]:
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _result_pieces(content: Any) -> Iterator[Piece]:
    for part in _parts(content):
        yield from _part(part)[1]


def _part(part: Json) -> tuple[str, tuple[Piece, ...]]:
    """The kind of a content part and how it is rendered."""
    kind = part.get("type", "text")
    if kind in ("text", "input_text", "output_text"):
        return "text", (Piece(_rest(part, "type", "text"), 0), Piece(part["text"]))
    if kind in ("image", "image_url", "input_image"):
        return "image", (Piece(compact(_without_marks(part)), IMAGE_TOKENS),)
    if kind == "tool_use":
        head = Piece(_rest(part, "type", "name", "input"), 0)
        return kind, (head, Piece(part["name"]), Piece(compact(part["input"])))
    if kind == "tool_result":
        return kind, (Piece(_rest(part, "type", "content"), 0), *_result_pieces(part.get("content")))
    if kind == "thinking":
        return kind, (Piece(_rest(part, "type", "thinking"), 0), Piece(part["thinking"]))
    return kind, (Piece(compact(_without_marks(part))),)


def _message(level: Level, head: str, parts: list[tuple[str, tuple[Piece, ...], str | None]]) -> list[Segment]:
    """The segments of one message; its own four tokens belong to the first."""
    parts = parts or [("empty", (), None)]
    opening = Piece(head, MESSAGE_TOKENS)
    return [
        Segment(level, kind, ((opening,) if number == 0 else ()) + (Piece(kind, 0), *pieces), mark)
        for number, (kind, pieces, mark) in enumerate(parts)
    ]


def _chat_message(message: Json) -> list[Segment]:
    parts = [(*_part(part), _mark(part)) for part in _parts(message.get("content"))]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        head = Piece(_rest(call, "function"), 0)
        parts.append(("call", (head, Piece(function["name"]), Piece(function["arguments"])), None))
    return _message("messages", _rest(message, "content", "tool_calls"), parts)


def _item(item: Json) -> list[Segment]:
    """An item of the Responses interface."""
    kind = item.get("type", "message")
    if kind == "message":
        parts = [(*_part(part), _mark(part)) for part in _parts(item["content"])]
        return _message("messages", _rest(item, "content", "type", "id", "status"), parts)
    if kind == "function_call":
        pieces: tuple[Piece, ...] = (Piece(item["name"]), Piece(item["arguments"]))
        return _message("messages", _rest(item, "name", "arguments", "status"), [("call", pieces, None)])
    if kind == "function_call_output":
        pieces = tuple(_result_pieces(item["output"]))
        return _message("messages", _rest(item, "output", "status"), [("result", pieces, None)])
    return _message("messages", "", [(kind, (Piece(compact(_without_marks(item))),), None)])


def _ends_eligibly(roles: list[str], number: int) -> bool:
    """Whether GPT-5.6 may place its own breakpoint after this message."""
    following = roles[number + 1] if number + 1 < len(roles) else ""
    if roles[number] == "instructions":
        return following != "instructions" and set(roles[:number]) <= {"instructions"}
    return roles[number] == "user" or (roles[number] == "tool" and following != "tool")


_ROLES = {"system": "instructions", "developer": "instructions", "function": "tool", "function_call_output": "tool"}


def _with_endings(messages: list[tuple[str, list[Segment]]]) -> Iterator[Segment]:
    roles = [_ROLES.get(role, role) for role, _ in messages]
    for number, (_, segments) in enumerate(messages):
        *inner, last = segments
        yield from inner
        ending = _ends_eligibly(roles, number)
        yield Segment(last.level, last.kind, last.pieces, last.mark, ending)


def chat_completions(request: Json) -> list[Segment]:
    """A request to ``/v1/chat/completions``."""
    messages = [(message["role"], _chat_message(message)) for message in request["messages"]]
    return [*map(_tool, request.get("tools") or ()), *_with_endings(messages)]


def responses(request: Json) -> list[Segment]:
    """A request to ``/v1/responses``."""
    items = request["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if request.get("instructions"):
        items = [{"role": "developer", "content": request["instructions"]}, *items]
    messages = [(item.get("role") or item["type"], _item(item)) for item in items]
    return [*map(_tool, request.get("tools") or ()), *_with_endings(messages)]


def anthropic_messages(request: Json) -> list[Segment]:
    """A request to ``/v1/messages``."""
    segments = [_tool(tool) for tool in request.get("tools") or ()]
    for block in _parts(request.get("system")):
        kind, pieces = _part(block)
        segments.append(Segment("system", kind, pieces, _mark(block)))
    for message in request["messages"]:
        parts = [(*_part(block), _mark(block)) for block in _parts(message["content"])]
        segments += _message("messages", message["role"], parts)
    if cache_options := request.get("cache_control"):
        last = segments[-1]
        segments[-1] = Segment(last.level, last.kind, last.pieces, last.mark or cache_options.get("ttl") or "5m")
    return segments
