"""LlamaIndex's messages in the normal form of ``askonce.keys.messages``."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.bridge.pydantic import BaseModel

from askonce.keys.messages import Conversation
from askonce.keys.normal_form import Uncacheable, plain
from askonce.llama_index.keys.model import fields_of, known_of

# Reported by a provider about an earlier answer, or a mark for its prompt cache.
_REPORTED = frozenset(
    """
    cache_control usage id prompt_tokens completion_tokens total_tokens input_tokens output_tokens
    cache_read_input_tokens cache_creation_input_tokens thinking_delta askonce
    """.split()
)


def conversation_of(messages: Iterable[ChatMessage], llm: BaseModel | None = None) -> Conversation:
    """The conversation that an LLM is given.

    Args:
        messages: it.
        llm: it, whose class may send calls of tools in ``additional_kwargs`` as it sends those of blocks.

    Raises:
        Uncacheable: a message holds something without a stable representation.
    """
    conversation = Conversation()
    for message in messages:
        _add(conversation, message, llm)
    return conversation


def _add(conversation: Conversation, message: ChatMessage, llm: BaseModel | None) -> None:
    if not isinstance(message, ChatMessage):
        raise Uncacheable(f"a message of type {type(message).__name__}")
    blocks = message.blocks
    if not message.additional_kwargs and len(blocks) == 1 and type(blocks[0]) is TextBlock:
        conversation.add(message.role.value, blocks[0].text)  # as most are, and the same as by what follows
        return
    given = {name: _as_loaded(value) for name, value in message.additional_kwargs.items()}
    given.pop("images", None)  # LlamaIndex has made blocks of them
    for name in sorted(_REPORTED & given.keys()):
        del given[name]
        conversation.leave_out(f"additional_kwargs.{name}")
    answers, name = given.pop("tool_call_id", None), given.pop("name", None)
    if isinstance(answers, list):  # BedrockConverse's: the ids of an answer's own calls, which its blocks have
        answers, given["status"] = None, None
    parts = [part for block in blocks if (part := _part(block, conversation)) is not None]
    known_calls = {str(one.get("tool_call_id")): _call(one) for one in parts if one["type"] == "tool_call"}
    beside = given.pop("tool_calls", None) or ()
    calls, others = _tool_calls(beside, known_calls)
    while parts and parts[-1]["type"] == "tool_call":  # the usual place; elsewhere they stay among the content
        calls.insert(0, parts.pop())
    conversation.add(
        message.role.value,
        parts,
        name=name,
        tool_calls=calls,
        answers=answers,
        extra={
            **fields_of(given),
            "tool_calls": others,
            "calls beside blocks": _shapes(beside, known_calls, llm) if beside else [],
        },
    )


def _as_loaded(value: Any) -> Any:
    """A value as it is after the message was written as JSON and loaded: bytes are text in Base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return [_as_loaded(one) for one in value] if isinstance(value, list) else value


def _tool_calls(given: Iterable[Any], described: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The calls of ``additional_kwargs``: those that no block describes, and those that contradict a block."""
    calls, others = [], []
    for one in given:
        data = one.model_dump() if isinstance(one, BaseModel) else one
        if not isinstance(data, Mapping):
            raise Uncacheable(f"a tool call of type {type(one).__name__}")
        call, named = _call(data.get("function") or data), data.get("id") or data.get("tool_id")
        if str(named) not in described:
            calls.append({"id": named, **call})
        elif call != described[str(named)]:
            others.append({"id": named, **call})
    return calls, others


def _shapes(given: Iterable[Any], described: Mapping[str, Any], llm: BaseModel | None) -> list[Any]:
    """How calls stand in ``additional_kwargs``, which some clients send as they are, and others not at all."""
    shapes: list[Any] = []
    if llm is not None and known_of(llm).calls_alike:
        return shapes
    for one in given:
        data = one.model_dump() if isinstance(one, BaseModel) else one
        names = sorted(name for name, value in data.items() if value is not None and name != "index")
        shapes.append([str(data.get("id") or data.get("tool_id")) in described, names])
    return shapes


def _call(data: Mapping[str, Any]) -> dict[str, Any]:
    args = data.get("arguments", data.get("tool_kwargs", data.get("args", data.get("input"))))
    if isinstance(args, str):
        with contextlib.suppress(ValueError):  # not JSON: the text itself is what was called with
            args = json.loads(args)
    return {"name": data.get("name") or data.get("tool_name"), "args": args}


def _part(block: Any, conversation: Conversation) -> dict[str, Any] | None:
    kind = type(block)
    if kind is TextBlock:
        return {"type": "text", "text": block.text} if block.text else None
    if kind is CachePoint:
        conversation.leave_out("blocks.cache")
        return None
    if kind is ToolCallBlock:
        return {"type": "tool_call", **block.model_dump(exclude={"block_type"})}
    if kind is ThinkingBlock:
        extra = {name: one for name, one in block.additional_information.items() if name != "id"}
        return {"type": "thinking", "content": block.content, "extra": fields_of(extra)}
    if kind is CitableBlock:
        return _citing(block, block.content, conversation)
    if kind is CitationBlock:
        return _citing(block, [block.cited_content], conversation)
    for medium, (name, content) in _MEDIA.items():
        if kind is medium:
            return _medium(name, block, content)
    raise Uncacheable(f"a content block of type {kind.__name__}")


_MEDIA: dict[type, tuple[str, str]] = {
    ImageBlock: ("image", "image"),
    AudioBlock: ("audio", "audio"),
    VideoBlock: ("video", "video"),
    DocumentBlock: ("document", "data"),
}


def _citing(block: Any, content: Sequence[Any], conversation: Conversation) -> dict[str, Any]:
    parts = [part for one in content if (part := _part(one, conversation)) is not None]
    described = block.model_dump(exclude={"block_type", "content", "cited_content"})
    return {"type": block.block_type, **described, "content": parts}


def _medium(name: str, block: Any, content: str) -> dict[str, Any]:
    """An image, sound, video or document by its bytes, or by its URL if it has only that."""
    form: dict[str, Any] = {"type": name}
    for field in type(block).model_fields:
        value = getattr(block, field)
        if value is None or field in ("block_type", content, "path", "url"):
            continue
        form["mime" if field.endswith("mimetype") else field] = plain(value)
    mime = form.pop("mime", None)
    if mime:
        form["mime_type"] = mime
    data = getattr(block, content)
    if data is not None:
        form["data"] = _content_bytes(data)
    elif block.path is not None:
        form["data"] = Path(block.path).read_bytes()
    elif block.url is not None:
        form["url"] = str(block.url)
    return form


def _content_bytes(data: Any) -> bytes:
    """The bytes of a medium; LlamaIndex holds them in base64."""
    if not isinstance(data, bytes):
        position = data.tell()
        data.seek(0)
        content: bytes = data.read()
        data.seek(position)
        return content
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        return data
