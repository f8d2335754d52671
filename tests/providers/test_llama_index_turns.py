"""Second turns of LlamaIndex's LLMs: what is sent of a history counts, one thing of a message changed at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_origin

import pytest
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.llms.anthropic import utils as anthropic_messages

from askonce import Cache
from tests.providers import llama_index_cases as cases
from tests.support.wire import Case, Exempt, Row, captured

LLMS = "OpenAI OpenAIResponses OpenAILike AzureOpenAI Anthropic Ollama BedrockConverse GoogleGenAI".split()
EXEMPT = (
    Exempt(r".*: renamed", "normalization: ids of calls are renamed in the order of their appearance"),
    Exempt(r"Anthropic: arguments as text", "the class sends a text in place of a map, which Anthropic refuses"),
)


def history(**changed: Mapping[str, Any]) -> Callable[[], Any]:
    def made() -> list[ChatMessage]:
        result = {"role": "tool", "content": "42", "additional_kwargs": {"tool_call_id": "call_1"}}
        return [
            ChatMessage(**{"role": "user", "content": "hi", **changed.get("question", {})}),
            ChatMessage(**{"role": "assistant", **blocks(), **changed.get("answer", {})}),
            ChatMessage(**{**result, **changed.get("result", {})}),
            ChatMessage(role="user", content="So?"),
        ]

    return made


def blocks(*first: Any, args: Any = None, given: str = "call_1", text: str = "Looking.") -> dict[str, Any]:
    call = ToolCallBlock(tool_call_id=given, tool_name="look", tool_kwargs={"a": "x"} if args is None else args)
    return {"blocks": [*first, TextBlock(text=text), call]}


def thought(text: str = "Hm.", **more: Any) -> ThinkingBlock:
    return ThinkingBlock(content=text, additional_information=more)


def raw(arguments: str = '{"a": "x"}') -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    return {"additional_kwargs": {"tool_calls": [call]}}


def note(**more: Any) -> dict[str, Any]:
    return {"additional_kwargs": more}


VARIANTS: dict[str, Callable[[], Any]] = {
    "plain": history(),
    "text": history(answer=blocks(text="Looked.")),
    "arguments": history(answer=blocks(args={"a": "y"})),
    "arguments as text": history(answer=blocks(args='{"a": "x"}')),
    "a note": history(answer=note(timestamp="1")),
    "another note": history(answer=note(timestamp="2")),
    "usage": history(answer=note(prompt_tokens=3, completion_tokens=2, total_tokens=5)),
    "thought": history(answer=blocks(thought(signature="s"))),
    "another signature": history(answer=blocks(thought(signature="t"))),
    "another thought": history(answer=blocks(thought("Aha.", signature="s"))),
    "thought with id": history(answer=blocks(thought(id="rs_1"))),
    "thought with another id": history(answer=blocks(thought(id="rs_2"))),
    "encrypted thought": history(answer=blocks(thought(id="rs_1", encrypted_content="e"))),
    "another encrypted thought": history(answer=blocks(thought(id="rs_1", encrypted_content="f"))),
    "calls beside blocks": history(answer=raw()),
    "other calls beside blocks": history(answer=raw('{"a": "z"}')),
    "calls without blocks": history(answer={"blocks": [TextBlock(text="Looking.")], **raw()}),
    "thought signatures": history(answer=note(thought_signatures=["a"])),
    "other thought signatures": history(answer=note(thought_signatures=["b"])),
    "result": history(result={"content": "43"}),
    "result's note": history(result=note(tool_call_id="call_1", timestamp="1")),
    "result's status": history(result=note(tool_call_id="call_1", status="error")),
    "question's note": history(question=note(timestamp="1")),
    "question's name": history(question=note(name="Ann")),
    "renamed": history(answer=blocks(given="call_2"), result=note(tool_call_id="call_2")),
}
PAIRS = [
    ("a note", "another note"),
    ("thought", "another signature"),
    ("thought", "another thought"),
    ("thought with id", "thought with another id"),
    ("thought with id", "encrypted thought"),
    ("encrypted thought", "another encrypted thought"),
    ("thought signatures", "other thought signatures"),
    ("calls beside blocks", "other calls beside blocks"),
    ("calls beside blocks", "calls without blocks"),
]


@pytest.mark.filterwarnings("default")  # what the packages warn of is theirs
@pytest.mark.parametrize("name", LLMS)
def test_another_second_turn_has_another_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if get_origin(vars(anthropic_messages)["MessageParam"]) is not None:  # a union in the newest SDK
        monkeypatch.setattr(anthropic_messages, "MessageParam", dict)
    row, sample = Row(), cases.ALL[name]
    with Cache("memory://") as cache, cases.no_environment(), captured() as wires:
        seen = {
            variant: cases._seen(sample, Case(variant, call={"about": made, "how": "chat"}), cache, wires)
            for variant, made in VARIANTS.items()
        }
    for variant, one in seen.items():
        row.compare(f"{name}: {variant}", seen["plain"], one, EXEMPT)
    for one, other in PAIRS:
        row.compare(f"{name}: {one} | {other}", seen[one], seen[other], EXEMPT)
    assert row.wrong_hits == [] and row.pairs >= 25
    assert all(re.fullmatch(r".*: (renamed|arguments as text)", what) for what in row.exempt)
