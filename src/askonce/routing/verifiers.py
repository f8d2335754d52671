"""Verifiers: whether an answer will do. A schema, a function, a chat model, or the answer's own confidence."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from askonce.errors import ConfigError
from askonce.keys.normal_form import Uncacheable, plain
from askonce.routing.types import ModelResponse, Opinion, RoutingRequest

logger = logging.getLogger("askonce")


class Schema(Protocol):
    """What a pydantic model's class can do."""

    def model_validate(self, value: Any) -> Any: ...
    def model_json_schema(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Confidence:
    """Accept an answer of which a score is high enough.

    Attributes:
        at_least: the score from which on it is accepted, from 0 to 1.
        score: takes the framework's answer and gives a number from 0 to 1; by default the geometric mean of the
            probabilities of its tokens, for which the model must be called with ``logprobs=True``.
    """

    at_least: float
    score: Callable[[Any], float] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.at_least <= 1:
            raise ConfigError(f"Confidence takes a score from 0 to 1, got {self.at_least!r}")

    def of(self, response: ModelResponse) -> float | None:
        """The score of an answer; ``None`` if it has none."""
        if self.score is not None:
            return float(self.score(response.response))
        if not response.logprobs:
            logger.warning("askonce: a model gives no logprobs, so that its answers are not accepted")
            return None
        return math.exp(sum(response.logprobs) / len(response.logprobs))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says.

    Attributes:
        accepted: the answer will do.
        score: how sure that is, from 0 to 1, if it says so.
    """

    accepted: bool
    score: float | None = None


def is_schema(value: Any) -> bool:
    """Whether it is a pydantic model's class."""
    return isinstance(value, type) and hasattr(value, "model_validate") and hasattr(value, "model_json_schema")


def check_verifier(value: Any) -> None:
    """See that a verifier is one.

    Raises:
        ConfigError: it is none.
    """
    if value is None or isinstance(value, (str, int, float, list, tuple, dict)):
        raise ConfigError(
            f"a verifier is a pydantic class, a function of the answer, a chat model or a Confidence; got {value!r}"
        )


@dataclass(frozen=True, slots=True)
class Verify:
    """A verifier as a step that can be called and awaited, whatever it was given as."""

    verifier: Any

    def __call__(self, request: RoutingRequest, response: ModelResponse) -> Any:
        if isinstance(self.verifier, Confidence):
            score = self.verifier.of(response)
            return Verdict(score is not None and score >= self.verifier.at_least, score)
        if is_schema(self.verifier):
            return Verdict(_validates(self.verifier, response))
        if hasattr(self.verifier, "acall"):
            return self.verifier(request.question, response.text)
        return self.verifier(response.response)

    async def acall(self, request: RoutingRequest, response: ModelResponse) -> Any:
        """Asynchronous call."""
        if hasattr(self.verifier, "acall"):
            return await self.verifier.acall(request.question, response.text)
        result = self(request, response)
        return await result if hasattr(result, "__await__") else result


def verdict_of(result: Any) -> Verdict:
    """What a verifier returned, as a verdict."""
    if isinstance(result, Opinion):
        return Verdict(bool(result.accepted))
    return result if isinstance(result, Verdict) else Verdict(bool(result))


def _validates(schema: Schema, response: ModelResponse) -> bool:
    """Whether the arguments of a tool call, or the text as JSON, are as the schema says."""
    candidates: list[Mapping[str, Any] | str] = [*response.arguments, response.text]
    for candidate in candidates:
        try:
            schema.model_validate(json.loads(_unfenced(candidate)) if isinstance(candidate, str) else candidate)
        except ValueError:  # pydantic's and json's errors are both
            continue
        return True
    return False


def _unfenced(text: str) -> str:
    """JSON out of the Markdown fence in which models like to put it."""
    inner = text.strip()
    if inner.startswith("```") and inner.endswith("```"):
        inner = inner[3:-3].partition("\n")[2]
    return inner


def verifier_form(value: Any) -> Any:
    """A verifier in normal form, since it has a say in which answer is given.

    Raises:
        Uncacheable: it is a function that cannot be found under its name.
    """
    if value is None:
        return None
    if isinstance(value, Confidence):
        return {"confidence": value.at_least, "score": None if value.score is None else _name(value.score)}
    if is_schema(value):
        return {"schema": plain(value)}
    form = getattr(value, "form", None)
    return form() if callable(form) else _name(value)


def _name(function: Any) -> str:
    module, path = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is not function or not path:
        raise Uncacheable(f"the verifier {path or function!r} is no function at the top of a module")
    return f"{module}.{path}"
