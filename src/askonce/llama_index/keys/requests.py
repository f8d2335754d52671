"""LlamaIndex's requests in normal form: model, conversation or prompt, and the call's arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.prompts import (
    BasePromptTemplate,
    ChatPromptTemplate,
    PromptTemplate,
    RichPromptTemplate,
    SelectorPromptTemplate,
)
from llama_index.core.schema import BaseComponent

from askonce.keys.normal_form import NormalForm, Uncacheable, model_form, plain, request_form, text
from askonce.keys.server_state import refuse_server_state
from askonce.llama_index.keys.messages import conversation_of
from askonce.llama_index.keys.model import component_form, fields_of, guarded, known_of, own_arguments

_KNOWN_PROMPTS = frozenset({PromptTemplate, ChatPromptTemplate, RichPromptTemplate})


@guarded
def chat_form(
    llm: BaseComponent,
    messages: Sequence[ChatMessage],
    options: Mapping[str, Any],
    *,
    asynchronous: bool = False,
) -> NormalForm:
    """The normal form of a chat.

    Args:
        llm: the model.
        messages: the conversation.
        options: further arguments of the call.
        asynchronous: the call is.

    Raises:
        Uncacheable: it has none.
    """
    conversation = conversation_of(messages, llm)
    left_out = conversation.left_out
    model, call = _model_and_call(llm, options, left_out, asynchronous)
    return request_form("chat", model, left_out, messages=conversation.messages, call=call)


@guarded
def completion_form(
    llm: BaseComponent,
    prompt: str,
    formatted: bool,
    options: Mapping[str, Any],
    *,
    asynchronous: bool = False,
) -> NormalForm:
    """The normal form of a completion; `Uncacheable` as in `chat_form`."""
    if not isinstance(prompt, str):
        raise Uncacheable(f"a prompt of type {type(prompt).__name__}")
    left_out: list[str] = []
    model, call = _model_and_call(llm, options, left_out, asynchronous)
    counts = bool(formatted) and "formatted" not in known_of(llm).unsent
    return request_form("completion", model, left_out, prompt=text(prompt), formatted=counts, call=call)


@guarded
def structured_form(
    llm: BaseComponent,
    output_cls: type,
    prompt: BasePromptTemplate,
    prompt_args: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    by: str,
    asynchronous: bool = False,
) -> NormalForm:
    """The normal form of a structured prediction that goes past the LLM's chat; `Uncacheable` as in `chat_form`.

    Args:
        llm: the model.
        output_cls: the class of what is wanted, which counts by its schema.
        prompt: the prompt.
        prompt_args: what it is formatted with.
        options: further arguments of the provider's call; they stand beside the model's, which are not sent by all.
        by: the method.
        asynchronous: the call is.
    """
    if _may_call_functions(prompt):
        raise Uncacheable("its prompt may call functions, which give something else when it is sent")
    conversation = conversation_of(prompt.format_messages(**prompt_args), llm)
    left_out = conversation.left_out
    model = component_form(llm, left_out, asynchronous=asynchronous)
    refuse_server_state(options)
    return request_form(
        "structured",
        model,
        left_out,
        messages=conversation.messages,
        call=model_form(fields_of(options), left_out, "call"),
        output=plain(output_cls),
        by=by,
    )


def _may_call_functions(prompt: BasePromptTemplate) -> bool:
    if isinstance(prompt, SelectorPromptTemplate):
        return any(
            map(_may_call_functions, (prompt.default_template, *(one for _, one in prompt.conditionals or ())))
        )
    return type(prompt) not in _KNOWN_PROMPTS or bool(prompt.function_mappings)


@guarded
def model_part(llm: BaseComponent, options: Mapping[str, Any], *, asynchronous: bool = False) -> dict[str, Any]:
    """The model's part of `chat_form` and `completion_form`; `Uncacheable` as there."""
    return _model_and_call(llm, options, [], asynchronous)[0]


def _model_and_call(
    llm: BaseComponent, options: Mapping[str, Any], left_out: list[str], asynchronous: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's form and the call's; what the call says in place of the model stands in the model's alone."""
    model = component_form(llm, left_out, asynchronous=asynchronous)
    if not options:
        return model, {}
    refuse_server_state(options)
    own = own_arguments(llm, options, asynchronous=asynchronous)
    rest = {name: value for name, value in options.items() if name not in own}
    call = model_form(fields_of(rest), left_out, "call")
    if own:
        call["own_fields"] = own
    for name in known_of(llm).overridden & options.keys():
        model = {**model, name: call.pop(name, None)}  # None is sent as it is
    return model, call
