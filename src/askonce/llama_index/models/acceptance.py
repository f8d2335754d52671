"""Which of LlamaIndex's answers are good enough to be stored."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.program import LLMTextCompletionProgram

from askonce.entries.end_reasons import is_proper
from askonce.entries.requested import Requested, requested_by

_THOUGHT = re.compile(r"\s*<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL)
_ALWAYS_WITH_END_REASON = frozenset({"chat.completion", "chat.completion.chunk", "response", "message"})
_OF_BEDROCKS_STREAMS = frozenset(
    "messageStart contentBlockStart contentBlockDelta contentBlockStop metadata".split()
)
"""Events of Converse; LlamaIndex does not pass on ``messageStop``, which has the end reason."""


def requested_of(llm: Any, options: Mapping[str, Any]) -> Requested:
    """The form of answer that a call of an LLM requires."""
    extra = getattr(llm, "additional_kwargs", None)
    return requested_by(extra if isinstance(extra, Mapping) else {}, options)


def breaks_off(response: ChatResponse | CompletionResponse, ends: Sequence[str]) -> str:
    """Why an answer is not whole, as far as its provider says; empty if it is.

    Args:
        response: the answer.
        ends: the reasons for its end that it, or the chunks of its stream, gave.
    """
    reason = next((ended for ended in ends if not is_proper(ended) and ended != "in_progress"), None)
    if reason is not None or (ends and not is_proper(ends[-1])):
        return f"it ended with {reason or ends[-1]!r}"
    choices = _get(response.raw, "choices")
    first = choices[0] if isinstance(choices, (list, tuple)) and choices else None
    if _get(_get(first, "message"), "refusal") or _get(_get(first, "delta"), "refusal"):
        return "the model refused"
    if any(
        _get(part, "type") == "refusal" for item in _list(response.raw, "output") for part in _list(item, "content")
    ):
        return "the model refused"
    if isinstance(response, ChatResponse) and response.message.additional_kwargs.get("refusal"):
        return "the model refused"
    if not ends and _has_end_reason_when_whole(response.raw):
        return "it ended without an end reason"
    return ""


def _list(value: Any, name: str) -> Sequence[Any]:
    found = _get(value, name)
    return found if isinstance(found, (list, tuple)) else ()


def _has_end_reason_when_whole(raw: Any) -> bool:
    """Whether a provider of which an answer or its last chunk is says why its answers end."""
    return (
        _get(raw, "object") in _ALWAYS_WITH_END_REASON
        or _get(raw, "type") == "message"  # Anthropic
        or _get(raw, "candidates") is not None  # Google
        or _get(raw, "done") is False  # Ollama
        or (isinstance(raw, Mapping) and not _OF_BEDROCKS_STREAMS.isdisjoint(raw))
    )


def is_empty(response: ChatResponse | CompletionResponse) -> bool:
    """Whether an answer says nothing: no text, no call of a tool, no medium; thoughts alone are nothing."""
    if isinstance(response, CompletionResponse):
        return not _visible(response.text)
    message = response.message
    others = [block for block in message.blocks if not isinstance(block, (TextBlock, ThinkingBlock))]
    return not others and not _visible(message.content or "") and not legacy_calls(message)


def _visible(text: str) -> str:
    return (_THOUGHT.sub("", text) if text.lstrip().startswith("<") else text).strip()


def legacy_calls(message: ChatMessage) -> Any:
    """Calls of tools that stand beside the blocks."""
    return message.additional_kwargs.get("tool_calls") or message.additional_kwargs.get("function_call")


def misfit_of(response: ChatResponse | CompletionResponse, requested: Requested) -> str:
    """In what an answer differs from what the request requires; empty if nothing is known."""
    calls = list(_calls(response.message)) if isinstance(response, ChatResponse) else []
    for name, arguments in calls:
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}", strict=False)
            except (ValueError, RecursionError):
                return "the arguments of a tool call cannot be read"
        if found := requested.misfit_of_call(name, arguments):
            return found
    text = (response.text if isinstance(response, CompletionResponse) else response.message.content) or ""
    return "" if calls else requested.misfit_of_text(_visible(text)) or _refused_by_caller(text)


_refuses: ContextVar[bool] = ContextVar("askonce_refuses", default=False)
"""A parser is called, which may itself call the LLM."""


def _refused_by_caller(text: str) -> str:
    """Why the program that has called cannot parse an answer; empty if it can, or if it is none that parses.

    A program parses what it got when nobody here sees it: it is found in the stack.
    """
    frame: FrameType | None = None if _refuses.get() else sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("__call__", "acall"):
            program = frame.f_locals.get("self")
            if isinstance(program, LLMTextCompletionProgram):
                return _refused_by(program, text)
        frame = frame.f_back
    return ""


def _refused_by(program: LLMTextCompletionProgram[Any], text: str) -> str:
    token = _refuses.set(True)
    try:
        program._output_parser.parse(text)
    except Exception as error:
        return f"its program cannot parse it ({type(error).__name__})"
    finally:
        _refuses.reset(token)
    return ""


def _calls(message: ChatMessage) -> Iterator[tuple[str, Any]]:
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    for block in blocks:
        yield block.tool_name, block.tool_kwargs
    for call in (message.additional_kwargs.get("tool_calls") or ()) if not blocks else ():
        function = _get(call, "function") or call
        name = _get(function, "name")
        arguments: Any = next(
            (one for key in ("arguments", "input") if (one := _get(function, key)) is not None), {}
        )
        if isinstance(name, str):
            yield name, arguments


def _get(place: Any, name: str) -> Any:
    return place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)
