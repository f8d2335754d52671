"""What a hit says of the items of OpenAI's Responses API that the first answer was made of.

LlamaIndex sends a thought with its id, by which the server looks up what it stored, and which it refuses twice. In
a hit thoughts have no id, so that they are not sent; its tool calls, whose ids link them to results, get new ones.
"""

from __future__ import annotations

from typing import Any

from askonce.entries.call_ids import FreshCallIds


def renew_items(message: dict[str, Any], raw: Any) -> None:
    """Take the ids of items from a stored message of the Responses API, and give its tool calls new ones.

    Args:
        message: as it was stored.
        raw: what the provider answered, in which the tool calls get the same ids.
    """
    response = raw.get("response", raw) if isinstance(raw, dict) else None
    if not isinstance(response, dict) or response.get("object") != "response":
        return
    ids = FreshCallIds()
    for block in message["blocks"]:
        if block.get("block_type") == "thinking":
            (block.get("additional_information") or {}).pop("id", None)
        elif block.get("block_type") == "tool_call":
            _renew(block, "tool_call_id", ids)
    for call in message["additional_kwargs"].get("tool_calls") or ():
        if isinstance(call, dict):
            call.pop("id", None)
            _renew(call, "call_id", ids)
    for item in response.get("output") or ():
        if isinstance(item, dict):
            _renew(item, "call_id", ids)


def _renew(call: dict[str, Any], name: str, ids: FreshCallIds) -> None:
    if isinstance(call.get(name), str):
        call[name] = ids[call[name]]
