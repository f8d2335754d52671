"""Streams of chat models: recorded while they pass, and replayed from a stored answer."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessageChunk, message_chunk_to_message
from langchain_core.messages.tool import invalid_tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

_WORDS = re.compile(r"\S+\s*|\s+")
# By these LangChain recognizes which provider's blocks a chunk holds, so they are in every chunk.
_IN_EVERY_CHUNK = ("model_provider", "output_version")
_THOUGHT = re.compile("reason|think|thought")
_CALLS = frozenset({"tool_call", "tool_use", "function_call"})
_TEXTS = ("type", "text", "reasoning", "thinking", "arguments")
"""What of a block is text, in any provider's form."""


class Recording:
    """The chunks of one stream, copied: LangChain changes those that pass."""

    def __init__(self) -> None:
        self._chunks: list[ChatGenerationChunk] = []

    def add(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        """Record a chunk, and return it."""
        message = chunk.message
        changes = {
            "content": copy.deepcopy(message.content) if isinstance(message.content, list) else message.content,
            "response_metadata": {**(chunk.generation_info or {}), **message.response_metadata},
        }
        recorded = message.model_copy(update=changes)
        self._chunks.append(ChatGenerationChunk(message=recorded, generation_info=chunk.generation_info))
        return chunk

    @property
    def is_empty(self) -> bool:
        """Whether no chunk has passed."""
        return not self._chunks

    def generations(self) -> list[ChatGeneration]:
        """What the whole stream says; nothing if it was empty."""
        if not self._chunks:
            return []
        merged = self._chunks[0]
        if len(self._chunks) > 1:
            merged += self._chunks[1:]
        message = message_chunk_to_message(_as_sent(merged.message))
        return [ChatGeneration(message=message, generation_info=merged.generation_info)]


def _as_sent(message: BaseMessageChunk) -> BaseMessageChunk:
    """A message of chunks; calls with arguments that were cut off are invalid in it: LangChain completes them."""
    calls = message.tool_call_chunks if isinstance(message, AIMessageChunk) else []
    cut = [call for call in calls if call["args"] and not _is_json(call["args"])]
    if not cut:
        return message
    invalid = [invalid_tool_call(name=one["name"], args=one["args"], id=one["id"], error=None) for one in cut]
    ids = {one["id"] for one in cut}
    whole = [call for call in getattr(message, "tool_calls", ()) if call["id"] not in ids]
    return message.model_copy(update={"tool_calls": whole, "invalid_tool_calls": invalid})


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


def replay(generation: ChatGeneration) -> Iterator[ChatGenerationChunk]:
    """A stored answer as a stream, about a word at a time: thoughts, text, tool calls, its metadata.

    The chunks add up to the stored message; blocks get an ``index``, as in all streams.
    """
    message = generation.message
    assert isinstance(message, AIMessage)
    metadata = message.response_metadata
    everywhere = {name: metadata[name] for name in _IN_EVERY_CHUNK if name in metadata}
    content = message.content
    nothing: str | list[Any] = "" if isinstance(content, str) else []

    def chunk(content: str | list[Any], **fields: Any) -> ChatGenerationChunk:
        whole = AIMessageChunk(content=content, id=message.id, response_metadata=dict(everywhere), **fields)
        return ChatGenerationChunk(message=whole)

    thoughts = {name: value for name, value in message.additional_kwargs.items() if _THOUGHT.search(name)}
    for thought in _thoughts(thoughts):
        yield chunk(nothing, additional_kwargs=thought)
    calls = {position: call for position, call in enumerate(message.tool_calls)}
    piece: str | list[Any]
    for piece in _WORDS.findall(content) if isinstance(content, str) else _pieces(content):
        position = None if isinstance(piece, str) else _call_in(piece[0], calls)
        if position is None:
            yield chunk(piece)
        else:  # in one chunk, or LangChain would not know that they are one
            yield chunk(piece, tool_call_chunks=[_as_chunk(calls.pop(position), position)])
    for position, call in calls.items():
        yield chunk(nothing, tool_call_chunks=[_as_chunk(call, position)])
    last = AIMessageChunk(
        content=nothing,
        id=message.id,
        name=message.name,
        response_metadata=metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )
    # Given to the constructor, the provider's form of the tool calls would be read as further ones.
    last.additional_kwargs = {
        name: value for name, value in message.additional_kwargs.items() if name not in thoughts
    }
    yield ChatGenerationChunk(message=last, generation_info=generation.generation_info)


def last_chunk(mark: dict[str, Any]) -> ChatGenerationChunk:
    """A last chunk, with the mark of a fresh answer."""
    message = AIMessageChunk(content="", response_metadata={"askonce": mark}, chunk_position="last")
    return ChatGenerationChunk(message=message)


def check_replay(generation: ChatGeneration) -> None:
    """See that a stored answer can be replayed as a stream and read.

    Raises:
        Exception: it cannot.
    """
    message = generation.message
    if not all(isinstance(message.response_metadata.get(name, ""), str) for name in _IN_EVERY_CHUNK):
        raise ValueError("metadata of another type")
    is_blocks = isinstance(message.content, list) and all(
        isinstance(block, dict) and "type" in block for block in message.content
    )
    if message.response_metadata.get("output_version") == "v1" and not is_blocks:
        raise ValueError("content that is no list of blocks")
    for block in message.content:
        if isinstance(block, dict) and not all(isinstance(block.get(name, ""), str) for name in _TEXTS):
            raise ValueError("a block of another type")
    first, *others = replay(generation)
    _ = (first + others if others else first).message.content_blocks, message.content_blocks


def _thoughts(thoughts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, thought in thoughts.items():
        if isinstance(thought, str):
            yield from ({name: word} for word in _WORDS.findall(thought))
        else:
            yield {name: thought}


def _pieces(content: Sequence[Any]) -> Iterator[list[Any]]:
    given = [block["index"] for block in content if isinstance(block, dict) and "index" in block]
    blocks = [block for block in content if isinstance(block, dict)]
    numbered = len(set(map(repr, given))) == len(blocks)  # each has its own
    for position, block in enumerate(content):
        if not isinstance(block, dict):
            yield [block]
            continue
        index = block["index"] if numbered else position
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            first, *others = _WORDS.findall(block["text"]) or [""]
            yield [{**block, "text": first, "index": index}]
            for word in others:
                yield [{"type": "text", "text": word, "index": index}]
        else:
            yield [{**block, "index": index}]


def _call_in(block: Any, calls: dict[int, Any]) -> int | None:
    """The position of the tool call that a block of content shows."""
    if not isinstance(block, dict) or block.get("type") not in _CALLS:
        return None
    names = [block.get(name) for name in ("call_id", "id") if block.get(name)]
    return next((position for position, call in calls.items() if call["id"] in names), None)


def _as_chunk(call: Any, position: int) -> Any:
    args = json.dumps(call["args"], ensure_ascii=False)
    return tool_call_chunk(name=call["name"], args=args, id=call["id"], index=position)
