"""What a hit costs, against the caches that LangChain users have today and against the floors below all of them.

    python -m benchmarks.hits [--rounds 7] [--entries 1000000] [--markdown FILE]

Every prompt that is looked up was stored by another process, and a round opens each cache anew, so that no cache
remembers it. A round looks up the same prompts with every subject in turn. What is printed is the median over the
rounds, and for ratios their spread. `benchmarks.figures` writes it into the documentation.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from askonce import Cache
from askonce.eviction.policy import UNLIMITED
from askonce.langchain import AskOnceCache
from askonce.stores.base import Record
from benchmarks.measure import Claim, Ratio, Series, markdown, one_by_one
from tests.support import servers

SAMPLE = 200
WORDS = "the cat sat on a mat and thought of mice that never came while it rained for days on end in june ".split()
MODEL = "[('_type', 'instant'), ('model_name', 'gpt-4o'), ('stop', None), ('temperature', 0)]"


def words(length: int, seed: int) -> str:
    start = seed % len(WORDS)
    text = " ".join(itertools.islice(itertools.cycle(WORDS[start:] + WORDS[:start]), length // 4 + 1))
    return text[:length]


def messages(number: int, size: int) -> list[BaseMessage]:
    """A prompt of about ``size`` characters that no other number has."""
    return [SystemMessage(words(size, 0)), HumanMessage(f"Question {number}: {words(60, number)}?")]


def answer(number: int) -> ChatGeneration:
    usage = {"input_tokens": 500, "output_tokens": 170, "total_tokens": 670}
    metadata = {"model_name": "gpt-4o", "finish_reason": "stop", "id": f"chatcmpl-{number}"}
    return ChatGeneration(
        message=AIMessage(
            f"Answer {number}: {words(690, number)}",
            response_metadata=metadata,
            usage_metadata=usage,  # type: ignore[arg-type]
            id=f"lc_run--{number}",
        )
    )


class InstantModel(BaseChatModel):
    """Answers at once, so that all that is timed is LangChain and the cache."""

    model_name: str = "gpt-4o"

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[answer(0)])


# -- the subjects --------------------------------------------------------------------------------------------------


def open_cache(name: str, where: str) -> BaseCache:
    """A LangChain cache by name; ``where`` is a Redis URL or a directory."""
    if name == "askonce":
        url = where if where.startswith("redis") else f"sqlite:///{where}/askonce.db"
        return AskOnceCache(url, timeout_seconds=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_community.cache import RedisCache, SQLiteCache

        if name == "community-sqlite":
            return SQLiteCache(database_path=f"{where}/community.db")
        return RedisCache(redis_=redis.Redis.from_url(where))


def fill(name: str, where: str, first: int, count: int, size: int) -> None:
    """Put answers, as another process."""
    cache = open_cache(name, where)
    for number in range(first, first + count):
        cache.update(dumps(messages(number, size)), MODEL, [answer(number)])


def fill_elsewhere(name: str, where: str, first: int, count: int, size: int) -> None:
    arguments = ["--fill", name, where, str(first), str(count), str(size)]
    subprocess.run([sys.executable, "-m", "benchmarks.hits", *arguments], check=True)


class Floors:
    """Bare reads of 1.5 kB by key, from the very client libraries that the caches use."""

    def __init__(self, directory: str, redis_url: str, count: int) -> None:
        value = b"x" * 1500
        self.sqlite = sqlite3.connect(f"{directory}/floor.db", isolation_level=None)
        self.sqlite.execute("PRAGMA journal_mode=WAL")
        self.sqlite.execute("CREATE TABLE floor (id INTEGER PRIMARY KEY, key BLOB UNIQUE, value BLOB)")
        self.redis = redis.Redis.from_url(redis_url)
        pipeline = self.redis.pipeline()
        self.sqlite.execute("BEGIN")
        for number in range(count):
            self.sqlite.execute("INSERT INTO floor (key, value) VALUES (?, ?)", (self.key(number), value))
            pipeline.set(self.key(number), value)
        self.sqlite.execute("COMMIT")
        pipeline.execute()

    @staticmethod
    def key(number: int) -> bytes:
        return b"floor-%026d" % number

    def select(self, number: int) -> object:
        return self.sqlite.execute("SELECT value FROM floor WHERE key = ?", (self.key(number),)).fetchone()

    def get(self, number: int) -> object:
        return self.redis.get(self.key(number))


# -- what is measured ----------------------------------------------------------------------------------------------


def lookups(rounds: int, size: int, directory: str, redis_url: str) -> tuple[dict[str, Series], list[Claim]]:
    """One look-up of a prompt of ``size`` characters that this process has not seen."""
    places = {
        "askonce, SQLite": ("askonce", directory),
        "langchain-community SQLiteCache": ("community-sqlite", directory),
        "askonce, Redis": ("askonce", redis_url),
        "langchain-community RedisCache": ("community-redis", redis_url),
    }
    for name, where in places.values():
        fill_elsewhere(name, where, 0, SAMPLE, size)
    floors = Floors(directory, redis_url, SAMPLE)
    memory = InMemoryCache()
    local = AskOnceCache(Cache("memory://", local_ttl=3600, local_max_entries=100_000))
    prompts = [dumps(messages(one, size)) for one in range(SAMPLE)]
    for number, prompt in enumerate(prompts):
        memory.update(prompt, MODEL, [answer(number)])
        local.update(prompt, MODEL, [answer(number)])
    names = [
        *places,
        "askonce, local cache",
        "langchain-core InMemoryCache",
        "bare sqlite3 SELECT",
        "bare redis-py GET",
    ]
    series = {name: Series(name) for name in names}
    for _ in range(rounds):
        caches = {label: open_cache(*place) for label, place in places.items()}
        caches["langchain-core InMemoryCache"] = memory
        caches["askonce, local cache"] = AskOnceCache(local.cache)
        for label, cache in caches.items():
            assert cache.lookup(prompts[0], MODEL) is not None, f"{label} missed what was stored"
            series[label].rounds.append(one_by_one([partial(cache.lookup, one, MODEL) for one in prompts[1:]]))
        for label, read in (("bare sqlite3 SELECT", floors.select), ("bare redis-py GET", floors.get)):
            series[label].rounds.append(one_by_one([partial(read, number) for number in range(SAMPLE)]))
        for label, (name, _) in places.items():
            if name == "askonce":
                caches[label].close()  # type: ignore[attr-defined]
    ours, theirs = series["askonce, SQLite"], series["langchain-community SQLiteCache"]
    redis_ours, redis_theirs = series["askonce, Redis"], series["langchain-community RedisCache"]
    title = f"{size // 1000} kB prompt"
    claims = [
        Claim(f"{title}: SQLite lookup, times faster than SQLiteCache", theirs.over(ours), 8, at_least=True),
        Claim(f"{title}: Redis lookup, times faster than RedisCache", redis_theirs.over(redis_ours), None),
    ]
    if size <= 2000:
        over_get = redis_ours.over(series["bare redis-py GET"])
        claims.append(Claim(f"{title}: Redis lookup over a bare GET", over_get, 1.3))
    return series, claims


def whole_calls(rounds: int, directory: str) -> tuple[dict[str, Series], list[Claim]]:
    """A whole ``model.invoke`` that hits."""
    place = f"{directory}/invoke"
    Path(place).mkdir()
    sqlite, memory = open_cache("askonce", place), InMemoryCache()
    models = {
        "invoke: no cache, instant model": InstantModel(cache=False),
        "invoke: InMemoryCache": InstantModel(cache=memory),
        "invoke: askonce, SQLite": InstantModel(cache=sqlite),
    }
    series = {name: Series(name) for name in models}
    prompts = [messages(number, 2000) for number in range(SAMPLE)]
    for model in models.values():
        for prompt in prompts:
            model.invoke(prompt)
    for _ in range(rounds):
        for name, model in models.items():
            series[name].rounds.append(one_by_one([partial(model.invoke, prompt) for prompt in prompts]))
    ratio = series["invoke: askonce, SQLite"].over(series["invoke: InMemoryCache"])
    return series, [Claim("model.invoke hit on SQLite over InMemoryCache's", ratio, 1.4)]


class NoEvents:
    """Stands in for the queue of events."""

    def emit(self, event: object) -> None:
        pass


def counting(rounds: int, directory: str) -> list[Claim]:
    """A hit whose event is emitted, over the same hit without events."""
    cache = AskOnceCache(f"sqlite:///{directory}/counting.db")
    prompts = [dumps(messages(number, 2000)) for number in range(SAMPLE)]
    for number, prompt in enumerate(prompts):
        cache.update(prompt, MODEL, [answer(number)])
    flow = cache.cache.engine.flow
    queue: Any = flow.events
    series = {name: Series(name) for name in ("events", "no events")}
    for _ in range(rounds):
        for name, events in (("events", queue), ("no events", NoEvents())):
            flow.events = events
            series[name].rounds.append(one_by_one([partial(cache.lookup, prompt, MODEL) for prompt in prompts]))
    flow.events = queue
    cache.close()
    ratio = series["events"].over(series["no events"])
    return [Claim("a hit whose event is counted, over one that emits none", ratio, 1.05)]


def many_entries(rounds: int, entries: int, directory: str, redis_url: str) -> list[Claim]:
    """Look-ups among a thousand entries and among very many."""
    claims = []
    for store, url in (("SQLite", f"sqlite:///{directory}/many.db"), ("Redis", redis_url)):
        caches = {}
        for name, count in (("few", 1000), ("many", entries)):
            caches[name] = AskOnceCache(url, namespace=name, timeout_seconds=60)
            stuff(caches[name].cache, count)
            for number in range(SAMPLE):
                caches[name].update(dumps(messages(number, 2000)), MODEL, [answer(number)])
        series = {name: Series(name) for name in caches}
        prompts = [dumps(messages(number, 2000)) for number in range(SAMPLE)]
        for _ in range(rounds):
            for name, cache in caches.items():
                calls = [partial(cache.lookup, prompt, MODEL) for prompt in prompts]
                series[name].rounds.append(one_by_one(calls))
        what = f"{store} look-up among {entries:,} entries over among 1,000"
        claims.append(Claim(what, series["many"].over(series["few"]), 1.5))
        for cache in caches.values():
            cache.clear()
            cache.close()
    return claims


def stuff(cache: Cache, count: int) -> None:
    """Put ``count`` entries of the usual size that are never requested."""
    value = b"\x01\x00" + bytes(900)

    def batches() -> Iterator[list[Record]]:
        for first in range(0, count, 500):
            numbers = range(first, min(first + 500, count))
            yield [Record(number.to_bytes(32, "big"), value, weight=number / count) for number in numbers]

    for batch in batches():
        cache.store.put(cache.namespace, batch, UNLIMITED)


async def concurrency(rounds: int, redis_url: str, tasks: int = 200, each: int = 10) -> list[Claim]:
    """Look-ups a second by 200 tasks at once, over bare ``redis.asyncio`` GETs a second."""
    cache = AskOnceCache(redis_url, namespace="concurrency", timeout_seconds=10)
    prompts = [dumps(messages(number, 2000)) for number in range(tasks * each)]
    for number, prompt in enumerate(prompts):
        await cache.aupdate(prompt, MODEL, [answer(number)])
    client = redis.asyncio.Redis.from_url(redis_url, max_connections=tasks)
    await client.set("floor", b"x" * 1500)

    async def per_second(call: Callable[[int], Any]) -> float:
        async def worker(worker_number: int) -> None:
            for number in range(worker_number * each, (worker_number + 1) * each):
                assert await call(number) is not None

        started = time.perf_counter()
        await asyncio.gather(*(worker(number) for number in range(tasks)))
        return tasks * each / (time.perf_counter() - started)

    ratios = []
    for _ in range(rounds):
        ours = await per_second(lambda number: cache.alookup(prompts[number], MODEL))
        floor = await per_second(lambda number: client.get("floor"))
        ratios.append(ours / floor)
    await client.aclose()
    await cache.aclose()
    return [
        Claim(f"{tasks} concurrent lookups on Redis over redis.asyncio GETs, throughput", Ratio(ratios), 0.7, True)
    ]


REQUIRED = "logging, threading, dataclasses, msgspec, zstandard"
LANGCHAIN = (
    "langchain_core.caches, langchain_core.outputs, langchain_core.language_models, langchain_core.embeddings"
)


def imports(rounds: int, directory: str) -> list[Claim]:
    """CPU time of imports and of the first cache in fresh interpreters, with bytecode as an installer leaves it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = f"{directory}/bytecode"

    def milliseconds(statement: str, first: str = "sys") -> float:
        code = f"import {first}, time; t = time.process_time(); {statement}; print(time.process_time() - t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
        return 1000 * float(done.stdout)

    statements = {
        "required": (f"import {REQUIRED}", "sys"),
        "askonce": ("import askonce", "sys"),
        "cache": (f"import askonce; askonce.Cache('sqlite:///{directory}/imports.db')", "sys"),
        "hashlib": (f"import {REQUIRED}, hashlib, zlib", "sys"),
        "langchain": (
            f"from askonce.langchain import AskOnceCache; AskOnceCache('sqlite:///{directory}/imports.db')",
            LANGCHAIN,
        ),
        "langchain-core": (f"import {LANGCHAIN}", "sys"),
    }
    for warm in statements.values():
        milliseconds(*warm)
    series = {name: Series(name) for name in statements}
    for _ in range(rounds):
        for name, statement in statements.items():
            series[name].rounds.append(milliseconds(*statement))
    required, langchain = series["required"], series["langchain"]
    return [
        Claim(
            f"import askonce over the imports that it needs ({REQUIRED})", series["askonce"].over(required), 1.15
        ),
        Claim("the same with hashlib and zlib, over those imports", series["hashlib"].over(required), None),
        Claim("import askonce and the first Cache on SQLite, over those", series["cache"].over(required), None),
        Claim("import askonce.langchain and AskOnceCache(…) after langchain-core, ms", Ratio(langchain.rounds), 60),
        Claim("the same over the import of langchain-core", langchain.over(series["langchain-core"]), None),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    parser.add_argument("--fill", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        name, where, first, count, size = options.fill
        fill(name, where, int(first), int(count), int(size))
        return
    warnings.filterwarnings("ignore", module="langchain_community")  # a default that it leaves as it is
    url = servers.start("redis-8.2").url
    claims: list[Claim] = []
    timed: list[tuple[str, dict[str, Series]]] = []
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        for size, directory in ((2_000, small), (100_000, large)):
            print(f"look-ups of {size:,} characters …", flush=True)
            series, found = lookups(options.rounds, size, directory, url)
            timed.append((f"look-up, {size // 1000} kB prompt", series))
            claims += found
            redis.Redis.from_url(url).flushall()
        print("whole calls …", flush=True)
        series, found = whole_calls(options.rounds, small)
        timed.append(("whole call", series))
        claims += found
        print("concurrency …", flush=True)
        claims += asyncio.run(concurrency(options.rounds, url))
        print("imports …", flush=True)
        claims += imports(options.rounds, small)
        print(f"{options.entries:,} entries …", flush=True)
        claims += many_entries(options.rounds, options.entries, small, url)
    tables = [markdown(("what", "median of rounds (spread)", "aim", ""), [claim.row() for claim in claims])]
    for title, series in timed:
        fastest = min(one.median for one in series.values())
        rows = [(one.name, f"{one.median:.0f}", f"{one.median / fastest:.1f}") for one in series.values()]
        tables.append(markdown((title, "µs here", "times the fastest"), rows))
    report = "\n\n".join(tables) + "\n"
    print("\n" + report)
    if options.markdown:
        options.markdown.write_text(report)


if __name__ == "__main__":
    main()
