"""Requests as chains of segments: what changes a digest and what does not."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.errors import ConfigError
from askonce.prefix.requests.chain import Chain, chain_of
from askonce.prefix.requests.tokens import GivenCounter


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


COUNTER = GivenCounter(count)
Json = dict[str, Any]

TEXTS = st.text(st.sampled_from("abc de.\n0é"), min_size=1, max_size=400)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("fgh"), "description": TEXTS, "input_schema": st.just({"a": 1})}
    ),
    max_size=3,
)
TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.lists(TEXTS, min_size=1, max_size=3)), min_size=1
)


@st.composite
def payloads(draw: st.DrawFn) -> Json:
    return {
        "model": "claude-sonnet-4-5",
        "tools": draw(TOOLS),
        "system": [{"type": "text", "text": text} for text in draw(st.lists(TEXTS, max_size=2))],
        "messages": [
            {"role": role, "content": [{"type": "text", "text": text} for text in texts]}
            for role, texts in draw(TURNS)
        ],
    }


def blocks(payload: Json) -> list[Json]:
    """All segments of a payload, as they stand in it."""
    return [
        *payload["tools"],
        *payload["system"],
        *(part for one in payload["messages"] for part in one["content"]),
    ]


def running(chain: Chain) -> list[bytes]:
    return [segment.running for segment in chain.segments]


@given(payloads())
def test_equal_requests_have_equal_chains(payload: Json) -> None:
    assert chain_of(payload, "anthropic") == chain_of(copy.deepcopy(payload), "anthropic")


@given(payloads(), st.data())
def test_a_change_of_one_character_breaks_the_chain_there_and_only_from_there_on(
    payload: Json, data: st.DataObject
) -> None:
    before = chain_of(payload, "anthropic")
    changed = copy.deepcopy(payload)
    at = data.draw(st.integers(0, len(blocks(payload)) - 1))
    field = "description" if at < len(payload["tools"]) else "text"
    text = blocks(changed)[at][field]
    place = data.draw(st.integers(0, len(text) - 1))
    blocks(changed)[at][field] = text[:place] + "X" + text[place + 1 :]
    after = chain_of(changed, "anthropic")
    assert running(before)[:at] == running(after)[:at]
    assert all(old != new for old, new in zip(running(before)[at:], running(after)[at:], strict=True))
    assert [one.digest for one in before.segments][at + 1 :] == [one.digest for one in after.segments][at + 1 :]


@given(payloads(), st.data())
def test_marks_change_no_digest(payload: Json, data: st.DataObject) -> None:
    marked = copy.deepcopy(payload)
    places = data.draw(st.sets(st.integers(0, len(blocks(payload)) - 1), max_size=4))
    for at in places:
        blocks(marked)[at]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    chain = chain_of(marked, "anthropic")
    assert running(chain) == running(chain_of(payload, "anthropic"))
    assert chain.marks == sorted(places)


@given(payloads())
def test_more_messages_leave_the_chain_before_them_as_it_was(payload: Json) -> None:
    longer = copy.deepcopy(payload)
    longer["messages"].append({"role": "user", "content": "and?"})
    before, after = chain_of(payload, "anthropic"), chain_of(longer, "anthropic")
    assert running(after)[: len(before.segments)] == running(before)


@given(st.lists(TEXTS, min_size=1, max_size=5), TEXTS, st.integers(1, 40))
def test_steps_are_equal_as_far_as_the_tokens_are(texts: list[str], other: str, times: int) -> None:
    system = " ".join([*texts, "a b c d"] * times)

    def chain(tail: str) -> Chain:
        messages = [{"role": "system", "content": system + " " + tail}, {"role": "user", "content": other}]
        return chain_of({"model": "gpt-4o", "messages": messages}, "openai", counter=COUNTER)

    one, two = chain("one"), chain("two")
    assert list(one.step_tokens) == list(range(128, one.tokens + 1, 128))
    shared = (4 + count(system)) // 128  # up to where the texts differ
    assert one.steps[:shared] == two.steps[:shared]
    assert not set(one.steps[shared:]) & set(two.steps[shared:])


def test_a_text_and_a_list_of_that_text_are_the_same() -> None:
    chains = [
        chain_of({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}, "openai")
        for content in ("Who?", [{"type": "text", "text": "Who?"}])
    ]
    assert chains[0] == chains[1]


@pytest.mark.parametrize("change", ["order of keys", "order of tools", "white space", "role"])
def test_bytes_that_the_model_sees_change_the_chain(change: str) -> None:
    tools = [{"name": name, "input_schema": {"x": 1, "y": 2}} for name in "ab"]
    before: Json = {"model": "claude-sonnet-4-5", "tools": tools, "messages": [{"role": "user", "content": "Who?"}]}
    after = copy.deepcopy(before)
    if change == "order of keys":
        after["tools"][0]["input_schema"] = {"y": 2, "x": 1}
    elif change == "order of tools":
        after["tools"].reverse()
    elif change == "white space":
        after["messages"][0]["content"] = "Who ?"
    else:
        after["messages"][0]["role"] = "assistant"
    assert running(chain_of(before, "anthropic"))[-1] != running(chain_of(after, "anthropic"))[-1]


def test_parameters_change_the_chain_from_their_level_on() -> None:
    payload: Json = {
        "model": "claude-sonnet-4-5",
        "tools": [{"name": "a"}],
        "system": "Be kind.",
        "messages": [{"role": "user", "content": "Who?"}],
    }
    plain = running(chain_of(payload, "anthropic"))
    forced = running(chain_of(payload | {"tool_choice": {"type": "any"}}, "anthropic"))
    assert [a == b for a, b in zip(plain, forced, strict=True)] == [True, True, False]


LABELS = {
    "openai": (
        {
            "model": "gpt-4o",
            "tools": [{"type": "function", "function": {"name": "search"}}],
            "messages": [
                {"role": "system", "content": "Be kind."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "This?"}, {"type": "image_url", "image_url": 1}],
                },
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "function": {"name": "search", "arguments": '{"q":"a b"}'}}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "none"},
            ],
        },
        ["tool search", "system prompt", "message 2 (user), part 1", "message 2 (user), part 2"],
        ["tool", "text", "text", "image", "call", "result"],
        [23, 4 + 3, 4 + 2, 85, 4 + 1 + 10, 4 + 1],
    ),
    "anthropic": (
        {
            "model": "claude-sonnet-4-5",
            "system": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief."}],
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "1", "name": "search", "input": {"q": 1}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "none"}]},
            ],
        },
        ["system prompt, block 1", "system prompt, block 2", "message 1 (assistant)", "message 2 (user)"],
        ["text", "text", "call", "result"],
        [3, 3, 4 + 1 + 7, 4 + 1],
    ),
    "gemini": (
        {
            "model": "models/gemini-2.5-pro",
            "systemInstruction": {"parts": [{"text": "Be kind."}]},
            "tools": [{"functionDeclarations": [{"name": "search"}]}],
            "contents": [{"role": "user", "parts": [{"text": "Who?"}, {"inlineData": {"data": "AA"}}]}],
        },
        ["system prompt", "tool search", "message 1 (user), part 1", "message 1 (user), part 2"],
        ["text", "tool", "text", "image"],
        [3, 9, 4 + 2, 85],
    ),
    "bedrock": (
        {
            "modelId": "anthropic.claude-sonnet-4-5-v1:0",
            "toolConfig": {"tools": [{"toolSpec": {"name": "search"}}, {"cachePoint": {"type": "default"}}]},
            "system": [{"text": "Be kind."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
            "messages": [{"role": "user", "content": [{"text": "Who?"}]}],
        },
        ["tool search", "system prompt", "message 1 (user)"],
        ["tool", "text", "text"],
        [15, 3, 4 + 2],
    ),
    "responses": (
        {
            "model": "gpt-5.6",
            "instructions": "Be kind.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Who?"}]},
                {"type": "function_call", "call_id": "1", "name": "search", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "none"},
            ],
        },
        ["system prompt", "message 2 (user)", "message 3 (function_call)", "message 4 (function_call_output)"],
        ["text", "text", "call", "result"],
        [4 + 3, 4 + 2, 4 + 1 + 2, 4 + 1],
    ),
}


@pytest.mark.parametrize("form", LABELS)
def test_all_wire_forms_become_labelled_and_counted_segments(form: str) -> None:
    payload, labels, kinds, tokens = LABELS[form]
    chain = chain_of(payload, "openai" if form == "responses" else form, counter=COUNTER)
    assert [one.label for one in chain.segments][: len(labels)] == labels
    assert [one.kind for one in chain.segments] == kinds
    assert [one.tokens for one in chain.segments] == tokens
    if form == "bedrock":
        assert [one.mark for one in chain.segments] == ["", "1h", None]


def test_no_text_is_stored_without_the_option() -> None:
    payload = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a secret of mine"}]}
    assert "secret" not in repr(chain_of(payload, "openai"))
    assert chain_of(payload, "openai", keep_text=True).segments[0].text == "a secret of mine"


def test_a_payload_of_no_known_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="no messages"):
        chain_of({"model": "gpt-4o", "prompt": json.dumps("Who?")}, "openai")
