"""OpenAI's chat completions, whole and as chunks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from askonce.entries.end_reasons import is_proper
from askonce.entries.entry import Incomplete, Usage
from askonce.entries.requested import Requested
from askonce.wire.acceptance import Acceptance, Json, mapping, number, objects
from askonce.wire.events import DONE, ServerEvent, event_of, raw_events, written
from askonce.wire.growing import Growing

_CONCATENATED = frozenset({"content", "refusal", "reasoning_content", "reasoning", "thinking"})
_CONSTANT = frozenset({"role"})
_SAYS = ("audio", "images", "image", "annotations")
_OF_A_CHUNK = frozenset({"object", "choices", "usage", "obfuscation"})
_USAGE_MEMBER, _USAGE = b'"usage":', re.compile(rb'"usage": ?\{')  # within a text, the quotes are escaped
_OF_A_MOMENT = frozenset({"created"})
_IN_PIECES = frozenset({"arguments", "input"})
_OF_A_CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs"})


def judged(body: Json, requested: Requested) -> Acceptance:
    """What is known of a completion."""
    found = Acceptance(usage=usage_in(mapping(body.get("usage"))))
    choices = objects(body.get("choices"))
    if not choices or body.get("error"):
        found.broken = "it holds no answer"
    for choice in choices:
        reason = choice.get("finish_reason")
        if not reason or not is_proper(reason):
            found.broken = f"it ended with finish_reason {reason!r}"
        message = mapping(choice.get("message"))
        if message.get("refusal"):
            found.broken = "the model refused"
        if isinstance(message.get("content"), str):
            found.add_text(message["content"])
        elif message.get("content"):
            found.has_content, found.texts = True, None
        for call in objects(message.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, dict):
                found.add_call(function.get("name"), function.get("arguments"), requested)
            else:
                found.has_content, found.texts = True, None
        if isinstance(message.get("function_call"), dict):
            found.add_call(
                message["function_call"].get("name"), message["function_call"].get("arguments"), requested
            )
        if any(message.get(name) for name in _SAYS):
            found.has_content, found.texts = True, None
        if len(choices) == 1:
            found.check_text(requested)
    if len(choices) != 1:
        found.texts = None
    return found


def usage_in(usage: Json) -> Usage:
    """The tokens that OpenAI reports, of completions and of responses."""
    details = mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    return Usage(
        number(usage.get("prompt_tokens") or usage.get("input_tokens")),
        number(usage.get("completion_tokens") or usage.get("output_tokens")),
        number(details.get("cached_tokens")),
        number(details.get("cache_write_tokens")),
    )


# -- from chunks -----------------------------------------------------------------------------------------------


def assembled(events: Iterable[ServerEvent]) -> tuple[Json | None, bool]:
    """The completion that chunks add up to, and whether it is all that a whole one would say.

    Returns:
        ``None`` if the stream is broken.
    """
    whole: Json = {"object": "chat.completion"}
    choices: dict[int, Json] = {}
    growing, head = Growing(), None
    faithful = True
    for event in events:
        chunk = event.data
        if event.is_done or chunk is None:
            continue
        if not isinstance(chunk, dict) or "error" in chunk or "choices" not in chunk:
            return None, False
        ours = {name: value for name, value in chunk.items() if name not in _OF_A_CHUNK}
        if ours != head:  # most chunks begin alike
            head = ours
            faithful &= _add_head(whole, ours)
        if chunk.get("usage"):
            whole["usage"] = chunk["usage"]
        parts = objects(chunk["choices"])
        faithful &= len(parts) == len(chunk["choices"] or ())
        for part in parts:
            index = part.get("index", 0)
            if index not in choices:
                choices[index] = _empty_choice(index)
            faithful &= _add(choices[index], part, growing)
    growing.join()
    whole["choices"] = [choices[index] for index in sorted(choices)]
    return _in_order(whole), faithful and "usage" in whole


def _add_head(whole: Json, head: Json) -> bool:
    """Add what a chunk says beside its choices; returns whether nothing was lost."""
    faithful = True
    for name, value in head.items():
        if value is not None:
            faithful &= name in _OF_A_MOMENT or whole.get(name, value) == value
            whole[name] = value
    return faithful


def _empty_choice(index: Any) -> Json:
    return {
        "index": index,
        "message": {"role": "assistant", "content": None},
        "logprobs": None,
        "finish_reason": None,
    }


def _add(choice: Json, part: Json, growing: Growing) -> bool:
    """Add a part of a choice to it; returns whether nothing of it was lost."""
    faithful = True
    for name, value in part.items():
        if value is None:
            if name not in _OF_A_CHOICE:
                choice.setdefault(name, None)
        elif name == "logprobs" and isinstance(value, dict):
            known = choice["logprobs"] = choice["logprobs"] or {}
            for inner, tokens in value.items():
                if isinstance(tokens, list) and known.get(inner):
                    known[inner] += tokens
                else:
                    known[inner] = tokens if isinstance(tokens, list) else known.get(inner)
        elif name not in _OF_A_CHOICE or name == "finish_reason":
            faithful &= choice.get(name) in (None, value)
            choice[name] = value
    message, delta = choice["message"], part.get("delta") or {}
    faithful &= isinstance(delta, dict)
    for name, value in mapping(delta).items():
        if value is None:
            message.setdefault(name, None)
        elif name == "tool_calls":
            faithful &= all([_add_call(message.setdefault(name, []), call, growing) for call in objects(value)])
        elif name == "function_call":
            faithful &= _add_texts(message.setdefault(name, {}), mapping(value), growing)
        elif name in _CONCATENATED and isinstance(value, str) and growing.add(message, name, value):
            pass
        else:
            faithful &= name in _CONSTANT or message.get(name) is None
            message[name] = value
    return faithful


def _add_call(calls: list[Json], part: Json, growing: Growing) -> bool:
    index = part.get("index", len(calls) - 1 if "id" not in part else len(calls))
    if not isinstance(index, int) or not 0 <= index <= len(calls):
        return False
    if index == len(calls):
        calls.append({})
    call, faithful = calls[index], True
    for name, value in part.items():
        if name == "index" or value is None:
            continue
        if isinstance(value, dict):  # ``function``, ``custom``
            faithful &= isinstance(call.setdefault(name, {}), dict) and _add_texts(call[name], value, growing)
        elif value != "" or name not in call:  # some servers repeat a member without its value
            faithful &= call.get(name, value) == value
            call[name] = value
    return faithful


def _add_texts(known: Json, part: Json, growing: Growing) -> bool:
    """Add a part of a call's object to it; returns whether nothing of it was lost."""
    faithful = True
    for name, value in part.items():
        if name in _IN_PIECES and isinstance(value, str):
            faithful &= growing.add(known, name, value)
        elif value is not None and (value != "" or name not in known):
            faithful &= known.get(name) in (None, "", value)
            known[name] = value
    return faithful


def _in_order(whole: Json) -> Json:
    """Members in the order in which the provider writes them."""
    order = ("id", "object", "created", "model", "choices", "usage")
    return {name: whole[name] for name in order if name in whole} | whole


# -- to chunks -------------------------------------------------------------------------------------------------


def as_stream(body: Json, *, wants_usage: bool) -> bytes:
    """A completion as few chunks that add up to it.

    Raises:
        Incomplete: chunks cannot say all of it.
    """
    base = {name: value for name, value in body.items() if name not in ("object", "choices", "usage")}
    base = {"id": base.pop("id", ""), "object": "chat.completion.chunk", **base}
    no_usage: Json = {"usage": None} if wants_usage else {}
    chunks: list[Json] = []
    for choice in objects(body.get("choices")):
        message = dict(mapping(choice.get("message")))
        if message.get("audio"):
            raise Incomplete
        if isinstance(calls := message.get("tool_calls"), list):
            if not all(isinstance(call, dict) and isinstance(call.get("function"), dict) for call in calls):
                raise Incomplete
            message["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
        elif "tool_calls" in message:
            del message["tool_calls"]
        index = choice.get("index", 0)
        first = {"index": index, "delta": message, "logprobs": choice.get("logprobs"), "finish_reason": None}
        others = {name: value for name, value in choice.items() if name not in _OF_A_CHOICE}
        last = {
            "index": index,
            "delta": {},
            "logprobs": None,
            "finish_reason": choice.get("finish_reason"),
            **others,
        }
        chunks += [{**base, "choices": [first], **no_usage}, {**base, "choices": [last], **no_usage}]
    if wants_usage:
        if not body.get("usage"):
            raise Incomplete
        chunks.append({**base, "choices": [], "usage": body["usage"]})
    return written(chunks, named=False) + DONE


def with_usage_as_wanted(body: bytes, *, wants_usage: bool) -> bytes:
    """The bytes of a stream, with its usage if that is wanted, and without it if not.

    Raises:
        Incomplete: it is wanted, and the stream does not say it.
    """
    if wants_usage:
        if not any(map(_is_usage, _USAGE.finditer(body))):
            raise Incomplete
        return body
    return body if _USAGE_MEMBER not in body else b"".join(map(_without_usage, raw_events(body)))


def _is_usage(found: re.Match[bytes]) -> bool:
    """Whether a member of that name is the chunk's own, and not that of an object in it."""
    body, ends = found.string, found.string.find(b"\n", found.end())
    line = body[body.rfind(b"\n", 0, found.start()) + 1 : len(body) if ends < 0 else ends]
    try:
        return bool(mapping(msgspec.json.decode(line.removeprefix(b"data:"))).get("usage"))
    except (msgspec.DecodeError, RecursionError):
        return False


def _without_usage(raw: bytes) -> bytes:
    data: Any = event_of(raw).data if b'"usage"' in raw else None
    if not isinstance(data, dict) or "usage" not in data:
        return raw
    if data["usage"] is not None and not data.get("choices"):
        return b""
    return written([{name: value for name, value in data.items() if name != "usage"}], named=False)
