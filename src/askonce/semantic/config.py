"""Settings of semantic hits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from askonce.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from askonce.semantic.learning.judges import Judge


@dataclass(frozen=True, eq=False)
class Semantic:
    """Serve answers to questions of the same meaning, wrong in at most a stated share of requests.

        Cache(semantic=Semantic(OpenAIEmbeddings(), max_error=0.01))

    The last user message is compared; everything else in a request must be equal. See the documentation for what
    the bound guarantees, and for what is never served to another question.

    Args:
        embeddings: a LangChain ``Embeddings``, a LlamaIndex ``BaseEmbedding``, or a function of a text.
        max_error: the share of requests that may be answered wrongly, greater than 0 and at most 0.5.
        judge: decides from a `Comparison` whether two answers are the same; ``None`` for `EmbeddingJudge` with
            these embeddings. It runs in the background.
        confidence: of the bound at every moment, at least 0.5 and less than 1.
        skip: a question for which it is true is neither served from nor to another one.
        model: the embedding model's name, where ``embeddings`` does not show it: vectors of different models are
            never compared.
        ignore: a regular expression: what it matches in the system prompt and in earlier messages, such as a date,
            need not be equal in two requests. Answers must not depend on it.
        search: ``process`` to search in this process, ``server`` to let Redis 8 search.

    Raises:
        ConfigError: an argument is wrong.
        MissingExtraError: numpy, py3langid or usearch is not installed.
    """

    embeddings: Any
    max_error: float = 0.01
    judge: Judge | None = None
    confidence: float = 0.9
    skip: Callable[[str], bool] | None = None
    model: str | None = None
    ignore: str | None = None
    search: Literal["process", "server"] = "process"

    def __post_init__(self) -> None:
        try:
            import numpy  # noqa: F401
            import usearch  # noqa: F401

            import askonce.semantic.language.identifier  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtraError("Semantic caching", "semantic") from None
        if isinstance(self.max_error, bool) or not isinstance(self.max_error, (int, float)):
            raise ConfigError(f"max_error is a share of requests such as 0.01, got {self.max_error!r}")
        if not 0 < self.max_error <= 0.5:
            raise ConfigError(f"max_error is greater than 0 and at most 0.5, got {self.max_error!r}")
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"confidence is at least 0.5 and less than 1, got {self.confidence!r}")
        for name, value in (("judge", self.judge), ("skip", self.skip)):
            if value is not None and not callable(value):
                raise ConfigError(f"{name} is a function, got {value!r}")
        try:
            re.compile(self.ignore or "")
        except (re.error, TypeError) as error:
            raise ConfigError(f"ignore is a regular expression, got {self.ignore!r}: {error}") from None
        if self.search not in ("process", "server"):
            raise ConfigError(f"search is 'process' or 'server', got {self.search!r}")
