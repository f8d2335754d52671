"""What the template of a prompt tells of it: where in the prompt the user's question stands, and the context.

An adapter that sees a prompt made from a template notes it in the running context for the call of the model; what
the application names itself (`askonce.options`) counts before it. Neither can do harm where it does not apply: what
is noted counts only as far as it stands in the prompt, and all of the prompt around it must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from askonce.provenance.retrieval_context import current_texts

QUESTIONS = ("question", "query", "query_str", "input", "user_input", "user_question", "user_query", "user_message")
"""Names that variables of a template have whose text is the user's question."""
CONTEXTS = ("context", "context_str", "context_msg")
"""Names of those whose text was retrieved for it."""


@dataclass(frozen=True, slots=True)
class PromptParts:
    """Parts of a prompt.

    Attributes:
        question: what the user asks.
        context: what was retrieved for it.
    """

    question: str = field(repr=False)
    context: str | None = field(default=None, repr=False)


def prompt_parts_in(variables: Mapping[str, Any]) -> PromptParts | None:
    """What the variables of a template tell, by their usual names; ``None`` if none is a question.

    A context counts if it is nothing but the texts of documents that cached retrievers found in the running
    context: what else stands in it (a customer's data, a source's title) is to be equal.
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
    """Whether there is no word or number in the context but those in the texts."""
    rest = context
    for text in sorted(filter(str.strip, map(str.strip, texts)), key=len, reverse=True):
        rest = rest.replace(text, "\n")
    return not any(map(str.isalnum, rest))


_asked: ContextVar[PromptParts | None] = ContextVar("askonce_asked", default=None)


def record_prompt_parts(asked: PromptParts | None) -> None:
    """Note what the prompt of the next call of a model in the running context is made of; ``None``: not known."""
    if _asked.get() is not asked:
        _asked.set(asked)


def current_prompt_parts() -> PromptParts | None:
    """What is known of the prompt of the call of a model in the running context."""
    return _asked.get()
