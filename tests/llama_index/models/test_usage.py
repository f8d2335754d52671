"""Usage and the end of an answer, whoever reports them."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import CompletionResponse

from askonce.entries.entry import Usage
from askonce.llama_index.models.answers import pack

OPENAI = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
RESPONSES = {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}
ANTHROPIC = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2}
BEDROCK = {"inputTokens": 3, "outputTokens": 2, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 2}
GEMINI = {"prompt_token_count": 9, "candidates_token_count": 2, "cached_content_token_count": 4}


@pytest.mark.parametrize("usage", [
    ({"usage": OPENAI}, (9, 2, 4, 0)), ({"usage": RESPONSES}, (9, 2, 4, 0)), ({"usage": ANTHROPIC}, (9, 2, 4, 2)),
    ({"usage": BEDROCK}, (9, 2, 4, 2)), ({"usage_metadata": GEMINI}, (9, 2, 4, 0)), ({}, (0, 0, 0, 0)),
], ids=str)  # fmt: skip
def test_usage_is_the_whole_prompt_whoever_reports_it(usage: tuple[dict[str, Any], tuple[int, ...]]) -> None:
    raw, expected = usage
    answer = pack(CompletionResponse(text="hi", raw={"model": "some-model", **raw}), None)
    assert answer is not None and answer.usage == Usage(*expected) and answer.model == "some-model"


@pytest.mark.parametrize("raw", [
    {"stop_reason": "max_tokens"}, {"stopReason": "max_tokens"}, {"candidates": [{"finish_reason": "MAX_TOKENS"}]},
    {"finish_reason": "SAFETY"}, {"done_reason": "length"}, {"choices": [{"finish_reason": "content_filter"}]},
    {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
])  # fmt: skip
def test_cut_off_answers_are_known_whoever_cut_them(raw: dict[str, Any]) -> None:
    answer = pack(CompletionResponse(text="hi", raw=raw), None)
    assert answer is not None and answer.truncated
