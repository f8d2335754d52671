"""What the semantic cache takes for the question of each request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from askonce.semantic import Comparison, Judge
from askonce.semantic.semantic_cache import SemanticCache
from askonce.semantic.types import Question

Seen = list[Question | str]
"""Questions, or why there is none."""


def watched(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The questions that are seen from now on."""
    seen: Seen = []
    look = SemanticCache._question

    def looks(self: SemanticCache, *args: Any) -> Question | str:
        seen.append(look(self, *args))
        return seen[-1]

    monkeypatch.setattr(SemanticCache, "_question", looks)
    return seen


def texts(seen: Seen) -> list[str | None]:
    return [one.text if isinstance(one, Question) else None for one in seen]


def partitions(seen: Seen) -> set[bytes]:
    return {one.partition for one in seen if isinstance(one, Question)}


def ones(text: str) -> Any:
    """An embedding that is the same for all texts."""
    return np.ones(4)


def pairs(text: str) -> list[list[str]]:
    """The two answers of each line."""
    return [line.split(" | ") for line in text.strip().splitlines()]


def verdicts(judge: Judge, one: str, other: str) -> list[bool | None]:
    """What a judge says of two answers, either of them first."""
    return [judge(Comparison("?", "?", *both)) for both in ((one, other), (other, one))]
