"""The parts of a prompt that its template declares: the user's question, and the context.

An adapter records the parts of a prompt made from a template in the running context, for the call of the model. The
parts that the application declares itself (`askonce.options`) have precedence. Neither can do harm where it does
not apply: a part counts only if the prompt contains it, and all of the prompt around it must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from askonce.provenance.retrieval_context import current_texts

QUESTIONS = ("question", "query", "query_str", "input", "user_input", "user_question", "user_query", "user_message")
"""Names of template variables whose text is the user's question."""
CONTEXTS = ("context", "context_str", "context_msg")
"""Names of template variables whose text was retrieved for it."""


@dataclass(frozen=True, slots=True)
class PromptParts:
    """Parts of a prompt.

    Attributes:
        question: the user's question.
        context: the text that was retrieved for it.
    """

    question: str = field(repr=False)
    context: str | None = field(default=None, repr=False)


def prompt_parts_in(variables: Mapping[str, Any]) -> PromptParts | None:
    """The parts in the variables of a template, by their usual names; ``None`` if none is a question.

    A context counts if it is nothing but the texts of documents that cached retrievers found in the running
    context: a context with other text (a customer's data, a source's title) must be equal.
    """
    question = _first(variables, QUESTIONS)
    if question is None:
        return None
    context = _first(variables, CONTEXTS)
    return PromptParts(question, context if context and _consists_of(context, current_texts()) else None)


def _first(variables: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    values = (variables.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), None)


def _consists_of(context: str, texts: Iterable[str]) -> bool:
    """Whether all words and numbers in the context are in the texts."""
    rest = context
    for text in sorted(filter(str.strip, map(str.strip, texts)), key=len, reverse=True):
        rest = rest.replace(text, "\n")
    return not any(map(str.isalnum, rest))


_prompt_parts: ContextVar[PromptParts | None] = ContextVar("askonce_prompt_parts", default=None)


def record_prompt_parts(parts: PromptParts | None) -> None:
    """Record the parts of the next prompt in the running context; ``None``: not known."""
    if _prompt_parts.get() is not parts:
        _prompt_parts.set(parts)


def current_prompt_parts() -> PromptParts | None:
    """The recorded parts of the prompt in the running context."""
    return _prompt_parts.get()
