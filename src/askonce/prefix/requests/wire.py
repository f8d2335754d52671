"""What providers are sent, as blocks in the order in which they hash them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from askonce.errors import ConfigError
from askonce.prefix.requests.rules import Level

_MARKS = ("cache_control", "prompt_cache_breakpoint", "cachePoint")


@dataclass(frozen=True, slots=True)
class Block:
    """What becomes a segment.

    Attributes:
        level: where it stands.
        label: its name for people.
        kind: see `askonce.prefix.requests.chain.Segment`.
        texts: what counts tokens.
        rest: what counts none, but must stay the same: ids, an image.
        opens: the head of the message (its role), if it is the first part of one.
        images: how many it holds.
        mark: the lifetime that a breakpoint here sets (``""``: the default), or ``None``.
        ending: a provider that places breakpoints itself may place one here.
    """

    level: Level
    label: str
    kind: str
    texts: tuple[str, ...]
    rest: str = ""
    opens: str | None = None
    images: int = 0
    mark: str | None = None
    ending: bool = False


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """A request's blocks, and what else of it concerns the cache."""

    payload: Mapping[str, Any]
    model: str
    blocks: tuple[Block, ...]
    cache_key: str = ""
    retention: str | None = None
    implicit: bool = True

    def parameter(self, path: str) -> str | None:
        """A parameter of the request as JSON, or ``None`` if it is not set."""
        if path == "images":
            return "images" if any(block.images for block in self.blocks) else None
        place: Any = self.payload
        for name in path.split("."):
            place = place.get(name) if isinstance(place, Mapping) else None
        return None if place is None else compact(place)


def request_of(payload: Mapping[str, Any], provider: str) -> PromptRequest:
    """Read the body of a request, in the form of its provider or in that of OpenAI's chat completions.

    Raises:
        ConfigError: it is of no form that is known.
    """
    if not isinstance(payload, Mapping):
        raise ConfigError(f"a payload is the body of a request, got {type(payload).__name__}")
    if provider == "anthropic" or "anthropic_version" in payload:
        return _anthropic(payload)
    if provider == "bedrock" and "modelId" in payload:
        return _bedrock(payload)
    if provider == "gemini" and "contents" in payload:
        return _gemini(payload)
    if "input" in payload:
        return _openai(payload, _responses_messages(payload))
    if "messages" in payload:
        return _openai(payload, [(one.get("role", ""), _chat_message(one)) for one in payload["messages"]])
    raise ConfigError(f"no messages and no input in a request to {provider}")


def compact(value: Any) -> str:
    """JSON as clients send it, its keys in their order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def _without_marks(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in _MARKS}


def _rest(value: Mapping[str, Any], *known: str) -> str:
    other_members = {key: item for key, item in value.items() if key not in known + _MARKS and item is not None}
    return json.dumps(other_members, sort_keys=True, default=str) if other_members else ""


def _mark(value: Mapping[str, Any]) -> str | None:
    control = value.get("cache_control")
    if control:
        return str(control.get("ttl") or "")
    return "" if value.get("prompt_cache_breakpoint") else None


def _parts(content: Any) -> list[Mapping[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [one if isinstance(one, Mapping) else {"type": "text", "text": str(one)} for one in content]


_TEXTS = ("text", "input_text", "output_text")
_IMAGES = ("image", "image_url", "input_image")


def _part(part: Mapping[str, Any]) -> Block:
    """A part of a message in OpenAI's or Anthropic's form; level and label come later."""
    kind, mark = part.get("type", "text"), _mark(part)
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return Block("messages", "", "text", (part["text"],), _rest(part, "type", "text", "annotations"), mark=mark)
    if kind in _IMAGES:
        return Block("messages", "", "image", (), compact(_without_marks(part)), images=1, mark=mark)
    if kind == "tool_use":
        texts = (str(part.get("name", "")), compact(part.get("input")))
        return Block("messages", "", "call", texts, _rest(part, "type", "name", "input"), mark=mark)
    if kind == "tool_result":
        inner = [_part(one) for one in _parts(part.get("content"))]
        return _joined("result", inner, _rest(part, "type", "content"), mark)
    if kind == "thinking":
        return Block(
            "messages", "", "text", (part.get("thinking", ""),), _rest(part, "type", "thinking"), mark=mark
        )
    return Block("messages", "", "other", (compact(_without_marks(part)),), mark=mark)


def _joined(kind: str, inner: Iterable[Block], rest: str, mark: str | None = None) -> Block:
    inner = list(inner)
    texts = tuple(text for one in inner for text in one.texts)
    rest = "\0".join([rest, *(one.rest for one in inner if one.rest)])
    return Block("messages", "", kind, texts, rest, images=sum(one.images for one in inner), mark=mark)


def _message(head: str, parts: Iterable[Block]) -> list[Block]:
    first, *others = list(parts) or [Block("messages", "", "empty", ())]
    return [replace(first, opens=head), *others]


def _labelled(messages: Iterable[tuple[str, Level, list[Block]]]) -> Iterator[Block]:
    for number, (role, level, blocks) in enumerate(messages, 1):
        for part, block in enumerate(blocks, 1):
            label = f"message {number} ({role})" if level == "messages" else "system prompt"
            several = f", part {part}" if level == "messages" else f", block {part}"
            yield replace(block, level=level, label=label + (several if len(blocks) > 1 else ""))


def _tool(tool: Mapping[str, Any], name: str) -> Block:
    return Block("tools", f"tool {name}", "tool", (compact(_without_marks(tool)),), mark=_mark(tool))


# -- OpenAI, and those that speak like it --------------------------------------------------------------------

_INSTRUCTIONS = ("system", "developer")
_ROLES = {"function": "tool", "function_call_output": "tool"}


def _openai(payload: Mapping[str, Any], messages: list[tuple[str, list[Block]]]) -> PromptRequest:
    tools = [
        _tool(one, str((one.get("function") or one).get("name") or one.get("type", "")))
        for one in payload.get("tools") or payload.get("functions") or ()
    ]
    payload = {**payload, **(payload.get("extra_body") or {})}
    options = payload.get("prompt_cache_options") or {}
    return PromptRequest(
        payload,
        str(payload.get("model", "")),
        (*tools, *_labelled(_with_endings(messages))),
        cache_key=str(payload.get("prompt_cache_key") or ""),
        retention=options.get("ttl") or payload.get("prompt_cache_retention"),
        implicit=options.get("mode") != "explicit",
    )


def _with_endings(messages: list[tuple[str, list[Block]]]) -> Iterator[tuple[str, Level, list[Block]]]:
    roles = ["instructions" if role in _INSTRUCTIONS else _ROLES.get(role, role) for role, _ in messages]
    for number, (role, blocks) in enumerate(messages):
        following = roles[number + 1] if number + 1 < len(roles) else ""
        leading = set(roles[: number + 1]) == {"instructions"}
        ending = (
            (leading and following != "instructions")
            or roles[number] == "user"
            or (roles[number] == "tool" and following != "tool")
        )
        yield role, "system" if leading else "messages", [*blocks[:-1], replace(blocks[-1], ending=ending)]


def _chat_message(message: Mapping[str, Any]) -> list[Block]:
    parts = _pointed(_parts(message.get("content")), _part)
    if message.get("role") == "tool":
        parts = [replace(one, kind="result") if one.kind == "text" else one for one in parts]
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        texts = (str(function.get("name", "")), str(function.get("arguments", "")))
        parts.append(Block("messages", "", "call", texts, _rest(call, "function")))
    return _message(_rest(message, "content", "tool_calls"), parts)


def _responses_messages(payload: Mapping[str, Any]) -> list[tuple[str, list[Block]]]:
    items: Any = payload["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if payload.get("instructions"):
        items = [{"role": "developer", "content": payload["instructions"]}, *items]
    return [(str(one.get("role") or one.get("type")), _item(one)) for one in items]


def _item(item: Mapping[str, Any]) -> list[Block]:
    kind = item.get("type", "message")
    if kind == "message":
        head = _rest(item, "content", "type", "id", "status")
        return _message(head, [_part(one) for one in _parts(item.get("content"))])
    if kind == "function_call":
        texts = (str(item.get("name", "")), str(item.get("arguments", "")))
        return _message(_rest(item, "name", "arguments", "status"), [Block("messages", "", "call", texts)])
    if kind == "function_call_output":
        inner = [_part(one) for one in _parts(item.get("output"))]
        return _message(_rest(item, "output", "status"), [_joined("result", inner, "")])
    return _message("", [Block("messages", "", "other", (compact(_without_marks(item)),))])


# -- Anthropic -----------------------------------------------------------------------------------------------


def _anthropic(payload: Mapping[str, Any]) -> PromptRequest:
    tools = [_tool(one, str(one.get("name") or one.get("type", ""))) for one in payload.get("tools") or ()]
    system = [_part(one) for one in _parts(payload.get("system"))]
    messages: list[tuple[str, Level, list[Block]]] = [
        (str(one["role"]), "messages", _message(str(one["role"]), map(_part, _parts(one.get("content")))))
        for one in payload.get("messages") or ()
    ]
    blocks = [*tools, *_labelled([("system", "system", system)] if system else []), *_labelled(messages)]
    control = payload.get("cache_control")
    if control and blocks and blocks[-1].mark is None:
        blocks[-1] = replace(blocks[-1], mark=str(control.get("ttl") or ""))
    return PromptRequest(payload, str(payload.get("model") or payload.get("model_id", "")), tuple(blocks))


# -- Bedrock's Converse --------------------------------------------------------------------------------------


def _bedrock(payload: Mapping[str, Any]) -> PromptRequest:
    tools = _pointed(
        (payload.get("toolConfig") or {}).get("tools") or (),
        lambda one: _tool(one, str((one.get("toolSpec") or {}).get("name", ""))),
    )
    system = _pointed(payload.get("system") or (), _converse_part)
    messages: list[tuple[str, Level, list[Block]]] = [
        (
            str(one["role"]),
            "messages",
            _message(str(one["role"]), _pointed(one.get("content") or (), _converse_part)),
        )
        for one in payload.get("messages") or ()
    ]
    blocks = (*tools, *_labelled([("system", "system", system)] if system else []), *_labelled(messages))
    return PromptRequest(payload, str(payload.get("modelId") or payload.get("model", "")), blocks)


def _pointed(items: Iterable[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], Block]) -> list[Block]:
    """Bedrock's marks are items of their own, behind what they mark."""
    blocks: list[Block] = []
    for one in items:
        if "cachePoint" not in one:
            blocks.append(read(one))
        elif blocks:
            blocks[-1] = replace(blocks[-1], mark=str((one["cachePoint"] or {}).get("ttl") or ""))
    return blocks


def _converse_part(part: Mapping[str, Any]) -> Block:
    if isinstance(part.get("text"), str):
        return Block("messages", "", "text", (part["text"],))
    if "image" in part:
        return Block("messages", "", "image", (), compact(part), images=1)
    if "toolUse" in part:
        use = part["toolUse"]
        texts = (str(use.get("name", "")), compact(use.get("input")))
        return Block("messages", "", "call", texts, _rest(use, "name", "input"))
    if "toolResult" in part:
        result = part["toolResult"]
        inner = (_converse_part(one) for one in result.get("content") or ())
        return _joined("result", inner, _rest(result, "content"))
    return Block("messages", "", "other", (compact(part),))


# -- Gemini --------------------------------------------------------------------------------------------------


def _gemini(payload: Mapping[str, Any]) -> PromptRequest:
    instruction = payload.get("systemInstruction") or payload.get("system_instruction") or {}
    if isinstance(instruction, str):
        instruction = {"parts": [{"text": instruction}]}
    system = [_gemini_part(one) for one in instruction.get("parts") or ()]
    tools = [
        _tool(one, str(one.get("name", "")))
        for tool in payload.get("tools") or ()
        for one in tool.get("functionDeclarations") or tool.get("function_declarations") or [tool]
    ]
    messages: list[tuple[str, Level, list[Block]]] = [
        (
            role := str(one.get("role", "user")),
            "messages",
            _message(role, map(_gemini_part, one.get("parts") or ())),
        )
        for one in payload.get("contents") or ()
    ]
    blocks = (*_labelled([("system", "system", system)] if system else []), *tools, *_labelled(messages))
    return PromptRequest(payload, str(payload.get("model", "")).removeprefix("models/"), blocks)


def _gemini_part(part: Mapping[str, Any]) -> Block:
    if isinstance(part.get("text"), str):
        return Block("messages", "", "text", (part["text"],), _rest(part, "text"))
    call = part.get("functionCall") or part.get("function_call")
    if call:
        return Block("messages", "", "call", (str(call.get("name", "")), compact(call.get("args"))))
    answer = part.get("functionResponse") or part.get("function_response")
    if answer:
        return Block("messages", "", "result", (compact(answer.get("response")),), str(answer.get("name", "")))
    if {"inlineData", "inline_data", "fileData", "file_data"} & set(part):
        return Block("messages", "", "image", (), compact(part), images=1)
    return Block("messages", "", "other", (compact(part),))
