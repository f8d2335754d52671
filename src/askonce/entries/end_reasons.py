"""Which of the reasons that providers give for the end of an answer mean that it is whole.

What is not listed is taken for a broken answer: providers invent new words for refusals and failures, and an answer
that is not stored only costs another call.
"""

from __future__ import annotations

from typing import Any

_PROPER = {
    "OpenAI, and those that speak like it": "stop tool_calls function_call",
    "OpenAI's responses": "completed",
    "Anthropic": "end_turn tool_use stop_sequence",
    "Google": "stop",
    "Bedrock": "end_turn tool_use stop_sequence stop finish finished complete endoftext",
    "Cohere": "complete stop_sequence tool_call",
    "Ollama": "stop",
    "vLLM, TGI, watsonx, Together": "stop eos eos_token stop_sequence stop_token stop_str tool_calls",
    "AI21": "stop endoftext",
    "Yandex": "alternative_status_final alternative_status_tool_calls",
    "Replicate, DashScope and others, as a status": "succeeded success ok done",
}
_WORDS = frozenset(word for words in _PROPER.values() for word in words.split())


def is_proper(reason: Any) -> bool:
    """Whether an end reason, a text or a member of an enumeration, is known to be that of a whole answer."""
    reason = getattr(reason, "name", getattr(reason, "value", reason))
    if isinstance(reason, dict):
        reason = reason.get("reason")
    word = str(reason).rpartition(".")[2].lower().removeprefix("finish_reason_")
    # LangChain joins the texts of chunks, and some servers give the reason in more than one.
    return word in _WORDS or any(word == one * (len(word) // len(one)) for one in _WORDS)
