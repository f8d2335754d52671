"""Policies of a semantic cache, played on a stream: ours, static thresholds, and vCache's."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.types import Comparison, IndexedQuery, Neighbour
from benchmarks.streams import Searched, Stream

EARLY = 500
"""Requests that are not looked at for the largest error on the way."""
MARKS = (500, 1000, 2000, 4000, 8000)
"""After how many requests the hits until then are listed."""


@dataclass
class Outcome:
    """One order of a stream under one policy; shares are of all requests.

    Attributes:
        hit: share answered with a known answer.
        error: share answered wrongly.
        worst: largest share answered wrongly at any request after the first `EARLY`.
        audits: share audited.
        certified: what the rule was sure of at the end.
        decide_us: CPU of a decision, mean.
        learn_us: CPU of learning per request, mean.
        early: after so many requests the shares answered and answered wrongly until then, and how often the rule
            gave each reason.
    """

    hit: float
    error: float
    worst: float = 0.0
    audits: float = 0.0
    certified: float = 0.0
    decide_us: float = 0.0
    learn_us: float = 0.0
    early: dict[int, tuple[float, float, Counter[str]]] = field(default_factory=dict)


def ours(
    stream: Stream,
    rule: DecisionRule,
    seed: int,
    *,
    depth: int = 2,
    past: int = 0,
    on_keep: Callable[[IndexedQuery, int], object] | None = None,
    judge: Callable[[Comparison, float], bool | None] | None = None,
) -> Outcome:
    """Our rule, by default with a judge that is right.

    Args:
        stream: the requests.
        rule: a fresh one.
        seed: of the coins.
        depth: 2 if a fresh answer is compared with the second best as well.
        past: so many questions at first are only learned from, and not counted.
        judge: called with the labels as answers, and the probability that they are the same.
        on_keep: is called with each question that is stored, and its place in the pool.
    """
    searched, coins = Searched(stream.pool, len(stream.order)), random.Random(seed)
    known: list[IndexedQuery] = []
    labels: dict[bytes, int] = {}
    aliases: dict[bytes, int] = {}
    hits = wrong = 0
    worst = decide_s = learn_s = 0.0
    reasons: Counter[str] = Counter()
    early = {}
    clock = time.process_time
    for count, (question, right_label) in enumerate(
        zip(stream.order.tolist(), stream.labels.tolist(), strict=True), start=1 - past
    ):
        neighbours = [
            Neighbour(known[place], similarity, aliases[known[place].answer])
            for place, similarity in searched.nearest(question)
        ]
        started = clock()
        if count > 0:
            decision = rule.decide(stream.pool.texts[question], neighbours, coins.random())
            reasons[decision.reason] += 1
        else:
            decision = rule.past(stream.pool.texts[question], neighbours)
        decided = clock()
        answer = None
        if decision.action == "serve":
            hits += 1
            wrong += labels[decision.query.answer] != right_label  # type: ignore[union-attr]
        elif decision.query is not None:
            text = stream.pool.texts[question]

            def same(query: IndexedQuery, expected: float, text: str = text, label: int = right_label) -> bool:
                if judge is None:
                    return labels[query.answer] == label
                return bool(judge(Comparison(text, query.text, str(label), str(labels[query.answer])), expected))

            if right := same(decision.query, decision.p_right):
                answer = decision.query.answer
            rule.learn(decision, right)
            if not right and depth > 1 and decision.second is not None and same(decision.second, 0.0):
                answer = decision.second.answer
        decide_s += decided - started
        learn_s += clock() - decided
        if decision.action != "serve":
            key = (count + past).to_bytes(16, "big") + bytes(16)
            answer = answer or key
            labels.setdefault(answer, right_label)
            aliases[answer] = aliases.get(answer, 0) + 1
            known.append(IndexedQuery(key, answer, "", b"", stream.pool.texts[question]))
            searched.add(question)
            if on_keep is not None:
                on_keep(known[-1], question)
        if count > EARLY:
            worst = max(worst, wrong / count)
        if count in MARKS:
            early[count] = hits / count, wrong / count, reasons.copy()
    total, counted = len(stream.order) - past, rule.stats()
    return Outcome(
        hits / total,
        wrong / total,
        worst,
        counted.audits / total,
        counted.certified_error,
        decide_s / total * 1e6,
        learn_s / total * 1e6,
        early,
    )


def static(stream: Stream, threshold: float) -> Outcome:
    """The nearest question's answer whenever it is similar enough."""
    searched = Searched(stream.pool, len(stream.order))
    labels: list[int] = []
    hits = wrong = 0
    worst = 0.0
    for count, (question, label) in enumerate(
        zip(stream.order.tolist(), stream.labels.tolist(), strict=True), start=1
    ):
        found = searched.nearest(question, 1)
        if found and found[0][1] >= threshold:
            hits += 1
            wrong += labels[found[0][0]] != label
        else:
            searched.add(question)
            labels.append(label)
        if count > EARLY:
            worst = max(worst, wrong / count)
    return Outcome(hits / len(stream.order), wrong / len(stream.order), worst)


_EPSILON = np.linspace(1e-6, 1 - 1e-6, 50)
_QUANTILES = np.array([NormalDist().inv_cdf(1 - epsilon) for epsilon in _EPSILON])


class _Entry:
    """What vCache has of one stored question: observations (similarity, right?) of requests nearest to it."""

    def __init__(self, label: int) -> None:
        self.label = label
        self.similarities, self.rights = [0.0, 1.0], [0.0, 1.0]
        self._fitted: tuple[float, float, float] | None = None

    def observe(self, similarity: float, right: bool) -> None:
        self.similarities.append(similarity)
        self.rights.append(float(right))
        self._fitted = None

    def explore(self, similarity: float, bound: float) -> float:
        """vCache's probability of calling the model: tau of arXiv 2502.03771."""
        if len(self.rights) < 6:
            return 1.0
        if self._fitted is None:
            self._fitted = self._fit()
        threshold, steepness, deviation = self._fitted
        upper = np.clip(threshold + _QUANTILES * deviation, 0.0, 1.0)
        likely = 1 / (1 + np.exp(-np.clip(steepness * (similarity - upper), -500, 500)))
        return float(np.min(1 - bound / (1 - (1 - _EPSILON) * likely)))

    def _fit(self) -> tuple[float, float, float]:
        """Threshold, steepness, and the standard deviation of the threshold: maximum likelihood, delta method.

        Where the observations are separated the likelihood has no maximum; the authors' program stops on the
        gradient and reads the variance from a table, which is about 0.2 / n and flattens at 0.01.
        """
        similarities, rights = np.array(self.similarities), np.array(self.rights)
        rows = np.column_stack([np.ones(len(rights)), similarities])
        beta = np.zeros(2)
        for _ in range(60):
            chance = 1 / (1 + np.exp(-np.clip(rows @ beta, -35, 35)))
            gradient = rows.T @ (rights - chance)
            hessian = (rows * (chance * (1 - chance))[:, None]).T @ rows
            if np.abs(gradient).max() / len(rights) < 1e-8:
                break
            step = np.linalg.solve(hessian + np.eye(2) * 1e-10, gradient)
            beta += step * min(1.0, 20 / np.abs(step).max())
        steepness = max(float(beta[1]), 1e-6)
        threshold = min(1.0, max(0.0, -float(beta[0]) / steepness))
        if similarities[rights == 1].min() > similarities[rights == 0].max():
            return threshold, steepness, math.sqrt(max(0.2 / len(rights), 0.01))
        slope = np.array([-1 / steepness, beta[0] / steepness**2])
        return threshold, steepness, math.sqrt(max(0.0, float(slope @ np.linalg.pinv(hessian) @ slope)))


def vcache(stream: Stream, bound: float, seed: int) -> Outcome:
    """vCache (Schroeder et al., arXiv 2502.03771): a threshold for each entry, learned by exploring."""
    searched, coins = Searched(stream.pool, len(stream.order)), random.Random(seed)
    entries: list[_Entry] = []
    hits = wrong = 0
    worst = spent = 0.0
    for count, (question, label) in enumerate(
        zip(stream.order.tolist(), stream.labels.tolist(), strict=True), start=1
    ):
        found = searched.nearest(question, 1)
        new = True
        if found:
            entry, similarity = entries[found[0][0]], found[0][1]
            started = time.process_time()
            explore = entry.explore(similarity, bound)
            spent += time.process_time() - started
            if coins.random() > explore:
                hits += 1
                wrong += entry.label != label
                new = False
            else:
                entry.observe(similarity, entry.label == label)
                new = entry.label != label
        if new:
            searched.add(question)
            entries.append(_Entry(label))
        if count > EARLY:
            worst = max(worst, wrong / count)
    total = len(stream.order)
    return Outcome(hits / total, wrong / total, worst, decide_us=spent / total * 1e6)
