"""What the template of a prompt tells of it: where in the prompt the user's question stands, and the context.

An adapter that sees a prompt made from a template notes it in the running context for the call of the model; what
the application names itself (`askonce.control`) counts before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

QUESTIONS = ("question", "query", "query_str", "input", "user_input", "user_question", "user_query", "user_message")
CONTEXTS = ("context", "context_str", "context_msg")


@dataclass(frozen=True, slots=True)
class Asked:
    """Parts of a prompt.

    Attributes:
        question: what the user asks.
        context: what was retrieved for it.
    """

    question: str | None = None
    context: str | None = None


def asked_in(variables: Mapping[str, Any]) -> Asked | None:
    """What a template's variables tell, by their usual names: `QUESTIONS`, the first of them, and `CONTEXTS`."""
    question, context = _first(variables, QUESTIONS), _first(variables, CONTEXTS)
    return None if question is None else Asked(question, context)


def _first(variables: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    values = (variables.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), None)


_asked: ContextVar[Asked | None] = ContextVar("askonce_asked", default=None)


def note_asked(asked: Asked | None) -> None:
    """Note what the prompt of the next call of a model in the running context is made of; ``None``: not known."""
    if _asked.get() is not asked:
        _asked.set(asked)


def current_asked() -> Asked | None:
    """What is known of the prompt of the call of a model in the running context."""
    return _asked.get()
