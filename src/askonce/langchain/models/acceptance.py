"""Which of LangChain's answers are good enough to be stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from askonce.entries.end_reasons import is_proper
from askonce.entries.requested import Requested, requested_by

_ENDS = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "completionReason", "status")
_ALWAYS_WITH_END_REASON = frozenset(
    "openai anthropic deepseek xai groq mistralai fireworks ollama google_genai bedrock_converse openrouter".split()
)
"""By ``model_provider``: an answer of these without an end reason was cut off on its way."""
_CLASSES_WITH_END_REASON = frozenset(
    """
    langchain_openai.ChatOpenAI langchain_anthropic.ChatAnthropic langchain_ollama.ChatOllama
    langchain_mistralai.ChatMistralAI langchain_groq.ChatGroq langchain_fireworks.ChatFireworks
    langchain_google_genai.ChatGoogleGenerativeAI langchain_aws.ChatBedrockConverse langchain_deepseek.ChatDeepSeek
    langchain_xai.ChatXAI langchain_cohere.ChatCohere langchain_openrouter.ChatOpenRouter
    langchain_litellm.ChatLiteLLM
    """.split()
)
"""The same by package and class: what was cut off has no ``model_provider`` of some."""
_SAYS_NOTHING = frozenset(
    "reasoning reasoning_content thinking redacted_thinking thought signature refusal".split()
)
_SAYS_SOMETHING = (
    "function_call", "tool_calls", "audio", "image", "images", "video", "videos", "tool_outputs", "parsed", "data",
)  # fmt: skip
_THOUGHT = re.compile(r"\s*<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL)
_FROM_MODEL = (
    "model_kwargs",
    "response_format",
    "format",
    "response_schema",
    "response_mime_type",
    "output_config",
)


def requested_of(model: Any, kwargs: Mapping[str, Any]) -> Requested:
    """The form of answer that a call of a model requires."""
    fields = {name: value for name in _FROM_MODEL if (value := getattr(model, name, None)) is not None}
    extra = fields.pop("model_kwargs", None)
    return requested_by(extra if isinstance(extra, Mapping) else {}, fields, kwargs)


def requested_in(constructor: Mapping[str, Any], call: Mapping[str, Any]) -> Requested:
    """The form of answer that the arguments of a constructor and of a call require."""
    extra = constructor.get("model_kwargs")
    return requested_by(extra if isinstance(extra, Mapping) else {}, constructor, call)


def metadata_of(generation: Generation) -> Iterator[Mapping[str, Any]]:
    """What the provider reported of an answer."""
    if generation.generation_info:
        yield generation.generation_info
    if isinstance(generation, ChatGeneration):
        yield generation.message.response_metadata


def gives_end_reason(model: Any, *, streamed: bool) -> bool:
    """Whether whole answers of a model come with an end reason: its package's own code makes them.

    Args:
        model: it, cached or not.
        streamed: the answer comes as a stream.
    """
    cls = getattr(type(model), "_askonce_base", type(model))
    names = (f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in cls.__mro__)
    made_by = getattr(cls, "_stream" if streamed else "_generate", None)
    is_own = getattr(made_by, "__module__", "").startswith("langchain_")
    return is_own and not _CLASSES_WITH_END_REASON.isdisjoint(names)


def breaks_off(
    generations: Sequence[Generation], metadata: Sequence[Mapping[str, Any]], with_end_reason: bool = False
) -> str:
    """Why an answer is not whole, as far as its provider says; empty if it is.

    Args:
        generations: the answer.
        metadata: what the provider reported of it.
        with_end_reason: a whole answer of its model comes with one.
    """
    for reported in metadata:
        for name in _ENDS:
            ended = reported.get(name)
            is_no_reason = ended is None or (name == "status" and not isinstance(ended, str))
            if not is_no_reason and ended != "" and not is_proper(ended):
                return f"it ended with {name} {ended!r}"
        if reported.get("incomplete_details"):
            return "it is incomplete"
        feedback = reported.get("prompt_feedback") or reported.get("promptFeedback")
        if isinstance(feedback, Mapping) and (
            blocked := feedback.get("block_reason") or feedback.get("blockReason")
        ):
            return f"the prompt was blocked: {blocked}"
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            message = generation.message
            if _refuses(message):
                return "the model refused"
            endings = [*metadata_of(generation), *metadata]
            provider = message.response_metadata.get("model_provider")
            is_reported = with_end_reason or provider in _ALWAYS_WITH_END_REASON
            if is_reported and not any(one.get(name) for one in endings for name in _ENDS):
                return "it ended without an end reason"
    return ""


def _refuses(message: Any) -> bool:
    if message.additional_kwargs.get("refusal"):
        return True
    return isinstance(message.content, list) and any(
        isinstance(block, dict)
        and "refusal" in (block.get("type"), (block.get("value") or {}).get("type") if "value" in block else None)
        for block in message.content
    )


def is_empty(generation: Generation) -> bool:
    """Whether an answer says nothing: no text, no call of a tool, no medium; thoughts alone are nothing."""
    if not isinstance(generation, ChatGeneration):
        return not _visible(generation.text)
    message = generation.message
    assert isinstance(message, AIMessage)
    if message.tool_calls or message.invalid_tool_calls:
        return False
    if any(message.additional_kwargs.get(name) for name in _SAYS_SOMETHING):
        return False
    content = message.content
    return not (_visible(content) if isinstance(content, str) else any(map(_block_is_visible, content)))


def _visible(text: str) -> str:
    return (_THOUGHT.sub("", text) if text.lstrip().startswith("<") else text).strip()


def _block_is_visible(block: Any) -> bool:
    if isinstance(block, str):
        return bool(_visible(block))
    kind, value = block.get("type"), block.get("value")
    if kind == "non_standard" and isinstance(value, dict):
        kind = value.get("type")
    if kind == "text" or (kind is None and "text" in block):
        return bool(_visible(block.get("text") or ""))
    return kind not in _SAYS_NOTHING


def misfit_of(generations: Sequence[Generation], requested: Requested) -> str:
    """In what an answer differs from what the request requires; empty if nothing is known."""
    for generation in generations:
        if not isinstance(generation, ChatGeneration) or not isinstance(generation.message, AIMessage):
            found = requested.misfit_of_text(generation.text)
            if found:
                return found
            continue
        message = generation.message
        if message.invalid_tool_calls:
            return "the arguments of a tool call cannot be read"
        for call in message.tool_calls:
            found = requested.misfit_of_call(call["name"], call["args"])
            if found:
                return found
        if not message.tool_calls and (found := requested.misfit_of_text(_visible(str(message.text)))):
            return found
    return ""
