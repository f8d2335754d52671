"""What a hit says of the items of OpenAI's Responses API that the first answer was made of.

By an item's id the server looks up what it stored, and LangChain puts texts together. An id that is sent twice is
refused, or loses a text; one that the server never gave is refused too. Without ids an answer says the same. So a
hit has none; its tool calls, which are linked to their results by an id that means nothing else, get new ones.
"""

from __future__ import annotations

from typing import Any

from askonce.entries.call_ids import FreshCallIds

_IDS_OF_CALLS = "__openai_function_call_ids__"
_OF_ITEMS = frozenset({"text", "refusal", "reasoning", "function_call", "custom_tool_call"})
_CALLS = frozenset({"function_call", "custom_tool_call"})
_CALLS_OF_LANGCHAIN = frozenset({"tool_call", "invalid_tool_call"})


def is_of_items(message: Any) -> bool:
    """Whether a stored message is an answer of the Responses API."""
    if message.response_metadata.get("object") == "response" or _IDS_OF_CALLS in message.additional_kwargs:
        return True
    content = message.content
    return isinstance(content, list) and any(isinstance(one, dict) and one.get("type") in _CALLS for one in content)


def renew_items(message: Any) -> None:
    """Take the ids of items from a stored message, and give its tool calls new ones.

    One that shows what a hosted tool did stays as it is: its items stand together on the server.
    """
    blocks = [one for one in message.content if isinstance(one, dict)] if isinstance(message.content, list) else []
    kinds = {one.get("type") for one in blocks}
    if not kinds <= _OF_ITEMS | _CALLS_OF_LANGCHAIN or message.additional_kwargs.get("tool_outputs"):
        return
    ids = FreshCallIds()
    if _IDS_OF_CALLS in message.additional_kwargs:  # by its presence LangChain knows the form of the message
        message.additional_kwargs[_IDS_OF_CALLS] = {}
    reasoning = message.additional_kwargs.get("reasoning")
    if isinstance(reasoning, dict):
        reasoning.pop("id", None)
    for call in (*message.tool_calls, *message.invalid_tool_calls):
        _renew(call, "id", ids)
    for block in blocks:
        if block.get("type") in _CALLS_OF_LANGCHAIN:
            _renew(block, "id", ids)
            if isinstance(block.get("extras"), dict):
                block["extras"].pop("item_id", None)
        else:
            block.pop("id", None)
            _renew(block, "call_id", ids)


def _renew(call: dict[str, Any], name: str, ids: FreshCallIds) -> None:
    if isinstance(call.get(name), str):
        call[name] = ids[call[name]]
