"""A small stream of questions, so that the rule can be tested without data: intents, phrasings, embeddings."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from askonce.semantic.decision.decision import Decision
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.types import Comparison, IndexedQuery, Neighbour

INTENTS = [
    ("how do I reset my password", "I forgot my password", "my password does not work any more, what can I do"),
    ("where is my parcel", "my parcel has not arrived", "track the parcel that I ordered"),
    ("how can I close my account", "I want to delete my account", "please remove my account for good"),
    ("what does a transfer abroad cost", "fees of a transfer to another country", "is a transfer abroad free"),
    ("my card was stolen", "somebody took my card", "I lost my card, block it"),
    ("how do I change my address", "I moved and have a new address", "update the address in my profile"),
    ("can I get an invoice", "where do I find my invoice", "send me the invoice of my last order"),
    ("which currencies do you exchange", "can I exchange dollars", "do you support exchange of francs"),
    ("why was my payment declined", "my payment did not go through", "a shop declined my payment"),
    ("how old must I be to open an account", "age limit for an account", "can my child have an account"),
    ("when are you open", "what are your opening hours", "are you open on Sunday"),
    ("how do I return a thing that I bought", "I want to send my order back", "return an order that is broken"),
]
BEGINNINGS = ["", "hello, ", "please tell me: ", "a question: ", "good morning, ", "quickly: "]
ENDS = ["", "?", " thanks", " as soon as you can", " please", " today"]


@lru_cache(maxsize=10_000)
def embed(text: str) -> NDArray[np.float64]:
    """A unit vector from a text's groups of three letters: like phrasings are near."""
    vector = np.zeros(128)
    padded = f"  {text.lower()}  "
    for start in range(len(padded) - 2):
        seed = zlib.crc32(padded[start : start + 3].encode())
        vector += np.random.default_rng(seed % 4096).normal(size=128)
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def questions(seed: int) -> list[tuple[str, int]]:
    """Every phrasing of every intent in a random order, with its intent."""
    all_ = [
        (beginning + phrasing + end, intent)
        for intent, phrasings in enumerate(INTENTS)
        for phrasing in phrasings
        for beginning in BEGINNINGS
        for end in ENDS
    ]
    random.Random(seed).shuffle(all_)
    return all_


def key(number: int) -> bytes:
    return number.to_bytes(16, "big") + bytes(16)


@dataclass
class Player:
    """Gives a rule one question after the other, like a cache.

    Attributes:
        rule: what decides.
        judge: called with labels as answers and the probability that they are the same; by default always right.
        hits: how many questions were served.
        wrong: how many of them wrongly.
        decisions: all of them, in their order.
    """

    rule: DecisionRule
    seed: int = 0
    judge: Callable[[Comparison, float], bool | None] = lambda comparison, _: (
        comparison.fresh_answer == comparison.cached_answer
    )
    hits: int = 0
    wrong: int = 0
    decisions: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._coins = random.Random(self.seed)
        self._indexed: list[IndexedQuery] = []
        self._vectors = np.empty((5000, 128))
        self._labels: dict[bytes, int] = {}
        self._aliases: dict[bytes, int] = {}

    def neighbours(self, text: str) -> list[Neighbour]:
        similarities = self._vectors[: len(self._indexed)] @ embed(text)
        best = np.argsort(-similarities, kind="stable")[:10]
        return [
            Neighbour(self._indexed[place], float(similarities[place]), self._aliases[self._indexed[place].answer])
            for place in best
        ]

    def put(self, text: str, label: int) -> Decision:
        decision = self.rule.decide(text, self.neighbours(text), self._coins.random())
        self.decisions.append(decision)
        answer = decision.answer
        right = answer is not None and self._labels[answer] == label
        if decision.action == "serve":
            self.hits += 1
            self.wrong += not right
            return decision
        same = False
        if decision.query is not None and answer is not None:
            comparison = Comparison(text, decision.query.text, str(label), str(self._labels[answer]))
            same = bool(self.judge(comparison, decision.p_right))
            self.rule.learn(decision, same)
        self.store(text, label, answer if same else None)
        return decision

    def store(self, text: str, label: int, answer: bytes | None = None) -> IndexedQuery:
        number = len(self._indexed)
        query = IndexedQuery(key(number), answer or key(number), "", bytes(16), text)
        self._labels.setdefault(query.answer, label)
        self._aliases[query.answer] = self._aliases.get(query.answer, 0) + 1
        self._vectors[number] = embed(text)
        self._indexed.append(query)
        return query
