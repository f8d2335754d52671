"""Why questions are not answered from the cache: counted, and logged once where nothing can ever be served."""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

import cachebox

from askonce.semantic.types import Question

logger = logging.getLogger("askonce")

_MOST = 10_000
_WATCHED = 20
"""So many requests in a row, nearly all of them with a partition of their own, are one too many."""
_NEW = 0.9

_ADVICE = {
    "learning": "the first 200 answers are compared before anything is served",
    "no candidate": "few questions of one partition are known so far; see `partitions`",
    "new partition": "the rest of the prompt differs each time: declare what may differ as `Semantic(ignore=…)`",
    "doubtful": "the judge calls most candidates different, or the questions are not alike: try `ChatJudge`",
    "guard": "questions differ in a number, a denial, an opposite or a role: nothing to do",
    "budget": "a larger `max_error` serves more",
    "no question found": "pass the question of a filled-in template with `cache_options(question=…)`",
    "follow-up": "follow-ups need their conversation: nothing to do",
}


class Reasons:
    """Counts of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._partitions: OrderedDict[bytes, None] = OrderedDict()
        self._latest: list[bool] = []
        self._last: Mapping[str, Any] | None = None
        self._logged = False
        self._of: cachebox.LRUCache[bytes, str] = cachebox.LRUCache(_MOST)

    def add(self, key: bytes, reason: str) -> None:
        """A request was not served, or it was compared in vain."""
        self._of[key] = reason
        with self._lock:
            self._counts[reason] += 1

    def of(self, key: bytes) -> str | None:
        """Why the latest request of this key was not served."""
        return self._of.get(key)

    def is_new(self, question: Question, body: Mapping[str, Any]) -> bool:
        """Whether the rest of this request was not seen before; logged once if that is so nearly each time."""
        with self._lock:
            new = question.partition not in self._partitions
            self._partitions[question.partition] = None
            if len(self._partitions) > _MOST:
                self._partitions.popitem(last=False)
            self._latest = [*self._latest[1 - _WATCHED :], new]
            last, self._last = self._last, body
            log = not self._logged and len(self._latest) == _WATCHED and sum(self._latest) >= _NEW * _WATCHED
            self._logged = self._logged or log
        if log and last is not None:
            logger.warning(
                "askonce: hardly any two requests can be compared, since the rest of their prompts differs: in %s. "
                "Declare what may differ as Semantic(ignore=…), or use a prompt template",
                _first_difference(last, body),
            )
        return new

    def report(self) -> tuple[dict[str, int], int, str | None]:
        """The counts, the number of partitions, and what to do about the most frequent reason."""
        with self._lock:
            counts, partitions = dict(self._counts), len(self._partitions)
        worst = max(counts, key=counts.__getitem__, default=None)
        return counts, partitions, None if worst is None else _ADVICE.get(worst)


def _first_difference(one: Any, other: Any, place: str = "") -> str:
    """Where two bodies differ first, without their text."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in one.keys() | other.keys():
            if one.get(name) != other.get(name):
                found = _first_difference(one.get(name), other.get(name), f"{place}.{name}" if place else str(name))
                if found:
                    return found
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            if first != second and not (place == "messages" and number == len(one) - 1):
                return _first_difference(first, second, f"{place}[{number}]")
        return "" if place == "messages" else place
    elif isinstance(one, str) and isinstance(other, str):
        at = next(
            (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
        return f"{place}, from character {at}"
    return place
