"""What the semantic cache takes for the question of each request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from askonce.semantic.semantic_cache import SemanticCache
from askonce.semantic.types import Question

Seen = list[Question | None]


def watched(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The questions that are seen from now on."""
    seen: Seen = []
    look = SemanticCache._question

    def looks(self: SemanticCache, *args: Any) -> Question | None:
        seen.append(look(self, *args))
        return seen[-1]

    monkeypatch.setattr(SemanticCache, "_question", looks)
    return seen


def texts(seen: Seen) -> list[str | None]:
    return [None if one is None else one.text for one in seen]


def partitions(seen: Seen) -> set[bytes]:
    return {one.partition for one in seen if one is not None}


def ones(text: str) -> Any:
    """An embedding that tells nothing apart."""
    return np.ones(4)
