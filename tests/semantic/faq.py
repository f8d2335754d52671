"""A help desk: questions on a few topics in many words, and a model that answers by topic."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from askonce import Cache
from askonce.entries.entry import Answer, Hit, Usage
from askonce.keys.normal_form import NormalForm

TOPICS = tuple("password invoice delivery refund address voucher warranty newsletter account payment".split())
NEW = tuple(f"could you show me the way to my {topic}, please?" for topic in TOPICS)
_OPENINGS = tuple("how do I|how can I|help me|tell me how to|what do I do to|I want to|where can I".split("|"))
_VERBS = ("see", "change", "get", "find", "sort out", "look after", "deal with")
_ENDINGS = ("", " today", " on my phone", " from abroad", " as a new customer", " quickly", " without calling you")


def questions(seed: int) -> Iterator[str]:
    """Questions without end; few of them twice."""
    chance = random.Random(seed)
    while True:
        topic = chance.choice(TOPICS)
        yield f"{chance.choice(_OPENINGS)} {chance.choice(_VERBS)} my {topic}{chance.choice(_ENDINGS)}?"


def topic_of(question: str) -> str:
    """What it is about."""
    return next((topic for topic in TOPICS if topic in question), "something else")


def embed(text: str) -> np.ndarray:
    """Questions of one topic lie close together, no two at the same place."""

    def direction(name: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        return np.random.default_rng(seed).standard_normal(64)

    return direction(topic_of(text)) + 0.35 * direction(text)


def form_of(question: str, system: str = "You answer customers.") -> NormalForm:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return NormalForm({"version": 1, "kind": "chat", "model": {"model": "small"}, "messages": messages})


class Desk:
    """Sends questions to a cache, sync or async, and counts model calls and wrong answers."""

    def __init__(self, cache: Cache, system: str = "You answer customers.") -> None:
        self.cache, self.system = cache, system
        self.calls = self.wrong = 0

    def _request(self, question: str) -> Any:
        return self.cache.engine.request("answer", lambda: form_of(question, self.system), semantic=True)

    def _model(self, question: str) -> str:
        self.calls += 1
        return f"About your {topic_of(question)}: {'see the page about it. ' * 10}"

    def _seen(self, question: str, found: str | Hit) -> str | Hit:
        answer_text = found.entry.payload.decode() if isinstance(found, Hit) else found
        self.wrong += topic_of(question) not in answer_text
        return found

    def answer(self, question: str) -> str | Hit:
        request = self._request(question)
        found = self.cache.engine.answer(request, lambda: self._model(question), pack)
        return self._seen(question, found)

    async def aanswer(self, question: str) -> str | Hit:
        async def model() -> str:
            return self._model(question)

        request = self._request(question)
        return self._seen(question, await self.cache.engine.aanswer(request, model, pack))

    def work(self, count: int, seed: int = 1, *, asynchronous: bool = False) -> list[str | Hit]:
        """Answer so many questions, each after the one before was learned from."""
        found = []
        for question, _ in zip(questions(seed), range(count), strict=False):
            found.append(asyncio.run(self.aanswer(question)) if asynchronous else self.answer(question))
            assert self.cache.flush()
        return found


def semantic_hit(desk: Desk) -> Hit | None:
    """A semantic hit, if one of some new questions, one of each topic, is served: nearly never all are audits."""
    found = [desk.answer(question) for question in NEW]
    return next(iter(semantic_hits(found)), None)


def pack(answer_text: str) -> Answer:
    return Answer(answer_text.encode(), Usage(20, 50), answer_text=answer_text)


def semantic_hits(found: list[str | Hit]) -> list[Hit]:
    return [one for one in found if isinstance(one, Hit) and one.kind == "semantic"]
