"""What a model answers, in the words of each interface: whole, or as server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .prompt import compact, count

Json = dict[str, Any]
SHORT = 400
"""Characters up to which a text is streamed word by word."""
FAILED = b'data: {"error": {"message": "out of order"}}\n\ndata: [DONE]\n\n'


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """The tokens of a call: of the prompt, those of it that were read from a cache, and of the answer."""

    input: int
    read: int
    output: int


@dataclass(frozen=True)
class Answer:
    """What the model says and which tools it calls.

    Attributes:
        finish: why a chat completion ends, where it is not by itself.
        breaks: how a stream breaks off after some events: it ``ends`` as if all were well, its connection
            ``tears``, or an event says that it ``fails``.
        usage: what is reported in place of the provider's own count.
    """

    text: str = "The answer is forty-two."
    calls: tuple[Call, ...] = ()
    finish: str = ""
    breaks: Literal["", "ends", "tears", "fails"] = ""
    usage: Usage | None = None

    @property
    def tokens(self) -> int:
        return count(self.text) + sum(count(call.name) + count(compact(call.arguments)) for call in self.calls)


@dataclass(frozen=True)
class Bill:
    """The tokens of one call, and the number of the call, of which all ids are made."""

    number: int
    uncached: int
    read: int
    written: dict[str, int]
    output: int

    @property
    def input(self) -> int:
        return self.uncached + self.read + sum(self.written.values())


def _words(text: str) -> list[str]:
    """The text in chunks as it is streamed: of one word, those of a long one of some."""
    return re.findall(r"\s*\S+\s*|\s+", text) if len(text) < SHORT else re.findall(r"(?:\S+\s*){1,8}|\s+", text)


def finish_reason(answer: Answer) -> str:
    return "tool_calls" if answer.calls else answer.finish or "stop"


def _event(data: Json, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def _call_id(prefix: str, bill: Bill, index: int) -> str:
    return f"{prefix}_{bill.number:08d}_{index}"


# --- Chat completions -----------------------------------------------------------------------------


def _chat_usage(bill: Bill, reports_writes: bool) -> Json:
    details: Json = {"cached_tokens": bill.read, "audio_tokens": 0}
    if reports_writes:
        details["cache_write_tokens"] = sum(bill.written.values())
    return {
        "prompt_tokens": bill.input,
        "completion_tokens": bill.output,
        "total_tokens": bill.input + bill.output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _choice(index: int, answer: Answer, bill: Bill) -> Json:
    message: Json = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [
            {
                "id": _call_id("call", bill, index),
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for index, call in enumerate(answer.calls)
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}


def chat_completion(request: Json, choices: list[Answer], bill: Bill, reports_writes: bool) -> Json:
    return {
        "id": f"chatcmpl-{bill.number:08d}",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": request["model"],
        "choices": [_choice(index, answer, bill) for index, answer in enumerate(choices)],
        "usage": _chat_usage(bill, reports_writes),
    }


def chat_stream(request: Json, answer: Answer, bill: Bill, reports_writes: bool) -> Iterator[bytes]:
    """Chunks; the usage comes in one of its own at the end, without choices, and only when requested."""
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    base = {
        "id": f"chatcmpl-{bill.number:08d}",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": request["model"],
    }

    def chunk(delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**base, "choices": [choice], **({"usage": None} if wants_usage else {})})

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for word in _words(answer.text):
        yield chunk({"content": word})
    for index, call in enumerate(answer.calls):
        function = {"name": call.name, "arguments": ""}
        head = {"index": index, "id": _call_id("call", bill, index), "type": "function", "function": function}
        yield chunk({"tool_calls": [head]})
        for word in _words(json.dumps(call.arguments)):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": word}}]})
    yield chunk({}, finish_reason(answer))
    if wants_usage:
        yield _event({**base, "choices": [], "usage": _chat_usage(bill, reports_writes)})
    yield b"data: [DONE]\n\n"


# --- Responses ------------------------------------------------------------------------------------


def _output(answer: Answer, bill: Bill) -> list[Json]:
    items: list[Json] = []
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        items.append(
            {
                "id": _call_id("msg", bill, 0),
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [part],
            }
        )
    items += [
        {
            "id": _call_id("fc", bill, index),
            "type": "function_call",
            "status": "completed",
            "call_id": _call_id("call", bill, index),
            "name": call.name,
            "arguments": json.dumps(call.arguments),
        }
        for index, call in enumerate(answer.calls)
    ]
    return items


def response(request: Json, answer: Answer, bill: Bill, status: str = "completed") -> Json:
    done = status == "completed"
    usage = {
        "input_tokens": bill.input,
        "input_tokens_details": {
            "cached_tokens": bill.read,
            "cache_write_tokens": sum(bill.written.values()),
        },
        "output_tokens": bill.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": bill.input + bill.output,
    }
    return {
        "id": f"resp_{bill.number:08d}",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "metadata": {},
        "model": request["model"],
        "output": _output(answer, bill) if done else [],
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "temperature": 1.0,
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools") or [],
        "top_p": 1.0,
        "usage": usage if done else None,
    }


def response_stream(request: Json, answer: Answer, bill: Bill) -> Iterator[bytes]:
    sequence = iter(range(1_000_000))

    def event(kind: str, **data: Any) -> bytes:
        return _event({"type": kind, "sequence_number": next(sequence), **data}, kind)

    yield event("response.created", response=response(request, answer, bill, "in_progress"))
    for index, item in enumerate(_output(answer, bill)):
        place = {"output_index": index, "item_id": item["id"]}
        started = {**item, "status": "in_progress"}
        if item["type"] == "message":
            part = item["content"][0]
            yield event("response.output_item.added", output_index=index, item={**started, "content": []})
            inner = {**place, "content_index": 0}
            yield event("response.content_part.added", **inner, part={**part, "text": ""})
            for word in _words(part["text"]):
                yield event("response.output_text.delta", **inner, delta=word, logprobs=[])
            yield event("response.output_text.done", **inner, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **inner, part=part)
        else:
            yield event("response.output_item.added", output_index=index, item={**started, "arguments": ""})
            for word in _words(item["arguments"]):
                yield event("response.function_call_arguments.delta", **place, delta=word)
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield event("response.function_call_arguments.done", **place, **done)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=response(request, answer, bill))


# --- Messages -------------------------------------------------------------------------------------


def _messages_usage(bill: Bill, output: int) -> Json:
    return {
        "input_tokens": bill.uncached,
        "cache_creation_input_tokens": sum(bill.written.values()),
        "cache_read_input_tokens": bill.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": bill.written.get("5m", 0),
            "ephemeral_1h_input_tokens": bill.written.get("1h", 0),
        },
        "output_tokens": output,
        "service_tier": "standard",
    }


def _blocks(answer: Answer, bill: Bill) -> list[Json]:
    blocks: list[Json] = [{"type": "text", "text": answer.text}] if answer.text else []
    blocks += [
        {"type": "tool_use", "id": _call_id("toolu", bill, index), "name": call.name, "input": call.arguments}
        for index, call in enumerate(answer.calls)
    ]
    return blocks


def message(request: Json, answer: Answer, bill: Bill) -> Json:
    return {
        "id": f"msg_{bill.number:08d}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": _blocks(answer, bill),
        "stop_reason": "tool_use" if answer.calls else "end_turn",
        "stop_sequence": None,
        "usage": _messages_usage(bill, bill.output),
    }


def message_stream(request: Json, answer: Answer, bill: Bill) -> Iterator[bytes]:
    """Events; the usage of the input stands in the first, that of the output in the last but one."""

    def event(kind: str, **data: Any) -> bytes:
        return _event({"type": kind, **data}, kind)

    whole = message(request, answer, bill)
    opened = {**whole, "content": [], "stop_reason": None, "usage": _messages_usage(bill, 1)}
    yield event("message_start", message=opened)
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            deltas = [{"type": "text_delta", "text": word} for word in _words(block["text"])]
        else:
            yield event("content_block_start", index=index, content_block={**block, "input": {}})
            words = _words(json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": word} for word in words]
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    totals = {key: value for key, value in whole["usage"].items() if key.endswith("_tokens")}
    yield event("message_delta", delta=ended, usage=totals)
    yield event("message_stop")


# --- Embeddings -----------------------------------------------------------------------------------


def embeddings(request: Json) -> Json:
    """Vectors of which the first number is the length of the text."""
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    data = [
        {"object": "embedding", "index": at, "embedding": [float(len(text)), 0.5, -0.25]}
        for at, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}
