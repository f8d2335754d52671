"""The work on each fresh answer in the background: judge, learn, and store equal answers once."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from dataclasses import dataclass, replace

import msgspec

from askonce.entries.entry import Entry, SemanticEntry, digest_of
from askonce.estimators.float16 import Vector
from askonce.semantic.decision.decision import Decision
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.entries import QuestionEntries
from askonce.semantic.failures import kind_and_place
from askonce.semantic.index.query_index import QueryIndex
from askonce.semantic.learning.judges import Judge, Verdicts, confirmed
from askonce.semantic.types import Comparison, IndexedQuery, Question
from askonce.stores.circuit_breaker import StoreDown

logger = logging.getLogger("askonce")

_MOST_WAITING = 10_000
"""More fresh answers than this do not wait for the judge; those beyond, except audits, are not judged."""
_MOST_CONTENTS = 100_000


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """A fresh answer.

    Attributes:
        namespace: where it is stored.
        key: under which key.
        question: the question and its partition.
        vector: its embedding.
        decision: of the rule; ``None`` if it was not called.
        entry: the answer as it is stored, with its semantic entry; ``None`` if it was not stored.
        answer_text: its text.
    """

    namespace: str
    key: bytes
    question: Question
    vector: Vector
    decision: Decision | None
    entry: Entry | None
    answer_text: str


class Learning:
    """Takes examples one after the other, audits first. `step` is called by one thread at a time.

    A judge may take long: questions are indexed before any that came earlier is judged.

    Args:
        rule: learns from the judge's verdicts.
        questions: gets the questions.
        judge: decides whether two answers are the same.
        second: another judge, for verdicts that surprise.
        entries: of the questions.

    Attributes:
        dropped: fresh answers that were not judged, since they came too fast.
        aliases: questions found to have the answer of another one.
        saved_bytes: bytes that were not stored twice.
        verdicts: of the judge.
    """

    def __init__(
        self,
        rule: DecisionRule,
        questions: QueryIndex,
        judge: Judge,
        second: Judge | None,
        entries: QuestionEntries,
    ) -> None:
        self._rule, self._questions, self._entries = rule, questions, entries
        self._judge, self._second = judge, second
        self._fresh: deque[TrainingExample] = deque()
        self._waiting: deque[TrainingExample] = deque()
        self._contents: dict[tuple[bytes, bytes], IndexedQuery] = {}  # by partition and digest: who has that answer
        self.dropped = self.aliases = self.saved_bytes = 0
        self.verdicts = Verdicts()
        self._comparison_began: float | None = None

    @property
    def waiting(self) -> int:
        """Fresh answers that wait for the judge, with the one that it is at."""
        return len(self._fresh) + len(self._waiting) + (self._comparison_began is not None)

    @property
    def comparison_seconds(self) -> float:
        """For how long the judge has been at the comparison that it is at."""
        since = self._comparison_began
        return 0.0 if since is None else time.monotonic() - since

    def add(self, example: TrainingExample) -> None:
        """Add an example; does not wait."""
        self._fresh.append(example)

    def step(self) -> None:
        """Learn from all examples."""
        while self._fresh or self._waiting:
            try:
                while self._fresh:
                    self._begin(self._fresh.popleft())
                if self._waiting:
                    self._learn(self._waiting.popleft())
            except StoreDown:
                pass
            except BaseException as error:  # also what ends a thread: those behind this one are to be learned from
                logger.warning("askonce: a question could not be learned from: %s", kind_and_place(error))

    def _begin(self, example: TrainingExample) -> None:
        if example.decision is not None and example.decision.action == "audit":
            self._waiting.appendleft(example)  # until it is judged, it counts as a wrong answer
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting.append(example)
        else:
            self.dropped += 1
        if example.entry is not None:
            self._rule.renew(example.key)
            self._add(example, example.key)

    def _learn(self, example: TrainingExample) -> None:
        same = self._same_answer(example)
        if example.entry is None:
            return
        content = example.question.partition, digest_of(example.answer_text)
        same = same or self._contents.get(content)
        if same is not None and same.answer != example.key:
            self._rule.join(example.key, same)
            if self._make_alias(example, same.answer):
                return
        self._contents[content] = self._query(example, example.key)
        if len(self._contents) > _MOST_CONTENTS:
            del self._contents[next(iter(self._contents))]

    def _same_answer(self, example: TrainingExample) -> IndexedQuery | None:
        """The question whose answer the judge finds the same, of the two candidates."""
        decision = example.decision
        if decision is None or decision.query is None:
            return None
        verdict = self._compare(example, decision.query, decision.p_right)
        if verdict is not None and decision.action != "serve":  # it was to be served, and the store failed
            self._rule.learn(decision, verdict)
        if verdict:
            return decision.query
        if decision.second is not None and self._compare(example, decision.second, 0.0):
            return decision.second
        return None

    def _compare(self, example: TrainingExample, query: IndexedQuery, expected: float) -> bool | None:
        """The judge's verdict on an indexed question's answer."""
        entry = self._entries.get(query.namespace, query.answer)
        if entry is None or entry.semantic is None or entry.semantic.answer:
            self._questions.discard(query)
            self._questions.forget(query.namespace, query.answer)
            return None
        answer_text = entry.semantic.answer_text
        comparison = Comparison(example.question.text, query.text, example.answer_text, answer_text)
        failures: list[None] = []
        self._comparison_began = time.monotonic()
        try:
            verdict = confirmed(self._judge, self._second, comparison, expected, lambda: failures.append(None))
        finally:
            self._comparison_began = None
        self.verdicts.add(verdict, failed=bool(failures))
        return verdict

    def _make_alias(self, example: TrainingExample, answer: bytes) -> bool:
        """Have the example's entry point to the one with the same answer, if that has the very text."""
        entry = example.entry
        assert entry is not None and entry.semantic is not None
        target = self._entries.get(example.namespace, answer)
        if target is None or target.semantic is None or target.semantic.answer:
            return False
        # Only of the very text: a judge may err, and an equal request gets its own answer.
        digest = digest_of(example.answer_text)
        if digest_of(target.semantic.answer_text) != digest:
            return False
        ends = math.inf if entry.fresh_until is None else entry.fresh_until
        if target.fresh_until is not None and target.fresh_until < ends:
            return False
        semantic: SemanticEntry = msgspec.structs.replace(
            entry.semantic, answer_text="", answer=answer, digest=digest
        )
        alias: Entry = msgspec.structs.replace(entry, payload=b"", semantic=semantic)
        now = self._entries.get(example.namespace, example.key)
        if now is None or now.created_at != entry.created_at:
            return False  # it was deleted or replaced
        self.saved_bytes += self._entries.replace(example.namespace, example.key, alias)
        self.aliases += 1
        self._add(replace(example, entry=alias), answer)
        return True

    def _add(self, example: TrainingExample, answer: bytes) -> None:
        self._questions.add(self._query(example, answer), example.vector)

    @staticmethod
    def _query(example: TrainingExample, answer: bytes) -> IndexedQuery:
        assert example.entry is not None
        question, until = example.question, example.entry.fresh_until
        return IndexedQuery(example.key, answer, example.namespace, question.partition, question.text, until)
