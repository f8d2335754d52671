"""Why questions are not answered from the cache: counted, and logged once where nothing can ever be served."""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Any

import cachebox

from askonce.semantic.learning.judges import Verdicts
from askonce.semantic.query import messages_of
from askonce.semantic.types import Question

logger = logging.getLogger("askonce")

_MOST = 10_000
_WATCHED = 20
"""So many requests in a row, nearly all of them with a partition of their own, are one too many."""
_NEW = 0.9
_RECENT = 100
"""Advice is on the latest of these: what was in the way at first says nothing of now."""
_LEARNED = frozenset(("doubtful", "guard", "budget", "audit"))
"""Reasons that there are only after learning."""

_ADVICE = {
    "learning": "the first 200 answers are compared before anything is served",
    "no candidate": "few questions of one partition are known so far; see `partitions`",
    "doubtful": "the rule is not sure enough of the candidates yet: it learns from more answers",
    "guard": "questions differ in a number, a denial, an opposite or a role: nothing to do",
    "budget": "a larger `max_error` serves more",
    "no question found": "pass the question of a filled-in template with `cache_options(question=…)`, in the words "
    "that the last message has; it may be 2,000 characters long, and 1,000 if it is not passed",
    "follow-up": "follow-ups need their conversation: nothing to do",
    "skip failed": "`skip` raises an error: see the log",
    "embedding failed": "the embeddings raise an error, or return no usable vector: see the log",
    "search failed": "questions cannot be searched for: see the log",
}
_AROUND = (
    "Text around the question must be equal. If it was retrieved, get it through a cached retriever in the "
    "same run: answers are tied to its documents then. Where the template does not show which part is which, pass "
    "question and text with `cache_options(question=…, context=…)`"
)
_BEFORE = (
    "If no answer depends on what differs, declare it as `Semantic(ignore=…)`: what was answered "
    "with another date, say, is served then. Answers are tied to retrieved text by a cached retriever instead, and "
    "a prompt template that has it beside the question"
)
_PARAMETERS = "The same model and parameters are needed each time"
_OF_VERDICTS = ("learning", "no candidate", "doubtful", "budget", "audit")
"""What a judge without verdicts may be the reason of."""
_JUDGE_FAILS = "the judge fails, and nothing is served before it gives verdicts: see the log"
_JUDGE_OFTEN_FAILS = "the judge fails on most answers, of which nothing is learned: see the log"
_JUDGE_UNDECIDED = "the judge gives no verdict on most answers, of which nothing is learned"
_JUDGE_LATE = "the judge has not returned for {:.0f} seconds, and nothing is served before it gives verdicts"
_DIFFERENT = "the judge calls most candidates different: where they are the same, try `ChatJudge`"
_LATE_SECONDS = 60.0


class Reasons:
    """Counts of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._partitions: OrderedDict[bytes, None] = OrderedDict()
        self._latest: list[bool] = []
        self._last: tuple[Mapping[str, Any], str] | None = None
        self._different: tuple[tuple[Mapping[str, Any], str], tuple[Mapping[str, Any], str]] | None = None
        self._logged = False
        self._of: cachebox.LRUCache[bytes, str] = cachebox.LRUCache(_MOST)

    def add(self, key: bytes, reason: str) -> None:
        """A request was not served, or it was compared in vain."""
        self._of[key] = reason
        with self._lock:
            self._counts[reason] += 1
            self._recent.append(reason)

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
            last, self._last = self._last, (body, question.text)
            if new and last is not None:
                self._different = last, self._last
            different = self._different
            log = not self._logged and len(self._latest) == _WATCHED and sum(self._latest) >= _NEW * _WATCHED
            self._logged = self._logged or log
        if log and different is not None:
            logger.warning(
                "askonce: hardly any two requests can be compared, since the rest of their prompts differs, in %s. "
                "%s",
                *_difference(*different),
            )
        return new

    def report(self, verdicts: Verdicts, comparison_seconds: float) -> tuple[dict[str, int], int, str | None]:
        """The counts, the number of partitions, and what to do about the most frequent of the latest reasons.

        Args:
            verdicts: of the judge.
            comparison_seconds: for how long it has been at its present comparison.
        """
        with self._lock:
            counts, partitions, different = dict(self._counts), len(self._partitions), self._different
            recent = Counter(self._recent)
        if not _LEARNED.isdisjoint(recent):
            del recent["learning"]
        worst = max(recent, key=recent.__getitem__, default=None)
        if worst is None:
            return counts, partitions, None
        by_judge = _advice_on_judge(verdicts, comparison_seconds) if worst in _OF_VERDICTS else None
        if by_judge is None and worst == "doubtful" and verdicts.different > verdicts.same:
            by_judge = _DIFFERENT
        if worst == "new partition":
            place, advice = _difference(*different) if different else ("", _BEFORE)
            return (
                counts,
                partitions,
                f"the rest of the prompt differs each time, in {place}. {advice}" if place else advice,
            )
        return counts, partitions, by_judge or _ADVICE.get(worst)


def _advice_on_judge(verdicts: Verdicts, comparison_seconds: float) -> str | None:
    if comparison_seconds >= _LATE_SECONDS:
        return _JUDGE_LATE.format(comparison_seconds)
    if verdicts.undecided > verdicts.same + verdicts.different:
        if 2 * verdicts.failed <= verdicts.undecided:
            return _JUDGE_UNDECIDED
        return _JUDGE_OFTEN_FAILS if verdicts.same + verdicts.different else _JUDGE_FAILS
    return None


def _difference(one: tuple[Mapping[str, Any], str], other: tuple[Mapping[str, Any], str]) -> tuple[str, str]:
    """Where two requests differ first beside their questions, without their text, and what helps."""
    (body, question), (its_body, its_question) = one, other
    *mine, my_last = messages_of(body)
    *theirs, its_last = messages_of(its_body)
    if place := _first_difference(mine, theirs, "messages"):
        return place, _BEFORE
    around = _around(my_last.get("content"), question), _around(its_last.get("content"), its_question)
    if around[0] != around[1]:
        side = "before" if around[0][0] != around[1][0] else "after"
        return f"messages[{len(mine)}], {side} the question", _AROUND
    some, others = ({**one, "messages": None, "prompt": None} for one in (body, its_body))
    return _first_difference(some, others) or "its parameters", _PARAMETERS


def _around(content: Any, question: str) -> tuple[str, str]:
    """What stands before and after the question in the last message."""
    texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content or ()]
    before, _, after = "\n".join(texts).partition(question)
    return before.strip(), after.strip()


def _first_difference(one: Any, other: Any, place: str = "") -> str:
    """Where two values differ first, without their text; empty if they do not."""
    if one == other:
        return ""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted(one.keys() | other.keys()):
            if found := _first_difference(
                one.get(name), other.get(name), f"{place}.{name}" if place else str(name)
            ):
                return found
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            if found := _first_difference(first, second, f"{place}[{number}]"):
                return found
    elif isinstance(one, str) and isinstance(other, str):
        at = next(
            (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
        return f"{place}, from character {at}"
    return place
