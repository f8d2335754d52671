"""`SemanticCache`: finds answers to questions of the same meaning."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from askonce.concurrency.background import BackgroundWorker
from askonce.concurrency.drivers import SyncDriver
from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Match, Place, SemanticEntry
from askonce.errors import ConfigError, StoreUnavailable
from askonce.estimators.float16 import Vector, to_bytes
from askonce.keys.normal_form import NormalForm
from askonce.options import current_options
from askonce.provenance.prompt_parts import current_prompt_parts
from askonce.semantic.config import Semantic
from askonce.semantic.decision.decision import Decision
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.embedding import Embedder
from askonce.semantic.entries import QuestionEntries, ReplaceableEntries, UsableEntries
from askonce.semantic.failures import kind_and_place
from askonce.semantic.index import file as index_file
from askonce.semantic.index.index import Index
from askonce.semantic.index.query_index import LocalQueryIndex, QueryIndex, ServerQueryIndex
from askonce.semantic.index.server import ServerIndex
from askonce.semantic.index.shared import SharedQuestions
from askonce.semantic.learning.judges import ChatJudge, EmbeddingJudge, Verdicts
from askonce.semantic.learning.learning import Learning, TrainingExample
from askonce.semantic.query import question_of
from askonce.semantic.reasons import Reasons
from askonce.semantic.types import Neighbour, Question
from askonce.stats import SemanticStats
from askonce.stores.base import Clock
from askonce.stores.circuit_breaker import CircuitBreaker
from askonce.stores.fork import reset_after_fork

logger = logging.getLogger("askonce")

_coin = random.SystemRandom().random
"""Unpredictable, and not seeded by the application: which would-be hits are audited cannot be foreseen."""
_SHARE_EVERY_SECONDS = 1.0
_LOADING_SECONDS, _LOOK_EVERY_SECONDS = 1.0, 0.005
_CLOSING_SECONDS = 5.0
_MOST_MATCHES = 10_000
"""How many semantic hits of this process can receive feedback."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A lookup of a question.

    Attributes:
        question: the question and its partition.
        vector: its embedding.
        decision: of the rule; ``None`` if another question's answer was not allowed.
    """

    question: Question
    vector: Vector
    decision: Decision | None


_FAILS = {
    "skip failed": "what was given as `skip=` raises",
    "embedding failed": "the embeddings raise",
    "search failed": "questions cannot be searched for",
}


class SemanticCache:
    """The semantic part of one cache.

    Args:
        settings: of the application.
        breaker: the store's.
        codec: seals what is shared with other processes.
        namespace: the cache's own.
        clock: seconds since the epoch.
        lookup: finds which entries can be used.
        storage: replaces entries.

    Raises:
        ConfigError: an argument is wrong.
        MissingExtraError: numpy or usearch is not installed.
    """

    def __init__(
        self,
        settings: Semantic,
        breaker: CircuitBreaker,
        codec: Codec,
        namespace: str,
        clock: Clock,
        lookup: UsableEntries,
        storage: ReplaceableEntries,
    ) -> None:
        self._settings, self._breaker, self._clock = settings, breaker, clock
        self._embedder = Embedder(settings.embeddings, settings.model)
        self._log = f"{namespace}:semantic:{self._embedder.identity}"
        self._codec, self._file = codec, _index_file(breaker.store.url, self._log)
        self._entries = QuestionEntries(breaker, lookup, storage, self._embedder.identity)
        by_embeddings = EmbeddingJudge(self._embedder)
        self._judge = settings.judge or by_embeddings
        self._second = by_embeddings if isinstance(self._judge, ChatJudge) else None
        self._ignore = re.compile(settings.ignore) if settings.ignore else None
        self._warned: set[str] = set()
        self._server: ServerIndex | None = None
        if settings.search == "server":
            self._server = ServerIndex(breaker, self._embedder.identity, self._entries)
            with contextlib.suppress(StoreUnavailable):  # it may be up when it is needed
                self._server.check()
        self._start()
        reset_after_fork(self)

    def after_fork(self) -> None:
        self._start()  # what the locks guarded, and what is not published, stayed in the parent

    def _start(self) -> None:
        self._rule = DecisionRule(self._settings.max_error, self._settings.confidence)
        index = Index() if self._server is None else None
        self._shared = SharedQuestions(
            self._breaker, self._codec, self._log, self._file, index, self._rule, self._entries
        )
        self._questions: QueryIndex
        if index is not None:
            self._questions = LocalQueryIndex(index, self._shared, self._clock)
        elif self._server is not None:
            self._questions = ServerQueryIndex(self._server)
        self._learning = Learning(self._rule, self._questions, self._judge, self._second, self._entries)
        self._sharer = BackgroundWorker("askonce-sharing", self._shared.step, _SHARE_EVERY_SECONDS)
        self._learner = BackgroundWorker("askonce-learning", self._learning.step)
        self._matches: OrderedDict[bytes, Decision] = OrderedDict()
        self._reasons = Reasons()

    # -- a request ---------------------------------------------------------------------------------------------

    async def lookup(
        self,
        driver: SyncDriver,
        place: Place,
        form: Callable[[], NormalForm],
        *,
        scope: bytes | None,
        decide: bool,
    ) -> Attempt | None:
        """Look for a question of the same meaning; ``None`` for requests that are not compared.

        Args:
            driver: of the caller.
            place: where the answer will be stored.
            form: makes the request's normal form.
            scope: identifies the retrievers of the documents that the answer is made from, if all are known.
            decide: another question's answer may be served.
        """
        failing = "search failed"
        try:
            namespace = place.namespace
            failing = "skip failed" if self._settings.skip is not None else failing
            question = self._question(namespace, form, scope)
            if isinstance(question, str):
                self._reasons.add(place.key, question)
                return None
            failing = "embedding failed"
            vector = await driver.embed(self._embedder, question.text)
            if not decide:
                return Attempt(question, vector, None)
            failing = "search failed"
            await self._begun(driver, namespace)
            neighbours = await self._questions.nearest(driver, namespace, question, vector)
        except Exception as error:
            self._warn_once(error, failing)
            self._reasons.add(place.key, failing)
            return None
        decision = self._rule.decide(question.text, neighbours, _coin())
        new = self._reasons.is_new(question, form().body)
        if decision.action != "serve":
            lonely = new and decision.reason == "no candidate"
            self._reasons.add(place.key, "new partition" if lonely else decision.reason)
        return Attempt(question, vector, decision)

    async def explain(
        self, driver: SyncDriver, namespace: str, form: Callable[[], NormalForm], scope: bytes | None
    ) -> Decision | None:
        """What would be decided about a question, with arguments as for `lookup`; nothing is counted or learned."""
        try:
            found = await self._nearest(driver, namespace, form, scope)
        except Exception as error:
            self._warn_once(error, "search failed")
            return None
        return None if found is None else self._rule.preview(found[0].text, found[2])

    async def past(
        self, driver: SyncDriver, namespace: str, form: Callable[[], NormalForm], *, compare: bool
    ) -> Attempt | None:
        """A lookup of a question that was answered before; nothing is served or counted.

        Args:
            driver: of the caller.
            namespace: of the request.
            form: makes the request's normal form.
            compare: its answer is to be compared with those of its nearest questions.

        Raises:
            Exception: what the embeddings raise.
        """
        found = await self._nearest(driver, namespace, form, None)
        if found is None:
            return None
        question, vector, neighbours = found
        return Attempt(question, vector, self._rule.past(question.text, neighbours) if compare else None)

    async def _nearest(
        self, driver: SyncDriver, namespace: str, form: Callable[[], NormalForm], scope: bytes | None
    ) -> tuple[Question, Vector, list[Neighbour]] | None:
        question = self._question(namespace, form, scope)
        if isinstance(question, str):
            return None
        vector = await driver.embed(self._embedder, question.text)
        await self._begun(driver, namespace)
        return question, vector, await self._questions.nearest(driver, namespace, question, vector)

    def why(self, key: bytes) -> str | None:
        """Why the latest request of this key was not answered with another question's answer."""
        return self._reasons.of(key)

    def _question(self, namespace: str, form: Callable[[], NormalForm], scope: bytes | None) -> Question | str:
        options = current_options()
        if not options.semantic:
            return "switched off"
        question = question_of(
            form().body,
            namespace,
            question=options.question,
            context=options.context,
            prompt_parts=current_prompt_parts(),
            scope=scope,
            ignore=self._ignore,
        )
        if (
            isinstance(question, Question)
            and self._settings.skip is not None
            and self._settings.skip(question.text)
        ):
            return "skipped"
        return question

    async def _begun(self, driver: SyncDriver, namespace: str) -> None:
        """Wait a little for what was learned before, when a process begins."""
        over, waited = self._shared.loading(namespace).over, 0.0
        if not over.is_set():
            self._sharer.wake()
        while not over.is_set() and waited < _LOADING_SECONDS:
            await driver.pause(_LOOK_EVERY_SECONDS)
            waited += _LOOK_EVERY_SECONDS

    def _warn_once(self, error: Exception, failing: str) -> None:
        kind = f"{failing} {type(error).__name__}"
        level = logging.DEBUG if kind in self._warned else logging.WARNING
        self._warned.add(kind)
        logger.log(
            level, "askonce: no semantic lookup for a question: %s: %s", _FAILS[failing], kind_and_place(error)
        )

    def match(self, attempt: Attempt) -> Match:
        """The match that a semantic hit shows; from now on `feedback` accepts it."""
        decision = attempt.decision
        assert decision is not None and decision.query is not None
        name = os.urandom(8)
        self._matches[name] = decision
        if len(self._matches) > _MOST_MATCHES:
            self._matches.popitem(last=False)
        return Match(decision.query.text, decision.similarity, decision.p_right, name)

    def discard(self, attempt: Attempt) -> None:
        """Forget the question of an answer that was to be served, and has changed."""
        assert attempt.decision is not None and attempt.decision.query is not None
        self._questions.discard(attempt.decision.query)

    # -- a fresh answer ----------------------------------------------------------------------------------------

    def semantic_entry(self, attempt: Attempt, answer_text: str) -> SemanticEntry:
        """The semantic part of the entry of a fresh answer."""
        question = attempt.question
        return SemanticEntry(
            question.text, question.partition, to_bytes(attempt.vector), self._embedder.identity, answer_text
        )

    def learn(self, namespace: str, key: bytes, attempt: Attempt, answer_text: str, entry: Entry | None) -> None:
        """Learn from a fresh answer, in the background; ``entry`` is ``None`` if it was not stored."""
        self._learning.add(
            TrainingExample(namespace, key, attempt.question, attempt.vector, attempt.decision, entry, answer_text)
        )
        self._learner.wake()
        self._sharer.begin()

    # -- what becomes of entries -------------------------------------------------------------------------------

    def feedback(self, match: bytes, *, wrong: bool) -> str | None:
        """Learn whether a semantic hit was wrong.

        Returns:
            the namespace of the answer; ``None`` if the hit was not served by this process.
        """
        decision = self._matches.pop(match, None)
        if decision is None or decision.query is None:
            return None
        self._rule.feedback(decision, not wrong)
        return decision.query.namespace

    def forget(self, namespace: str, key: bytes) -> None:
        """Forget the questions that a deleted entry answered."""
        self._questions.forget(namespace, key)

    def clear(self, namespace: str) -> None:
        """All entries of a namespace were deleted."""
        self._questions.clear(namespace)

    # -- life --------------------------------------------------------------------------------------------------

    async def stats(self, driver: SyncDriver, namespace: str) -> SemanticStats:
        """What was served and learned by all processes, up to about a second ago."""
        await self._begun(driver, namespace)
        learning = self._learning
        reasons, partitions, advice = self._reasons.report(learning.verdicts, learning.comparison_seconds)
        judge_calls, judge_usd = self.spent()
        return msgspec.structs.replace(
            self._rule.stats(),
            questions=self._questions.count(),
            aliases=learning.aliases,
            saved_bytes=learning.saved_bytes,
            not_judged=learning.dropped,
            waiting=learning.waiting,
            undecided=learning.verdicts.undecided,
            judge_failures=learning.verdicts.failed,
            judge_calls=judge_calls,
            reasons=reasons,
            partitions=partitions,
            advice=advice,
            judge_usd=judge_usd,
        )

    @property
    def verdicts(self) -> Verdicts:
        """What the judge said in this process."""
        return self._learning.verdicts

    def spent(self) -> tuple[int, float]:
        """How often the judge called a model, and what that cost in dollars."""
        return getattr(self._judge, "calls", 0), getattr(self._judge, "cost_usd", 0.0)

    def finish_learning(self, seconds: float) -> bool:
        """Wait until all fresh answers are learned from; returns whether they are."""
        return self._learner.flush(seconds)

    def flush(self, seconds: float) -> bool:
        """Wait until all fresh answers are learned from and published; returns whether they are."""
        learned = self._learner.flush(seconds)
        self._sharer.wake()
        return self._sharer.flush(seconds) and learned

    def close(self) -> None:
        """Learn from what is left, and publish it."""
        learned = self._learner.flush(_CLOSING_SECONDS)
        self._learner.close(_CLOSING_SECONDS if learned else 0.0)
        self._sharer.close(_CLOSING_SECONDS)
        if not self._shared.close():
            logger.warning(
                "askonce: what was learned of questions since the last second is lost: the store is down"
            )


def _index_file(url: str, log: str) -> Path | None:
    if url == "memory://":
        return None  # it ends with the process
    name = hashlib.blake2b(f"{url} {log}".encode(), digest_size=16).hexdigest()
    try:
        return index_file.folder() / f"{name}.index"
    except ConfigError:  # no home directory: the index is made anew from the store at each start
        return None
