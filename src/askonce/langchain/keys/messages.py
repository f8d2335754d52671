"""LangChain's messages in the normal form of ``askonce.keys.messages``.

They come as objects, or as the JSON that `langchain_core.load.dumps` makes of them for a cache; the fields have
the same names in both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from askonce.keys.messages import CLIENT_TOOL_CALLS, Conversation
from askonce.keys.normal_form import Uncacheable

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_ROLES = {"Human": "user", "AI": "assistant", "System": "system", "Tool": "tool", "Function": "function"}
_ROLE_OF_CLASS = {name: role for kind, role in _ROLES.items() for name in (f"{kind}Message", f"{kind}MessageChunk")}
_ROLE_OF_TYPE = {kind.lower(): role for kind, role in _ROLES.items()} | _ROLE_OF_CLASS
# What the provider is not sent, or is sent in another field.
_NOT_SENT = frozenset(
    "id type example response_metadata usage_metadata tool_call_chunks chunk_position artifact".split()
)
_PLACED = frozenset("content name tool_calls tool_call_id status role additional_kwargs".split())
_KNOWN = _NOT_SENT | _PLACED
_TRANSLATED_BY = ("model_provider", "output_version")
_ELSEWHERE = frozenset({"parsed", "__openai_function_call_ids__"})
_CALLS = frozenset({"tool_calls", "function_call"})
_BARE = {"content", "type"}  # of most messages that is all
_decode = msgspec.json.Decoder().decode


def conversation_of(prompt: str) -> Conversation | None:
    """The conversation of a lookup, or ``None`` if the prompt is a completion model's text.

    Raises:
        Uncacheable: a message holds something without a stable representation.
    """
    if not (prompt.startswith('[{"lc":') or prompt == "[]"):
        return None
    try:
        dumped = _decode(prompt)
    except (msgspec.DecodeError, UnicodeError):
        try:
            dumped = json.loads(prompt)  # knows NaN
        except ValueError:
            return None
    conversation = Conversation()
    for message in dumped:
        if not isinstance(message, dict) or not message.get("id"):
            return None
        if message.get("type") != "constructor":
            _add_opaque(conversation, message)
        else:
            _add(conversation, message["id"][-1], message.get("kwargs", {}))
    return conversation


def conversation_of_messages(messages: Iterable[BaseMessage]) -> Conversation:
    """The conversation that a model is given.

    Raises:
        Uncacheable: a message holds something without a stable representation.
    """
    conversation = Conversation()
    for message in messages:
        fields: Mapping[str, Any] = message.__dict__
        if message.__pydantic_extra__:
            fields = {**fields, **message.__pydantic_extra__}
        _add(conversation, type(message).__name__, fields)
    return conversation


def _add(conversation: Conversation, class_name: str, fields: Mapping[str, Any]) -> None:
    role = _ROLE_OF_CLASS.get(class_name) or _ROLE_OF_TYPE.get(fields.get("type", ""))
    if role is not None and fields.keys() == _BARE:
        conversation.add(role, fields["content"])
        return
    if role is None:
        role = str(fields.get("role") or class_name)
    tool_calls: Sequence[Mapping[str, Any]] = fields.get("tool_calls") or ()
    extra: dict[str, Any] = {}
    if fields.get("additional_kwargs"):
        extra = _additional(conversation, fields, bool(tool_calls or fields.get("invalid_tool_calls")))
    for name, value in fields.items():
        if name not in _KNOWN:
            extra[name] = value
        elif name in _NOT_SENT and name != "type" and value:
            conversation.leave_out(name)
            if name == "response_metadata" and isinstance(value, Mapping):
                conversation.record_answer(value)
                extra |= _translated_by(fields.get("content"), value)
    content = fields.get("content")
    if isinstance(content, list) and (alone := _calls_alone(content, fields)):
        extra["calls in blocks alone"] = alone
    conversation.add(
        role,
        content,
        name=fields.get("name"),
        tool_calls=tool_calls,
        answers=fields.get("tool_call_id"),
        status=fields.get("status"),
        extra=extra,
    )


def _calls_alone(content: Sequence[Any], fields: Mapping[str, Any]) -> int:
    """How many calls stand in blocks, and not among the message's calls: some clients send those alone."""
    calls = [call for name in ("tool_calls", "invalid_tool_calls") for call in fields.get(name) or ()]
    ids = {str(call.get("id")) for call in calls}
    blocks = [block for block in content if isinstance(block, Mapping) and block.get("type") in CLIENT_TOOL_CALLS]
    return sum(str(one.get("call_id") or one.get("id")) not in ids for one in blocks)


def _translated_by(content: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """By what a client translates blocks that are no text: those of another provider it may leave out."""
    if not isinstance(content, list) or all(
        isinstance(block, str) or (isinstance(block, Mapping) and block.get("type") == "text") for block in content
    ):
        return {}
    return {f"blocks' {name}": metadata[name] for name in _TRANSLATED_BY if metadata.get(name)}


def _additional(
    conversation: Conversation, fields: Mapping[str, Any], calls_stand_elsewhere: bool
) -> dict[str, Any]:
    """What only this provider knows of a message."""
    extra = {}
    elsewhere = _ELSEWHERE | _CALLS if calls_stand_elsewhere else _ELSEWHERE
    for name, value in (fields.get("additional_kwargs") or {}).items():
        if name in elsewhere:
            conversation.leave_out(f"additional_kwargs.{name}")
        elif name == "reasoning" and isinstance(value, Mapping):
            extra[name] = {key: item for key, item in value.items() if key != "id"}
        else:
            extra[name] = value
    return extra


def _add_opaque(conversation: Conversation, dumped: Mapping[str, Any]) -> None:
    """A message that LangChain cannot write down, but for its repr."""
    shown = dumped.get("repr")
    if not isinstance(shown, str) or " at 0x" in shown:
        raise Uncacheable(f"a {'.'.join(map(str, dumped['id']))} shows nothing of its content")
    conversation.add(str(dumped["id"][-1]), shown)
