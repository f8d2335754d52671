"""LlamaIndex's requests in normal form: model, conversation or prompt, and the call's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import BaseComponent

from askonce.keys.normal_form import NormalForm, Uncacheable, model_form, request_form, text
from askonce.llama_index.keys.messages import conversation_of
from askonce.llama_index.keys.model import component_form, fields_of, guarded


@guarded
def chat_form(llm: BaseComponent, messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> NormalForm:
    """The normal form of a chat.

    Raises:
        Uncacheable: it has none.
    """
    conversation = conversation_of(messages)
    left_out = conversation.left_out
    model = component_form(llm, left_out)
    call = model_form(fields_of(options), left_out, "call") if options else {}
    return request_form("chat", model, left_out, messages=conversation.messages, call=call)


@guarded
def completion_form(llm: BaseComponent, prompt: str, formatted: bool, options: Mapping[str, Any]) -> NormalForm:
    """The normal form of a completion; `Uncacheable` as in `chat_form`."""
    if not isinstance(prompt, str):
        raise Uncacheable(f"a prompt of type {type(prompt).__name__}")
    left_out: list[str] = []
    model = component_form(llm, left_out)
    call = model_form(fields_of(options), left_out, "call") if options else {}
    return request_form("completion", model, left_out, prompt=text(prompt), formatted=bool(formatted), call=call)
