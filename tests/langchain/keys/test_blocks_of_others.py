"""Whose blocks an answer in the history holds is part of a key: clients leave out, or rewrite, those of others."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage

from askonce.langchain.keys.messages import conversation_of, conversation_of_messages

THOUGHT = [
    {"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "s"}},
    {"type": "text", "text": "Looking."},
]


def forms(content: Any, **metadata: str) -> list[Any]:
    messages = [HumanMessage("hi"), AIMessage(content=content, response_metadata=metadata)]
    written = conversation_of(dumps(messages))
    assert written is not None
    return [conversation_of_messages(messages).messages, written.messages]


def call_of(block: int, call: int | None, **more: Any) -> list[Any]:
    """An answer with a call in a block of its content, and among its calls of tools."""
    arguments = json.dumps({"usd": block})
    content = [{"type": "function_call", "call_id": "call_1", "name": "pay", "arguments": arguments, **more}]
    calls = [] if call is None else [{"name": "pay", "args": {"usd": call}, "id": "call_1", "type": "tool_call"}]
    return conversation_of_messages([AIMessage(content=content, tool_calls=calls)]).messages


def test_a_call_in_a_block_counts_beside_the_messages_own() -> None:
    forms = [call_of(5, 5), call_of(900, 5), call_of(70, 5), call_of(5, 900), call_of(5, None)]
    assert all(one != other for one, other in itertools.combinations(forms, 2))
    assert call_of(5, 5) == forms[0]
    assert call_of(5, 5, caller={"type": "direct"}) != call_of(5, 5, caller={"type": "code"})


def test_a_stream_of_a_call_is_the_whole_one() -> None:
    call = {"name": "pay", "args": {"usd": 5}, "id": "call_1", "type": "tool_call"}
    block = {"type": "tool_use", "id": "call_1", "name": "pay"}
    whole, streamed = (
        conversation_of_messages([AIMessage(content=[block | more], tool_calls=[call])]).messages
        for more in ({"input": {"usd": 5}}, {"input": {}, "partial_json": '{"usd": 5}', "index": 0})
    )
    assert whole[0]["content"][0]["args"] == streamed[0]["content"][0]["args"] == {"usd": 5}


def test_the_text_of_a_custom_tool_is_no_json() -> None:
    def form(text: str) -> list[Any]:
        block = {"type": "custom_tool_call", "call_id": "call_1", "name": "run", "input": text}
        return conversation_of_messages([AIMessage(content=[block])]).messages

    assert form('{"a": 1}') != form('{"a":1}')
    assert form("1") != form("1.0")


@pytest.mark.parametrize(
    ("content", "counts"), [(THOUGHT, True), ([{"type": "text", "text": "a"}], False), ("a", False)]
)
@pytest.mark.parametrize("name", ["model_provider", "output_version"])
def test_whose_blocks_they_are(content: Any, counts: bool, name: str) -> None:
    plain, one, other = forms(content), forms(content, **{name: "v1"}), forms(content, **{name: "openai"})
    assert all(both[0] == both[1] for both in (plain, one, other))
    assert (one == other, one == plain) == (not counts, not counts)
