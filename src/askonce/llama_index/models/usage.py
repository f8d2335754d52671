"""What providers report of an answer: tokens, the model's name, why it ended. Each in a place of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from askonce.costs.pricing import cost_usd
from askonce.entries.entry import Usage


def usage_of(response: Any) -> Usage:
    """The tokens that a response or chunk says it took; all 0 if it does not say."""
    raw = response.raw
    message = _get(response, "message")
    for source in (
        _get(raw, "usage"),
        _get(raw, "usage_metadata"),
        _get(_get(raw, "response"), "usage"),
        _get(_get(message, "additional_kwargs"), "usage"),
        response.additional_kwargs.get("usage"),
        response.additional_kwargs,
        _get(message, "additional_kwargs"),
    ):
        usage = _usage(source)
        if usage.total_tokens:
            return usage
    return Usage()


def _usage(raw: Any) -> Usage:
    if _get(raw, "prompt_tokens") is not None:  # OpenAI's chat, and those that speak like it
        read = _number(_get(raw, "prompt_tokens_details"), "cached_tokens")
        return Usage(_number(raw, "prompt_tokens"), _number(raw, "completion_tokens"), read)
    if _get(raw, "prompt_token_count") is not None:  # Gemini; thoughts are not among the candidates
        output = _number(raw, "candidates_token_count") + _number(raw, "thoughts_token_count")
        return Usage(_number(raw, "prompt_token_count"), output, _number(raw, "cached_content_token_count"))
    if _get(raw, "inputTokens") is not None:  # Bedrock: without what its cache read or wrote
        read, written = _number(raw, "cacheReadInputTokens"), _number(raw, "cacheWriteInputTokens")
        return Usage(_number(raw, "inputTokens") + read + written, _number(raw, "outputTokens"), read, written)
    if _get(raw, "input_tokens") is not None:
        inside = _number(_get(raw, "input_tokens_details"), "cached_tokens")  # OpenAI's responses: included
        read, written = (
            _number(raw, "cache_read_input_tokens"),
            _number(raw, "cache_creation_input_tokens"),
        )
        whole = _number(raw, "input_tokens") + read + written  # Anthropic: excluded
        return Usage(whole, _number(raw, "output_tokens"), read or inside, written)
    return Usage()


def cost_of(response: Any, chunks: Sequence[Any], model: str | None) -> float | None:
    """What an answer cost in dollars; nothing if it came from a cache, ``None`` if its price is not known.

    Args:
        response: the answer.
        chunks: those of its stream.
        model: the model's name, should the answer not say it.
    """
    mark = response.additional_kwargs.get("askonce")
    if isinstance(mark, Mapping) and "hit" in mark:
        return 0.0
    if is_routed(response):
        cost: float | None = response.additional_kwargs["askonce"].get("cost_usd")
        return cost
    reported = [usage for chunk in (response, *chunks) if (usage := usage_of(chunk)).total_tokens]
    return cost_usd(model_name(response) or model, reported[-1]) if reported else None


def is_routed(response: Any) -> bool:
    """Whether a `Multiplexer` chose who answers: then it names the model, and the cost of all its calls."""
    mark = response.additional_kwargs.get("askonce")
    return isinstance(mark, Mapping) and "calls" in mark and "hit" not in mark


def model_name(response: Any) -> str | None:
    """The name of the model that answered, if the response says it."""
    for name in ("model", "model_version", "model_name"):
        reported = _get(response.raw, name)
        if isinstance(reported, str) and reported:
            return reported
    return None


def finish_reason(response: Any) -> str | None:
    """Why the answer ended, in the provider's words."""
    raw = response.raw
    whole = _get(raw, "response")  # of the last event of a stream
    for one in (raw, whole):
        incomplete = _get(_get(one, "incomplete_details"), "reason")
        if isinstance(incomplete, str):
            return incomplete
    places = [raw, _get(raw, "delta"), whole]
    for listed in ("choices", "candidates"):
        several = _get(raw, listed)
        places += several[:1] if isinstance(several, (list, tuple)) else []
    places += [response.additional_kwargs, _get(_get(response, "message"), "additional_kwargs")]
    for place in places:  # of OpenAI's responses, a delta is a text
        for name in ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "status"):
            reported = _get(place, name)
            reported = getattr(reported, "name", getattr(reported, "value", reported))
            if isinstance(reported, str) and reported:
                return reported
    return None


def _get(place: Any, name: str) -> Any:
    return place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)


def _number(place: Any, name: str) -> int:
    value = _get(place, name)
    return value if isinstance(value, int) and value > 0 else 0
