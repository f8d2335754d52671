"""Semantic caching: answers to questions of the same meaning, with a bound on the share of wrong ones.

    AskOnceCache(semantic=Semantic(embeddings, max_error=0.01))

``config`` holds the settings. ``semantic_cache`` extracts a request's question (``query``), embeds it
(``embedding``), searches the ``index`` and applies the rule (``decision``). For each fresh answer ``learning``
calls a judge and trains the rule; ``index.shared`` publishes the result to other processes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from askonce.semantic.config import Semantic
    from askonce.semantic.learning.judges import ChatJudge, EmbeddingJudge, Judge
    from askonce.semantic.types import Comparison, LearnReport

__all__ = ["ChatJudge", "Comparison", "EmbeddingJudge", "Judge", "LearnReport", "Semantic"]

_WHERE = {
    "ChatJudge": "learning.judges",
    "Comparison": "types",
    "Judge": "learning.judges",
    "LearnReport": "types",
    "EmbeddingJudge": "learning.judges",
    "Semantic": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:  # on first use: importing numpy takes time
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
