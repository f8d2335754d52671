"""Requests of many users at once, in one cache: whose sources does each answer have?

Every user has documents of their own and asks in many ways: in chains, in plain code, by tools, in batches, with a
retrieval in one request and the answer in the next; the requests of all share threads, tasks and processes. Each
prompt shows of which documents it is made, so that an answer's sources can be compared with it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import create_retriever_tool

from askonce import Cache, Corpus
from askonce.langchain import CachedRetriever, cached

USERS, DOCUMENTS = 20, 30
FORGETTING = 0.1
WORDS = [one + two for one in "ba ce di fo gu ka le".split() for two in "mon ras tel vin".split()]
_NAME = re.compile(r"\bu\d+d\d+\b")
SPAWN = multiprocessing.get_context("spawn")


def text_of(name: str) -> str:
    """The text of a document, in which its name stands; of one word, or of some hundred."""
    chance = random.Random(name)
    words = chance.choices(WORDS, k=chance.choice((2, 6, 40, 200)))
    words.insert(len(words) // 2, name)
    return " ".join(words)


class Documents(BaseRetriever):
    """Finds two documents of a user."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        user, number = query.split()
        numbers = (int(number), (int(number) * 7 + 1) % DOCUMENTS)
        return [Document(text_of(f"u{user}d{one}"), id=f"u{user}d{one}") for one in dict.fromkeys(numbers)]


class Model(SimpleChatModel):
    """Says which documents it was shown."""

    @property
    def _llm_type(self) -> str:
        return "names"

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        return "It says " + " and ".join(sorted(set(_NAME.findall(str(messages[-1].content)))))


@dataclass
class Outcome:
    """What was seen."""

    answers: int = 0
    hits: int = 0
    foreign: int = 0
    missing: int = 0
    outlived: int = 0
    examples: list[str] = field(default_factory=list)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


class Office:
    """All users in one process."""

    def __init__(self, url: str) -> None:
        self.cache = Cache(url, namespace="users", timeout_seconds=30)
        self.corpus = Corpus(self.cache, name="users")
        self.retriever = CachedRetriever(Documents(), corpus=self.corpus, name="users", nearest=True)
        self.model = cached(Model(), self.cache)
        found = self.retriever | RunnableLambda(join)
        self.chain = found | RunnableLambda(lambda text: f"From this: {text}\nWhat?") | self.model
        self.tool = create_retriever_tool(self.retriever, "find", "Finds.")
        self.waiting: list[str] = []  # prompts of requests whose answer comes in a later one
        self.outcome = Outcome()
        self.turn = threading.Lock()

    def ways(self) -> list[Callable[[str], Any]]:
        return [
            self.chain.invoke,
            lambda query: self.model.invoke(f"Plainly, {join(self.retriever.invoke(query))}?"),
            lambda query: self.model.invoke(f"By a tool:\n{self.tool.invoke({'query': query})}\n\nWhat?"),
            lambda query: self.chain.batch([query, f"{query.split()[0]} 0"]),
            self.hand_over,
            lambda query: self.retriever.invoke(query) and None,
            self.forget,
        ]

    def hand_over(self, query: str) -> Any:
        self.waiting.append(f"Later: {join(self.retriever.invoke(query))}.")
        return self.model.invoke(self.waiting.pop(0)) if len(self.waiting) > 3 else None

    def forget(self, query: str) -> None:
        """Invalidate a document: no answer that was made from it before is left after that."""
        user, number = query.split()
        if random.random() > FORGETTING:
            return
        name, before = f"u{user}d{number}", time.time()
        self.cache.invalidate(f"doc:{name}")
        old = [one.payload for one in self.cache.entries() if one.kind == "answer" and one.created_at < before]
        with self.turn:
            self.outcome.outlived += sum(name in _NAME.findall(one.decode(errors="replace")) for one in old)

    def judge(self, answer: AIMessage) -> None:
        mark = answer.response_metadata.get("askonce", {})
        shown, named = set(_NAME.findall(str(answer.content))), set(mark.get("sources", ()))
        with self.turn:
            self.outcome.answers += 1
            if mark:
                self.outcome.hits += 1
                self.outcome.foreign += bool(named - shown)
                self.outcome.missing += bool(shown - named)
                if named != shown and len(self.outcome.examples) < 3:
                    self.outcome.examples.append(f"{sorted(shown)} has {sorted(named)}")

    def ask(self, chance: random.Random) -> None:
        query = f"{chance.randrange(USERS)} {chance.randrange(DOCUMENTS)}"
        got = chance.choice(self.ways())(query)
        for one in got if isinstance(got, list) else [got]:
            if isinstance(one, AIMessage):
                self.judge(one)

    async def ask_in_a_task(self, chance: random.Random) -> None:
        query = f"{chance.randrange(USERS)} {chance.randrange(DOCUMENTS)}"
        if chance.random() < 0.5:
            self.judge(await self.chain.ainvoke(query))
        else:
            (found,) = await asyncio.gather(self.retriever.ainvoke(query))
            self.judge(await self.model.ainvoke(f"In a task: {join(found)}"))


def join(documents: list[Document]) -> str:
    return "\n\n".join(one.page_content for one in documents)


def work(url: str, seed: int, requests: int) -> Outcome:
    """Serve requests in threads that all users share, and then in tasks, as one of several processes."""
    office, chance = Office(url), random.Random(seed)

    async def in_tasks() -> None:
        for _ in range(requests // 40):
            await asyncio.gather(*(office.ask_in_a_task(random.Random(chance.random())) for _ in range(10)))

    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda seed: office.ask(random.Random(seed)), [chance.random() for _ in range(requests * 3 // 4)]
            )
        )
    asyncio.run(in_tasks())
    office.cache.close()
    return office.outcome


def run(url: str, *, processes: int, requests: int) -> Outcome:
    """Let several processes serve at once; ``requests`` is for all together."""
    with SPAWN.Pool(processes) as pool:
        outcomes = pool.starmap(
            work, [(url, seed, requests // processes) for seed in range(processes)], chunksize=1
        )
    return sum(outcomes, Outcome())
