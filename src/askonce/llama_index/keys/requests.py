"""The normal form of LlamaIndex's requests: model, conversation, and the call's arguments."""

from __future__ import annotations

import base64
import binascii
import contextlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    AudioBlock,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.schema import BaseComponent
from llama_index.core.tools.types import BaseTool

from askonce.keys.messages import Conversation
from askonce.keys.normal_form import (
    NEUTRAL,
    NormalForm,
    Uncacheable,
    is_credential,
    model_form,
    plain,
    request_form,
    text,
)

T = TypeVar("T")

# Fields that LlamaIndex leaves out of `to_dict()` and that an endpoint may still use.
_EXCLUDED_BUT_MEANT = frozenset({"messages_to_prompt", "completion_to_prompt", "query_wrapper_prompt"})
# Applied around the endpoints, or of no consequence for the answer.
_LEFT_OUT = frozenset({"output_parser", "embed_batch_size", "embeddings_cache"})
# Private attributes that cannot tell one model's answers from another's, and those that, where they are objects
# (a loaded model, a client's settings), say nothing which the declared fields do not say.
_MACHINERY = re.compile(r"client|session|boto|lock|semaphore|executor|logger|warned|askonce")
_OBJECTS = re.compile(r"http|tokenizer|model$|config$")
_SIMPLE = (str, int, float, bytes, type(None))
# Reported by a provider about an earlier answer, or a mark for its prompt cache.
_REPORTED = frozenset(
    """
    cache_control usage id prompt_tokens completion_tokens total_tokens input_tokens output_tokens
    cache_read_input_tokens cache_creation_input_tokens thinking_delta askonce
    """.split()
)


def chat_form(llm: BaseComponent, messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> NormalForm:
    """The normal form of a chat.

    Raises:
        Uncacheable: it cannot be named.
    """
    return _guarded(lambda: _chat_form(llm, messages, options))


def completion_form(llm: BaseComponent, prompt: str, formatted: bool, options: Mapping[str, Any]) -> NormalForm:
    """The normal form of a completion; `Uncacheable` as in `chat_form`."""

    def build() -> NormalForm:
        left_out: list[str] = []
        model = component_form(llm, left_out)
        call = model_form(_fields(options), left_out, "call")
        if not isinstance(prompt, str):
            raise Uncacheable(f"a prompt of type {type(prompt).__name__}")
        parts = {"prompt": text(prompt), "formatted": bool(formatted), "call": call}
        return request_form("completion", model, left_out, **parts)

    return _guarded(build)


def _chat_form(llm: BaseComponent, messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> NormalForm:
    conversation = Conversation()
    for message in messages:
        _add(conversation, message)
    left_out = conversation.left_out
    model = component_form(llm, left_out)
    call = model_form(_fields(options), left_out, "call")
    return request_form("chat", model, left_out, messages=conversation.messages, call=call)


def component_form(component: BaseModel, left_out: list[str]) -> dict[str, Any]:
    """The normal form of an LLM, an embedding model or a prompt: its class and what its settings say.

    Raises:
        Uncacheable: a setting cannot be named, or the model remembers earlier calls.
    """
    if getattr(component, "track_previous_responses", False):
        raise Uncacheable("the model keeps the conversation on its provider's server")
    return _guarded(lambda: model_form(_settings(component, component), left_out))


def _guarded(build: Callable[[], T]) -> T:
    """Whatever goes wrong with a name must not reach the application: the request is not cached then."""
    try:
        return build()
    except Uncacheable:
        raise
    except Exception as error:
        raise Uncacheable(f"{type(error).__name__}: {error}") from error


# -- models ----------------------------------------------------------------------------------------------------


def _settings(value: BaseModel, owner: Any = None) -> dict[str, Any]:
    """The class and fields of a pydantic object, its private attributes too if it is one of LlamaIndex's."""
    cls = type(value)
    found: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}"}
    if hasattr(value, "askonce_form"):  # a model of askonce's own tells by itself
        return {**found, **value.askonce_form()}
    for name, field in cls.model_fields.items():
        if (not field.exclude or name in _EXCLUDED_BUT_MEANT) and name not in _LEFT_OUT:
            found[name] = getattr(value, name, None)
    found |= value.__pydantic_extra__ or {}
    if isinstance(value, BaseComponent):
        for name, item in (value.__pydantic_private__ or {}).items():
            if _counts(name, item):
                found[name] = item
    return _fields({name: item for name, item in found.items() if item != {}}, owner)


def _counts(name: str, private: Any) -> bool:
    """Whether a private attribute can tell one model's answers from another's."""
    if _OBJECTS.search(name.lower()):
        return isinstance(private, (*_SIMPLE, Mapping, list, tuple, BaseModel))
    return _MACHINERY.search(name.lower()) is None


def _fields(values: Mapping[str, Any], owner: Any = None) -> dict[str, Any]:
    return {
        str(name): value if name in NEUTRAL or is_credential(str(name)) else _data(value, owner)
        for name, value in values.items()
    }


def _data(value: Any, owner: Any = None) -> Any:
    """A setting or argument as data that ``askonce.keys.normal_form`` knows."""
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, Mapping):
        return _fields(value, owner)
    if isinstance(value, (list, tuple)):
        return [_data(item, owner) for item in value]
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return {
            "name": metadata.name,
            "description": metadata.description,
            "parameters": metadata.get_parameters_dict(),
        }
    if isinstance(value, BaseModel):
        return _settings(value, owner)
    if inspect.ismethod(value):
        return _method_name(value, owner)
    if inspect.isroutine(value) or (isinstance(value, type) and not issubclass(value, BaseModel)):
        return importable_name(value)
    return value


def _method_name(method: Any, owner: Any) -> str:
    """The name of a method of the model itself, whose settings stand in the form anyway."""
    if owner is None or not isinstance(owner, type(method.__self__)):
        raise Uncacheable(f"a bound method, {method.__qualname__}")
    return f"{method.__module__}.{method.__qualname__}"


def importable_name(value: Any) -> str:
    """The name of a function or class that stands in a module.

    Raises:
        Uncacheable: it does not.
    """
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not value:
        raise Uncacheable(f"{qualname or value!r} is not a function at the top of a module")
    return f"{module}.{qualname}"


# -- messages --------------------------------------------------------------------------------------------------


def _add(conversation: Conversation, message: ChatMessage) -> None:
    if not isinstance(message, ChatMessage):
        raise Uncacheable(f"a message of type {type(message).__name__}")
    given = dict(message.additional_kwargs)
    given.pop("images", None)  # LlamaIndex has made blocks of them
    for name in sorted(_REPORTED & given.keys()):
        del given[name]
        conversation.leave_out(f"additional_kwargs.{name}")
    answers, name = given.pop("tool_call_id", None), given.pop("name", None)
    blocks = [part for block in message.blocks if (part := _part(block, conversation)) is not None]
    told = {str(one.get("tool_call_id")): _call(one) for one in blocks if one["type"] == "tool_call"}
    calls, others = _tool_calls(given.pop("tool_calls", None) or (), told)
    while blocks and blocks[-1]["type"] == "tool_call":  # the usual place; elsewhere they stay among the content
        calls.insert(0, blocks.pop())
    conversation.add(
        message.role.value,
        blocks,
        name=name,
        tool_calls=calls,
        answers=answers,
        extra={**_fields(given), "tool_calls": others},
    )


def _tool_calls(given: Iterable[Any], told: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The calls of ``additional_kwargs``: those that no block tells of, and those that contradict a block."""
    calls, others = [], []
    for one in given:
        data = one.model_dump() if isinstance(one, BaseModel) else one
        if not isinstance(data, Mapping):
            raise Uncacheable(f"a tool call of type {type(one).__name__}")
        call, named = _call(data.get("function") or data), data.get("id") or data.get("tool_id")
        if str(named) not in told:
            calls.append({"id": named, **call})
        elif call != told[str(named)]:
            others.append({"id": named, **call})
    return calls, others


def _call(data: Mapping[str, Any]) -> dict[str, Any]:
    args = data.get("arguments", data.get("tool_kwargs", data.get("args", data.get("input"))))
    if isinstance(args, str):
        with contextlib.suppress(ValueError):  # not JSON: the text itself is what was called with
            args = json.loads(args)
    return {"name": data.get("name") or data.get("tool_name"), "args": args}


def _part(block: Any, conversation: Conversation) -> dict[str, Any] | None:
    kind = type(block)
    if kind is TextBlock:
        return {"type": "text", "text": block.text}
    if kind is CachePoint:
        conversation.leave_out("blocks.cache")
        return None
    if kind is ToolCallBlock:
        return {"type": "tool_call", **block.model_dump(exclude={"block_type"})}
    if kind is ThinkingBlock:
        return {"type": "thinking", "content": block.content, "told": _fields(block.additional_information)}
    if kind is CitableBlock:
        return _citing(block, block.content, conversation)
    if kind is CitationBlock:
        return _citing(block, [block.cited_content], conversation)
    for medium, (name, content) in _MEDIA.items():
        if kind is medium:
            return _medium(name, block, content)
    raise Uncacheable(f"a content block of type {kind.__name__}")


_MEDIA: dict[type, tuple[str, str]] = {
    ImageBlock: ("image", "image"),
    AudioBlock: ("audio", "audio"),
    VideoBlock: ("video", "video"),
    DocumentBlock: ("document", "data"),
}


def _citing(block: Any, content: Sequence[Any], conversation: Conversation) -> dict[str, Any]:
    parts = [part for one in content if (part := _part(one, conversation)) is not None]
    told = block.model_dump(exclude={"block_type", "content", "cited_content"})
    return {"type": block.block_type, **told, "content": parts}


def _medium(name: str, block: Any, content: str) -> dict[str, Any]:
    """An image, sound, video or document by its bytes, or by its URL if it has only that."""
    form: dict[str, Any] = {"type": name}
    for field in type(block).model_fields:
        value = getattr(block, field)
        if value is None or field in ("block_type", content, "path", "url"):
            continue
        form["mime" if field.endswith("mimetype") else field] = plain(value)
    mime = form.pop("mime", None)
    if mime:
        form["mime_type"] = mime
    data = getattr(block, content)
    if data is not None:
        form["data"] = _content_bytes(data)
    elif block.path is not None:
        form["data"] = Path(block.path).read_bytes()
    elif block.url is not None:
        form["url"] = str(block.url)
    return form


def _content_bytes(data: Any) -> bytes:
    """The bytes of a medium; LlamaIndex holds them in base64."""
    if not isinstance(data, bytes):
        position = data.tell()
        data.seek(0)
        content: bytes = data.read()
        data.seek(position)
        return content
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        return data
