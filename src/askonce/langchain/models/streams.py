"""Streams of chat models: recorded while they pass, and replayed from a stored answer."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

_WORDS = re.compile(r"\S+\s*|\s+")
# By these LangChain recognizes which provider's blocks a chunk holds, so they are in every chunk.
_IN_EVERY_CHUNK = ("model_provider", "output_version")
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

    def generations(self) -> list[ChatGeneration]:
        """What the whole stream says; nothing if it was empty."""
        if not self._chunks:
            return []
        merged = self._chunks[0]
        if len(self._chunks) > 1:
            merged += self._chunks[1:]
        message = message_chunk_to_message(merged.message)
        return [ChatGeneration(message=message, generation_info=merged.generation_info)]


def replay(generation: ChatGeneration) -> Iterator[ChatGenerationChunk]:
    """A stored answer as a stream: about a word at a time, then the tool calls, then its metadata."""
    message = generation.message
    assert isinstance(message, AIMessage)
    metadata = message.response_metadata
    everywhere = {name: metadata[name] for name in _IN_EVERY_CHUNK if name in metadata}

    def chunk(content: str | list[Any], **fields: Any) -> ChatGenerationChunk:
        fields.setdefault("response_metadata", dict(everywhere))
        return ChatGenerationChunk(message=AIMessageChunk(content=content, id=message.id, name=None, **fields))

    nothing: str | list[Any] = "" if isinstance(message.content, str) else []
    for piece in _pieces(message.content):
        yield chunk(piece)
    for call in _tool_call_chunks(message):
        yield chunk(nothing, tool_call_chunks=[call])
    last = AIMessageChunk(
        content=nothing,
        id=message.id,
        name=message.name,
        additional_kwargs=message.additional_kwargs,
        response_metadata=metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )
    yield ChatGenerationChunk(message=last, generation_info=generation.generation_info)


def check_replay(generation: ChatGeneration) -> None:
    """See that a stored answer can be replayed as a stream and read.

    Raises:
        Exception: it cannot.
    """
    message = generation.message
    if not all(isinstance(message.response_metadata.get(name, ""), str) for name in _IN_EVERY_CHUNK):
        raise ValueError("metadata of another type")
    for block in message.content:
        if isinstance(block, dict) and not all(isinstance(block.get(name, ""), str) for name in _TEXTS):
            raise ValueError("a block of another type")
    first, *others = replay(generation)
    _ = (first + others if others else first).message.content_blocks, message.content_blocks


def _pieces(content: str | Sequence[Any]) -> Iterator[str | list[Any]]:
    if isinstance(content, str):
        yield from _WORDS.findall(content)
        return
    for position, block in enumerate(content):
        if not isinstance(block, dict):
            yield [block]
            continue
        numbered = {**block, "index": block.get("index", position)}
        if block.get("type") == "text" and isinstance(block.get("text"), str):
            first, *others = _WORDS.findall(block["text"]) or [""]
            yield [{**numbered, "text": first}]
            for word in others:
                yield [{"type": "text", "text": word, "index": numbered["index"]}]
        else:
            yield [numbered]


def _tool_call_chunks(message: AIMessage) -> Iterator[Any]:
    if message.response_metadata.get("output_version") == "v1" and isinstance(message.content, list):
        return  # the calls are among the blocks
    position = 0
    for call in message.tool_calls:
        args = json.dumps(call["args"], ensure_ascii=False)
        yield tool_call_chunk(name=call["name"], args=args, id=call["id"], index=position)
        position += 1
    for broken in message.invalid_tool_calls:
        yield tool_call_chunk(name=broken["name"], args=broken["args"], id=broken["id"], index=position)
        position += 1
