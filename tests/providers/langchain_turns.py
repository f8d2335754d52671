"""Second turns and structured calls of LangChain's models, one thing changed at a time: further pairs of the wire.

The history holds an answer as a provider's own first answer carries it: calls of tools, thoughts, ids of the
provider's state, metadata.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from tests.support.wire import Case

_CALL = {"name": "look", "args": {"a": "x"}, "id": "call_1", "type": "tool_call"}
_ANSWER: dict[str, Any] = {"content": "Looking.", "tool_calls": [_CALL]}
_RESULT: dict[str, Any] = {"content": "42", "tool_call_id": "call_1"}
_USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
_METADATA = {"model_name": "m", "finish_reason": "tool_calls", "id": "chatcmpl-1"}


def history(
    answer: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
    question: Mapping[str, Any] | None = None,
) -> list[BaseMessage]:
    """A conversation of two turns, some fields of its messages changed."""
    return [
        HumanMessage(**{"content": "hi", **(question or {})}),
        AIMessage(**{**_ANSWER, **(answer or {})}),
        ToolMessage(**{**_RESULT, **(result or {})}),
        HumanMessage("So?"),
    ]


def _thinking(signature: str = "s", text: str = "Hm.") -> list[dict[str, Any]]:
    return [{"type": "thinking", "thinking": text, "signature": signature}, {"type": "text", "text": "Looking."}]


def _reasoning(text: str = "Hm.", **more: Any) -> list[dict[str, Any]]:
    return [{"type": "reasoning", "reasoning": text, **more}, {"type": "text", "text": "Looking."}]


def _raw_call(arguments: str = '{"a": "x"}', given: str = "call_1") -> dict[str, Any]:
    return {"id": given, "type": "function", "function": {"name": "look", "arguments": arguments}}


_ANSWERS: dict[str, Any] = {
    "text": {"content": "Looked."},
    "id": {"id": "msg_2"},
    "name": {"name": "bot"},
    "arguments": {"tool_calls": [{**_CALL, "args": {"a": "y"}}]},
    "usage": {"usage_metadata": _USAGE},
    "metadata": {"response_metadata": _METADATA},
    "other metadata": {"response_metadata": {**_METADATA, "id": "chatcmpl-2", "system_fingerprint": "f"}},
    "id of a response": {"response_metadata": {**_METADATA, "id": "resp_1"}},
    "own provider": {"response_metadata": {"model_provider": "openai"}},
    "another provider": {"response_metadata": {"model_provider": "anthropic"}},
    "a note": {"additional_kwargs": {"timestamp": "2026-01-01"}},
    "another note": {"additional_kwargs": {"timestamp": "2026-01-02"}},
    "raw calls": {"additional_kwargs": {"tool_calls": [_raw_call()]}},
    "other raw calls": {"additional_kwargs": {"tool_calls": [_raw_call('{"a": "z"}')]}},
    "reasoning_content": {"additional_kwargs": {"reasoning_content": "Hm."}},
    "other reasoning_content": {"additional_kwargs": {"reasoning_content": "Aha."}},
    "reasoning item": {"additional_kwargs": {"reasoning": {"type": "reasoning", "id": "rs_1", "summary": []}}},
    "other reasoning item": {
        "additional_kwargs": {"reasoning": {"type": "reasoning", "id": "rs_2", "summary": []}}
    },
    "refusal": {"additional_kwargs": {"refusal": "No."}},
    "invalid call": {"invalid_tool_calls": [{"name": "look", "args": "{", "id": "call_9", "error": None}]},
    "thinking": {"content": _thinking()},
    "other signature": {"content": _thinking("t")},
    "other thinking": {"content": _thinking(text="Aha.")},
    "reasoning": {"content": _reasoning()},
    "other reasoning": {"content": _reasoning("Aha.")},
    "reasoning with id": {"content": _reasoning(id="rs_1")},
    "reasoning with other id": {"content": _reasoning(id="rs_2")},
    "reasoning of v1": {"content": _reasoning(), "response_metadata": {"output_version": "v1"}},
    "thinking of Anthropic": {"content": _thinking(), "response_metadata": {"model_provider": "anthropic"}},
    "thinking of OpenAI": {"content": _thinking(), "response_metadata": {"model_provider": "openai"}},
    "reasoning of v1 of OpenAI": {
        "content": _reasoning(id="rs_1"),
        "response_metadata": {"output_version": "v1", "model_provider": "openai"},
    },
    "reasoning of v1 of Anthropic": {
        "content": _reasoning(extras={"signature": "s"}),
        "response_metadata": {"output_version": "v1", "model_provider": "anthropic"},
    },
    "reasoning of v1 of another": {
        "content": _reasoning(extras={"signature": "s"}),
        "response_metadata": {"output_version": "v1", "model_provider": "openai"},
    },
}
_RESULTS: dict[str, Any] = {
    "content": {"content": "43"},
    "status": {"status": "error"},
    "artifact": {"artifact": {"rows": [1]}},
    "name": {"name": "look"},
    "id": {"id": "t_1"},
    "a note": {"additional_kwargs": {"timestamp": "2026-01-01"}},
    "metadata": {"response_metadata": {"a": "b"}},
    "blocks": {"content": [{"type": "text", "text": "42"}]},
}
_QUESTIONS: dict[str, Any] = {
    "content": {"content": "ho"},
    "id": {"id": "h_1"},
    "name": {"name": "Ann"},
    "a note": {"additional_kwargs": {"timestamp": "2026-01-01"}},
    "another note": {"additional_kwargs": {"timestamp": "2026-01-02"}},
    "metadata": {"response_metadata": {"timestamp": "2026-01-01"}},
    "blocks": {"content": [{"type": "text", "text": "hi"}]},
}
_PAIRS = [
    ("metadata", "other metadata"),
    ("metadata", "id of a response"),
    ("own provider", "another provider"),
    ("a note", "another note"),
    ("raw calls", "other raw calls"),
    ("reasoning_content", "other reasoning_content"),
    ("reasoning item", "other reasoning item"),
    ("thinking", "other signature"),
    ("thinking", "other thinking"),
    ("reasoning", "other reasoning"),
    ("reasoning with id", "reasoning with other id"),
    ("reasoning", "reasoning of v1"),
    ("thinking", "thinking of Anthropic"),
    ("thinking of Anthropic", "thinking of OpenAI"),
    ("reasoning of v1 of Anthropic", "reasoning of v1 of another"),
]


def turns() -> Iterator[tuple[str, Case, Case]]:
    """The pairs of second turns: what is changed, and the two ways."""
    plain = _turn("plain")
    answers = {name: _turn(f"answer {name}", answer=one) for name, one in _ANSWERS.items()}
    for name, case in answers.items():
        yield f"turn, answer: {name}", plain, case
    for one, other in _PAIRS:
        yield f"turn, answer: {one} | {other}", answers[one], answers[other]
    for name, fields in _RESULTS.items():
        yield f"turn, result: {name}", plain, _turn(f"result {name}", result=fields)
    for name, fields in _QUESTIONS.items():
        yield f"turn, question: {name}", plain, _turn(f"question {name}", question=fields)
    renamed = {"tool_calls": [{**_CALL, "id": "call_2"}]}
    yield "turn, id of the call", plain, _turn("renamed", answer=renamed, result={"tool_call_id": "call_2"})


def _turn(name: str, **fields: Mapping[str, Any]) -> Case:
    return Case(name, call={"about": history(**fields)})


# -- structured calls ----------------------------------------------------------------------------------------------


class Album(BaseModel):
    """An album."""

    title: str
    year: int


class Reordered(BaseModel):
    """An album."""

    year: int
    title: str


class Described(BaseModel):
    """A record."""

    title: str
    year: int


Reordered.__name__ = Described.__name__ = Reordered.__qualname__ = Described.__qualname__ = "Album"
for _cls in (Reordered, Described):
    _cls.model_config["title"] = "Album"
    _cls.model_rebuild(force=True)
METHODS = ("function_calling", "json_schema", "json_mode")


def structured() -> Iterator[tuple[str, Case, Case]]:
    """The pairs of structured calls."""

    def call(schema: type[BaseModel], method: str, **more: Any) -> Case:
        shown = str(schema.model_json_schema())  # the classes have one name
        return Case(shown, call={"structured": (schema, {"method": method, **more}, shown)})

    for method in METHODS:
        first = call(Album, method)
        yield f"structured by {method}", Case("plain"), first
        yield f"structured by {method}: again", first, call(Album, method)
        yield f"structured by {method}: order of fields", first, call(Reordered, method)
        yield f"structured by {method}: description", first, call(Described, method)
        yield f"structured by {method}: include_raw", first, call(Album, method, include_raw=True)
    for one, other in itertools.pairwise(METHODS):
        yield f"structured by {one} | {other}", call(Album, one), call(Album, other)
