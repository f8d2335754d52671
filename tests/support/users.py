"""Requests of many users at once, in one cache: whose sources does each answer have?

Every user has documents of their own and sends requests in many ways: in chains, in plain code, by tools, in
batches, with a retrieval in one request and the answer in the next; the requests of all share threads, tasks and
processes. Each prompt shows of which documents it is made, so that an answer's sources can be compared with it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import create_retriever_tool
from llama_index.core.base.base_retriever import BaseRetriever as NodeRetriever
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
from llama_index.core.llms import CustomLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index_instrumentation import get_dispatcher

import askonce.langchain
import askonce.llama_index
from askonce import Cache, Corpus

USERS, DOCUMENTS = 20, 30
FORGETTING = 0.1
WORDS = [one + two for one in "ba ce di fo gu ka le".split() for two in "mon ras tel vin".split()]
_NAME = re.compile(r"\bu\d+d\d+\b")
_STAMP = re.compile(r"said at (\d+)")
SPAWN = multiprocessing.get_context("spawn")


def text_of(name: str) -> str:
    """The text of a document, in which its name stands; of one word, or of some hundred."""
    chance = random.Random(name)
    words = chance.choices(WORDS, k=chance.choice((2, 6, 40, 200)))
    words.insert(len(words) // 2, name)
    return " ".join(words)


def query_of(chance: random.Random) -> str:
    """A user's request."""
    return f"{chance.randrange(USERS)} {chance.randrange(DOCUMENTS)}"


def names_of(query: str) -> list[str]:
    """The documents that a request is to find."""
    user, number = query.split()
    numbers = (int(number), (int(number) * 7 + 1) % DOCUMENTS)
    return [f"u{user}d{one}" for one in dict.fromkeys(numbers)]


def names_in(prompt: str) -> str:
    """The model's answer: which documents a prompt shows."""
    return "It says " + " and ".join(sorted(set(_NAME.findall(prompt))))


class Documents(BaseRetriever):
    """Finds two documents of a user."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(text_of(one), id=one) for one in names_of(query)]


class Model(SimpleChatModel):
    """Says which documents it was shown."""

    @property
    def _llm_type(self) -> str:
        return "names"

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        return statement(names_in(str(messages[-1].content)))


@dataclass
class Outcome:
    """What was seen."""

    answers: int = 0
    hits: int = 0
    foreign: int = 0
    missing: int = 0
    outlived: int = 0
    forgotten: list[tuple[str, float]] = field(default_factory=list)
    found_at: list[tuple[str, float]] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def statement(names: str) -> str:
    """An answer, distinct from all others."""
    return f"{names}, said at {time.time_ns()}"


class Office:
    """All users in one process, who share one cache."""

    def __init__(self, url: str) -> None:
        self.cache = Cache(url, namespace="users", timeout_seconds=30)
        self.corpus = Corpus(self.cache, name="users")
        self.requested: Counter[str] = Counter()
        self.waiting: list[tuple[str, float, int]] = []  # prompts of requests whose answer comes in a later one
        self.outcome = Outcome()
        self.turn = threading.Lock()
        self.here = threading.local()

    def ways(self) -> list[Callable[[str], Any]]:
        """How a thread may send a request."""
        raise NotImplementedError

    async def answer_in_a_task(self, query: str, chance: random.Random) -> None:
        raise NotImplementedError

    def find(self, query: str) -> str:
        """The texts of what is found."""
        raise NotImplementedError

    def call_the_model(self, prompt: str) -> Any:
        raise NotImplementedError

    def plainly(self, query: str) -> None:
        self.call_the_model(f"Plainly, {self.find(query)}?")

    def hand_over(self, query: str) -> None:
        prompt = f"Later: {self.find(query)}."
        self.waiting.append((prompt, time.time(), self.requests_for(prompt)))
        if len(self.waiting) > 3:
            prompt, found_at, requests = self.waiting.pop(0)
            if self.requests_for(prompt) == requests:  # or the text may have been found again
                self.here.found_at = found_at
            self.call_the_model(prompt)
            self.here.found_at = None

    def requests_for(self, prompt: str) -> int:
        """How many requests there were for the documents of a prompt."""
        return sum(self.requested[one] for one in set(_NAME.findall(prompt)))

    def serve(self, query: str, chance: random.Random) -> None:
        """Serve a request in any way."""
        self.requested.update({*names_of(query), *names_of(f"{query.split()[0]} 0")})
        chance.choice(self.ways())(query)

    def forget(self, query: str) -> None:
        """Invalidate a document: no answer stays that was made from it before, or is made later from its text."""
        user, number = query.split()
        if random.random() > FORGETTING:
            return
        name, before = f"u{user}d{number}", time.time()
        waiting = [one for prompt, *_ in list(self.waiting) for one in _NAME.findall(prompt)]
        if waiting and random.random() < 0.5:
            name = random.choice(waiting)
        self.cache.invalidate(f"doc:{name}")
        outlived = self.older(name, before)
        if outlived:  # one that was just being written is deleted by its writer
            time.sleep(1)
            outlived = self.older(name, before)
        with self.turn:
            self.outcome.outlived += outlived
            self.outcome.forgotten.append((name, before))

    def older(self, name: str, before: float) -> int:
        """How many stored answers were made from a document before."""
        old = [one.payload for one in self.cache.entries() if one.kind == "answer" and one.created_at < before]
        return sum(name in _NAME.findall(one.decode(errors="replace")) for one in old)

    def judge(self, answer: str, mark: Mapping[str, Any]) -> None:
        """Compare the documents that an answer names with its sources; ``mark``: of a hit."""
        shown, named = set(_NAME.findall(answer)), set(mark.get("sources", ()))
        with self.turn:
            self.outcome.answers += 1
            found_at, stamp = getattr(self.here, "found_at", None), _STAMP.search(answer)
            if found_at is not None and stamp is not None and not mark:
                self.outcome.found_at.append((stamp[1], found_at))
            if mark:
                self.outcome.hits += 1
                self.outcome.foreign += bool(named - shown)
                self.outcome.missing += bool(shown - named)
                if named != shown and len(self.outcome.examples) < 3:
                    self.outcome.examples.append(f"{sorted(shown)} has {sorted(named)}")


class LangChainOffice(Office):
    """Calls through LangChain."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.retriever = askonce.langchain.CachedRetriever(
            Documents(), corpus=self.corpus, name="users", nearest=True
        )
        self.model = askonce.langchain.cached(Model(), self.cache)
        found = self.retriever | RunnableLambda(join)
        self.chain = found | RunnableLambda(lambda text: f"From this: {text}\nWhat?") | self.model
        self.tool = create_retriever_tool(self.retriever, "find", "Finds.")

    def ways(self) -> list[Callable[[str], Any]]:
        return [
            self.by_a_chain,
            self.plainly,
            self.by_a_tool,
            self.in_a_batch,
            self.hand_over,
            self.find,
            self.forget,
        ]

    def find(self, query: str) -> str:
        return join(self.retriever.invoke(query))

    def call_the_model(self, prompt: str) -> None:
        self.seen(self.model.invoke(prompt))

    def seen(self, *answers: Any) -> None:
        for answer in answers:
            self.judge(str(answer.content), answer.response_metadata.get("askonce", {}))

    def by_a_chain(self, query: str) -> None:
        self.seen(self.chain.invoke(query))

    def by_a_tool(self, query: str) -> None:
        self.call_the_model(f"By a tool:\n{self.tool.invoke({'query': query})}\n\nWhat?")

    def in_a_batch(self, query: str) -> None:
        self.seen(*self.chain.batch([query, f"{query.split()[0]} 0"]))

    async def answer_in_a_task(self, query: str, chance: random.Random) -> None:
        if chance.random() < 0.5:
            self.seen(await self.chain.ainvoke(query))
        else:
            (found,) = await asyncio.gather(self.retriever.ainvoke(query))
            self.seen(await self.model.ainvoke(f"In a task: {join(found)}"))


class NodeDocuments(NodeRetriever):
    """Finds two documents of a user."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        names = names_of(query_bundle.query_str)
        return [NodeWithScore(node=TextNode(text=text_of(one), id_=one), score=1.0) for one in names]


class NodeModel(CustomLLM):
    """Says which documents it was shown."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=100_000, model_name="names")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=statement(names_in(prompt)))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        text = statement(names_in(prompt))
        yield CompletionResponse(text=text, delta=text)


class LlamaIndexOffice(Office):
    """Calls through LlamaIndex, whose answers of the model are seen as events: engines do not give them."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.retriever = askonce.llama_index.CachedRetriever(NodeDocuments(), corpus=self.corpus, name="users")
        self.model = askonce.llama_index.cached(NodeModel(), self.cache)
        self.engine = RetrieverQueryEngine.from_args(self.retriever, llm=self.model)
        self.streaming = RetrieverQueryEngine.from_args(self.retriever, llm=self.model, streaming=True)
        get_dispatcher().add_event_handler(Events(judge=self.judge))

    def ways(self) -> list[Callable[[str], Any]]:
        return [
            self.engine.query,
            lambda query: str(self.streaming.query(query)),
            lambda query: self.model.chat([ChatMessage(f"In a chat: {self.find(query)}")]),
            self.plainly,
            self.hand_over,
            self.find,
            self.forget,
        ]

    def find(self, query: str) -> str:
        return "\n\n".join(one.text for one in self.retriever.retrieve(query))

    def call_the_model(self, prompt: str) -> None:
        self.model.complete(prompt)

    async def answer_in_a_task(self, query: str, chance: random.Random) -> None:
        if chance.random() < 0.5:
            await self.engine.aquery(query)
        else:
            (found,) = await asyncio.gather(self.retriever.aretrieve(query))
            await self.model.acomplete(f"In a task: {[one.text for one in found]}")


class Events(BaseEventHandler):
    """Judges each answer of the model."""

    judge: Any

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if isinstance(event, LLMCompletionEndEvent):
            self.judge(event.response.text, event.response.additional_kwargs.get("askonce", {}))
        elif isinstance(event, LLMChatEndEvent) and event.response is not None:
            mark = event.response.additional_kwargs.get("askonce", {})
            self.judge(str(event.response.message.content), mark)


OFFICES: dict[str, type[Office]] = {"LangChain": LangChainOffice, "LlamaIndex": LlamaIndexOffice}


def join(documents: list[Document]) -> str:
    return "\n\n".join(one.page_content for one in documents)


def work(url: str, framework: str, seed: int, requests: int) -> Outcome:
    """Serve requests in threads that all users share, and then in tasks, as one of several processes."""
    office, chance = OFFICES[framework](url), random.Random(seed)

    def in_a_thread(seed: float) -> None:
        one = random.Random(seed)
        office.serve(query_of(one), one)

    async def in_tasks() -> None:
        for _ in range(requests // 40):
            each = [random.Random(chance.random()) for _ in range(10)]
            await asyncio.gather(*(office.answer_in_a_task(query_of(one), one) for one in each))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(in_a_thread, [chance.random() for _ in range(requests * 3 // 4)]))
    asyncio.run(in_tasks())
    office.cache.close()
    return office.outcome


def run(url: str, framework: str, *, processes: int, requests: int, seed: int = 0) -> Outcome:
    """Let several processes serve at once; ``requests`` is for all together.

    A process that dies ends the run with `BrokenProcessPool`; with `multiprocessing.Pool` it would never end.
    """
    seeds = range(seed * processes, (seed + 1) * processes)
    with ProcessPoolExecutor(processes, SPAWN) as pool:
        works = [pool.submit(work, url, framework, one, requests // processes) for one in seeds]
        outcome = sum((one.result() for one in works), Outcome())
    outcome.outlived += born_later(url, outcome)
    return outcome


def born_later(url: str, outcome: Outcome) -> int:
    """How many answers are stored that were made from documents found before these were invalidated."""
    last: dict[str, float] = {}
    for name, at in outcome.forgotten:
        last[name] = max(last.get(name, 0.0), at)
    with Cache(url, namespace="users", timeout_seconds=30) as cache:
        answers = [one.payload.decode(errors="replace") for one in cache.entries() if one.kind == "answer"]
    found_at, late = dict(outcome.found_at), 0
    for one in answers:
        found = found_at.get(next(iter(_STAMP.findall(one)), ""), float("inf"))
        late += any(found < last.get(name, 0.0) for name in _NAME.findall(one))
    return late
