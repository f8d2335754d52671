"""Whose blocks an answer in the history holds is part of a key: clients leave out, or rewrite, those of others."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("content", "counts"), [(THOUGHT, True), ([{"type": "text", "text": "a"}], False), ("a", False)]
)
@pytest.mark.parametrize("name", ["model_provider", "output_version"])
def test_whose_blocks_they_are(content: Any, counts: bool, name: str) -> None:
    plain, one, other = forms(content), forms(content, **{name: "v1"}), forms(content, **{name: "openai"})
    assert all(both[0] == both[1] for both in (plain, one, other))
    assert (one == other, one == plain) == (not counts, not counts)
