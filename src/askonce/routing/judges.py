"""A chat model as a verifier or a judge."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from askonce.routing.types import ModelResponse, Opinion

_COMPARE = (
    "Two answers to the same request. Would the first one serve whoever asked as well as the second: nothing in it "
    "wrong that is right in the second, and nothing missing that matters? Reply with one word, yes or no.\n\n"
    "<request>\n{question}\n</request>\n\n<first>\n{answer}\n</first>\n\n<second>\n{reference}\n</second>"
)
_CHECK = (
    "Is this a correct and complete answer to the request? Reply with one word, yes or no.\n\n"
    "<request>\n{question}\n</request>\n\n<answer>\n{answer}\n</answer>"
)
_REPLY = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class Judged:
    """Has a chat model compare answers.

    Args:
        say: sends a prompt, and returns the reply as the models of a multiplexer give theirs.
        asay: the same, asynchronously.
        name: of the model.
        form: the model in normal form.
    """

    def __init__(
        self,
        say: Callable[[str], ModelResponse],
        asay: Callable[[str], Awaitable[ModelResponse]],
        form: Any,
        name: str,
    ) -> None:
        self._say, self._asay, self._form, self._name = say, asay, form, name

    def form(self) -> Any:
        """The normal form of the model."""
        return self._form() if callable(self._form) else self._form

    def __call__(self, question: str, answer: str, reference: str | None = None) -> Opinion:
        """Whether an answer does, beside the reference if there is one."""
        return self._opinion(self._say(_prompt(question, answer, reference)))

    async def acall(self, question: str, answer: str, reference: str | None = None) -> Opinion:
        """Asynchronous call."""
        return self._opinion(await self._asay(_prompt(question, answer, reference)))

    def _opinion(self, reply: ModelResponse) -> Opinion:
        return Opinion(_read(reply.text), self._name, reply.cost_usd, reply.seconds)


def _prompt(question: str, answer: str, reference: str | None) -> str:
    if reference is None:
        return _CHECK.format(question=question, answer=answer)
    return _COMPARE.format(question=question, answer=answer, reference=reference)


def _read(reply: str) -> bool | None:
    """The last yes or no: models that think aloud end with it."""
    verdicts = _REPLY.findall(reply)
    return verdicts[-1].lower() == "yes" if verdicts else None
