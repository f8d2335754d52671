"""Anthropic's messages, whole and as events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from askonce.entries.end_reasons import is_proper
from askonce.entries.entry import Usage
from askonce.entries.requested import Requested
from askonce.wire.acceptance import Acceptance, Json, mapping, number, objects
from askonce.wire.events import ServerEvent, written
from askonce.wire.growing import Growing

_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
_EMPTY = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}}


def judged(body: Json, requested: Requested) -> Acceptance:
    """What is known of a message."""
    found, usage = Acceptance(), mapping(body.get("usage"))
    read, wrote = number(usage.get("cache_read_input_tokens")), number(usage.get("cache_creation_input_tokens"))
    found.usage = Usage(
        number(usage.get("input_tokens")) + read + wrote, number(usage.get("output_tokens")), read, wrote
    )
    if body.get("type") != "message":
        found.broken = "it holds no answer"
    elif not (reason := body.get("stop_reason")) or not is_proper(reason):
        found.broken = f"it ended with stop_reason {body.get('stop_reason')!r}"
    for block in objects(body.get("content")):
        kind = block.get("type")
        if kind == "text":
            found.add_text(str(block.get("text") or ""))
        elif kind == "tool_use":
            found.add_call(block.get("name"), block.get("input"), requested)
        elif kind not in _THOUGHTS:
            found.texts = None
    found.check_text(requested)
    return found


# -- from events -----------------------------------------------------------------------------------------------


def assembled(events: Iterable[ServerEvent]) -> tuple[Json | None, bool]:
    """The message that events add up to, and whether it is all that a whole one would say.

    Returns:
        ``None`` if the stream is broken.
    """
    message: Json | None = None
    blocks: dict[int, Json] = {}
    inputs: dict[int, list[str]] = {}
    growing = Growing()
    open_blocks: set[int] = set()
    faithful = True
    for event in events:
        data = mapping(event.data)
        kind, index = data.get("type"), data.get("index", 0)
        if kind == "error" or "error" in data or (event.data is not None and not isinstance(kind, str)):
            return None, False
        if kind == "message_start":
            message = dict(mapping(data.get("message")))
        elif kind == "content_block_start":
            blocks[index] = dict(mapping(data.get("content_block")))
            open_blocks.add(index)
        elif kind == "content_block_delta":
            if index not in blocks:
                return None, False
            faithful &= _add(blocks[index], inputs.setdefault(index, []), mapping(data.get("delta")), growing)
        elif kind == "message_delta" and message is not None:
            others = {name: one for name, one in data.items() if name not in ("type", "delta", "usage")}
            message |= mapping(data.get("delta")) | others
            reported = {name: value for name, value in mapping(data.get("usage")).items() if value is not None}
            message["usage"] = mapping(message.get("usage")) | reported
        elif kind == "content_block_stop":
            open_blocks.discard(index)
        elif kind not in (None, "ping", "message_stop"):
            faithful = False
    if message is None or open_blocks:
        return None, False
    growing.join()
    for index, pieces in inputs.items():
        if not pieces:
            continue
        text = "".join(pieces)
        try:
            blocks[index]["input"] = msgspec.json.decode(text) if text else {}
        except (msgspec.DecodeError, RecursionError):
            blocks[index]["input"] = text
    message["content"] = [blocks[index] for index in sorted(blocks)]
    return message, faithful


def _add(block: Json, input_pieces: list[str], delta: Json, growing: Growing) -> bool:
    """Add a delta to a block; returns whether nothing of it was lost."""
    kind = delta.get("type")
    if kind == "input_json_delta":
        input_pieces.append(str(delta.get("partial_json") or ""))
    elif kind == "citations_delta":
        if not block.get("citations"):
            block["citations"] = []
        block["citations"].append(delta.get("citation"))
    elif kind in _TEXTS:
        name = _TEXTS[str(kind)]
        return growing.add(block, name, str(delta.get(name) or ""))
    else:
        return False
    return True


# -- to events -------------------------------------------------------------------------------------------------


def as_stream(body: Json) -> bytes:
    """A message as few events that add up to it."""
    usage = mapping(body.get("usage"))
    ends = {name: body.get(name) for name in ("stop_reason", "stop_sequence")}
    started = {**body, "content": [], **dict.fromkeys(ends), "usage": {**usage, "output_tokens": 0}}
    if body.get("container"):
        ends["container"], started["container"] = body["container"], None
    others = {name: started.pop(name) for name in ("context_management",) if name in started}
    events: list[Json] = [{"type": "message_start", "message": started}]
    for index, block in enumerate(objects(body.get("content"))):
        first, deltas = _parts(block)
        events.append({"type": "content_block_start", "index": index, "content_block": first})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    at_end = {name: value for name, value in usage.items() if name.endswith("_tokens") or name == "server_tool_use"}
    events.append({"type": "message_delta", "delta": ends, "usage": at_end, **others})
    return written([*events, {"type": "message_stop"}], named=True)


def _parts(block: Json) -> tuple[Json, list[Json]]:
    """The beginning of a block, and what is added to it."""
    kind: Any = block.get("type")
    if kind in ("text", "thinking"):
        deltas = [{"type": f"{name}_delta", name: block[name]} for name in ("text", "thinking") if block.get(name)]
        deltas += [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
        if block.get("signature"):
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        first = {**block, **_EMPTY[kind]}
        return {**first, "citations": []} if block.get("citations") else first, deltas
    if str(kind).endswith("tool_use") and block.get("input"):
        text = msgspec.json.encode(block["input"]).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": text}]
    return block, []
