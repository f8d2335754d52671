"""What comes back is what was stored, and what is not stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from askonce.langchain import AskOnceCache
from tests.langchain.keys.forms import CACHE, HI, LLM
from tests.langchain.samples import Place

CALL = {"name": "add", "args": {"a": [1, 2.5, None, "é"]}, "id": "call_1", "type": "tool_call"}
MESSAGES = [
    AIMessage("text", id="chatcmpl-1", name="Ann", response_metadata={"finish_reason": "stop", "model": "m"}),
    AIMessage("", tool_calls=[CALL], usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
    AIMessage([{"type": "text", "text": "a", "index": 0}, {"type": "reasoning", "summary": []}, "b"]),
    AIMessage("late", additional_kwargs={"at": datetime(2026, 1, 1, tzinfo=UTC), "raw": b"\0"}, provider="extra"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_an_answer_comes_back_equal_and_new_each_time(message: AIMessage) -> None:
    put = [ChatGeneration(message=message, generation_info={"finish_reason": "stop", "logprobs": None})]
    CACHE.update(dumps(HI), LLM, put)
    first, second = (CACHE.lookup(dumps(HI), LLM) for _ in range(2))
    assert first is not None
    assert second is not None
    got = first[0].message
    assert got.response_metadata.pop("askonce")["hit"] == "exact"
    assert got.id != message.id and got.id.startswith("lc_run-")
    got.id = message.id
    assert first == put
    got.response_metadata["mine"] = got.tool_calls.append("changed")
    assert "mine" not in second[0].message.response_metadata
    assert second[0].message.tool_calls == message.tool_calls


def test_ids_that_langchain_made_of_a_run_are_new_in_each_hit() -> None:
    CACHE.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage("x", id="lc_run--1-0"))])
    ids = {CACHE.lookup(dumps(HI), LLM)[0].message.id for _ in range(3)}
    assert len(ids) == 3
    assert "lc_run--1-0" not in ids


def test_chunks_become_whole_messages() -> None:
    CACHE.update(dumps(HI), LLM, [ChatGenerationChunk(message=AIMessageChunk("x"))])
    (generation,) = CACHE.lookup(dumps(HI), LLM)
    assert (type(generation), type(generation.message)) == (ChatGeneration, AIMessage)


@pytest.mark.parametrize("value", [object(), Place, 2**70], ids=["object", "class", "great number"])
def test_an_answer_that_is_no_plain_data_is_not_stored(value: Any) -> None:
    cache = AskOnceCache("memory://", namespace="odd")
    cache.clear()
    before = cache.stats().not_stored
    cache.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage("x", additional_kwargs={"odd": value}))])
    assert cache.lookup(dumps(HI), LLM) is None
    assert cache.stats().not_stored == before + 1


@pytest.mark.parametrize(
    ("metadata", "content"),
    [
        ({"finish_reason": "length"}, "x"),
        ({"stop_reason": "max_tokens"}, "x"),
        ({"finishReason": "FinishReason.SAFETY"}, "x"),
        ({"finish_reason": "CONTENT_FILTER"}, "x"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "x"),
        ({"finish_reason": "stop"}, ""),
        ({"finish_reason": "stop"}, [{"type": "text", "text": ""}]),
    ],
)
def test_cut_off_and_empty_answers_are_not_stored(metadata: dict[str, Any], content: Any) -> None:
    cache = AskOnceCache("memory://", namespace="cut")
    cache.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage(content, response_metadata=metadata))])
    assert cache.lookup(dumps(HI), LLM) is None
    wanting = AskOnceCache("memory://", cache_empty=True, cache_truncated=True, namespace="cut but stored")
    wanting.update(dumps(HI), LLM, [ChatGeneration(message=AIMessage(content, response_metadata=metadata))])
    assert wanting.lookup(dumps(HI), LLM) is not None
