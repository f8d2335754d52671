"""What providers report of a request, in one form: all tokens of the prompt, those read and those written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from askonce.entries.entry import Usage


def usage_of(usage: Any) -> Usage | None:
    """The tokens that a provider reported, from the ``usage`` of its answer (a mapping or an object).

    Known are OpenAI's chat completions and responses, DeepSeek's, Moonshot's, LiteLLM's and others' that speak like
    them, Anthropic's messages, Bedrock's Converse, Gemini's ``usage_metadata`` and Interactions, and LangChain's
    ``usage_metadata``.

    Returns:
        ``None`` if there is nothing that is known.
    """
    details = _get(usage, "input_token_details")
    if details is not None or _is_langchain(usage):
        details = details or {}
        read, written = _sum(details, "cache_read"), _sum(details, "cache_creation")
        written += _sum(details, "ephemeral_5m_input_tokens") + _sum(details, "ephemeral_1h_input_tokens")
        return _checked(_number(usage, "input_tokens"), usage, read, written)
    if _get(usage, "prompt_tokens") is not None:  # the whole, also where names of Anthropic's stand beside it
        details = _get(usage, "prompt_tokens_details")
        read = _number(details, "cached_tokens") or _number(
            usage, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"
        )
        written = _number(details, "cache_write_tokens", "cache_creation_tokens") or _number(
            usage, "cache_creation_input_tokens"
        )
        return _checked(_number(usage, "prompt_tokens"), usage, read, written)
    if _get(usage, "prompt_token_count") is not None or _get(usage, "promptTokenCount") is not None:
        whole = _number(usage, "prompt_token_count", "promptTokenCount")
        return _checked(whole, usage, _number(usage, "cached_content_token_count", "cachedContentTokenCount"), 0)
    if _get(usage, "total_input_tokens") is not None:  # Gemini's Interactions
        return _checked(_number(usage, "total_input_tokens"), usage, _number(usage, "total_cached_tokens"), 0)
    if _get(usage, "inputTokens") is not None:  # Bedrock: without what its cache read or wrote
        read, written = _number(usage, "cacheReadInputTokens"), _number(usage, "cacheWriteInputTokens")
        return _checked(_number(usage, "inputTokens") + read + written, usage, read, written)
    if _get(usage, "input_tokens") is not None:
        details = _get(usage, "input_tokens_details")
        if details is not None:  # OpenAI's responses: the whole
            read, written = _number(details, "cached_tokens"), _number(details, "cache_write_tokens")
            return _checked(_number(usage, "input_tokens"), usage, read, written)
        read, written = (
            _number(usage, "cache_read_input_tokens"),
            _number(usage, "cache_creation_input_tokens"),
        )
        return _checked(_number(usage, "input_tokens") + read + written, usage, read, written)  # Anthropic: without
    return None


def _sum(details: Mapping[str, Any], name: str) -> int:
    """A figure, or that of a service tier: ``cache_read`` or ``priority_cache_read``."""
    return sum(_number(details, key) for key in details if key == name or key.endswith(f"_{name}"))


def _is_langchain(usage: Any) -> bool:
    """Whether it is LangChain's form, without details: OpenAI's responses have ``input_tokens_details``."""
    if not isinstance(usage, Mapping) or not {"total_tokens", "input_tokens"} <= usage.keys():
        return False
    return not {"input_tokens_details", "cache_read_input_tokens", "cache_creation_input_tokens"} & usage.keys()


def _checked(whole: int, usage: Any, read: int, written: int) -> Usage | None:
    if not whole:
        return None
    output = _number(
        usage,
        "output_tokens",
        "completion_tokens",
        "outputTokens",
        "candidates_token_count",
        "total_output_tokens",
    )
    return Usage(whole, output, min(read, whole), min(written, whole - min(read, whole)))


def _get(place: Any, name: str) -> Any:
    return place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)


def _number(place: Any, *names: str) -> int:
    for name in names:
        value = _get(place, name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0
