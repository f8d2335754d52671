"""Large batches of embeddings: are all stored at default settings, and what does that take?

    make bench BENCH=batches [ARGS="--vectors 10000 --stores sqlite redis-8.2 mongodb"]

A model that makes its vectors at once embeds texts through `CachedEmbeddings`; a second cache embeds them again,
without a call of the model if all are stored. On Redis, in turns: the seconds in calls of the store against a bare
pipeline of the same bytes (``SET`` and ``GET``), and all seconds of the second embedding against that pipeline and
the same conversion to lists of floats.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import redis
from langchain_core.embeddings import Embeddings

from askonce import Cache
from askonce.langchain import CachedEmbeddings
from benchmarks.measure import Claim, Series, markdown
from tests.support import servers

DIMENSIONS, PIECE, LIMIT = 1536, 256, 1.5
Row = tuple[str, ...]


class Numbers(Embeddings):
    """Vectors of texts that are numbers; counts the texts."""

    def __init__(self, count: int) -> None:
        rows = np.random.default_rng(1).normal(size=(count, DIMENSIONS)).astype(np.float32)
        self.vectors: list[list[float]] = rows.tolist()
        self.seen = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.seen += len(texts)
        return [self.vectors[int(text)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[int(text)]


class Clocked:
    """The seconds in a store's calls."""

    def __init__(self, cache: Cache) -> None:
        self.seconds = 0.0
        store: Any = cache.store
        for name in ("put", "get_many", "get_many_with_log"):
            setattr(store, name, self._clocked(getattr(store, name)))

    def _clocked(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def clocked(*args: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args)
            finally:
                self.seconds += time.perf_counter() - began

        return clocked


def embed(embeddings: CachedEmbeddings, texts: list[str], *, in_a_task: bool) -> list[list[float]]:
    if in_a_task:
        return asyncio.run(embeddings.aembed_documents(texts))
    return embeddings.embed_documents(texts)


def stored_and_found(name: str, url: str, model: Numbers, *, in_a_task: bool) -> Row:
    """How many vectors were stored and found again, and how long that took."""
    texts, space = [str(number) for number in range(len(model.vectors))], f"batches-{in_a_task}"
    seconds = []
    for _ in range(2):
        before = model.seen
        with Cache(url, namespace=space) as cache:
            began = time.perf_counter()
            found = embed(CachedEmbeddings(model, cache, model="numbers"), texts, in_a_task=in_a_task)
            seconds.append(f"{time.perf_counter() - began:.1f} s")
            errors = cache.stats().errors
    assert found == model.vectors, "another vector"
    way = "tasks" if in_a_task else "threads"
    return f"{name}, {way}", f"{len(texts):,}", f"{len(texts) - (model.seen - before):,}", *seconds, str(errors)


def against_a_pipeline(url: str, model: Numbers, rounds: int) -> Iterator[Claim]:
    """The store's calls, and all of an embedding, against a bare pipeline of the same bytes."""
    texts = [str(number) for number in range(len(model.vectors))]
    names = ("write", "store's writes", "read", "store's reads", "read and convert", "embedding again")
    series = {name: Series(name) for name in names}
    with redis.Redis.from_url(url) as client:
        for number in range(rounds):
            with Cache(url, namespace=f"pipeline-{number}") as cache:
                clocked = Clocked(cache)
                embeddings = CachedEmbeddings(model, cache, model="numbers")
                embeddings.embed_documents(texts)
                series["store's writes"].rounds.append(clocked.seconds)
                clocked.seconds, began = 0.0, time.perf_counter()
                embeddings.embed_documents(texts)
                series["embedding again"].rounds.append(time.perf_counter() - began)
                series["store's reads"].rounds.append(clocked.seconds)
                values = [value for _, value in cache.store.scan(f"pipeline-{number}")]
                cache.clear()
            began = time.perf_counter()
            in_pieces(client, [("SET", f"bare {place}", value) for place, value in enumerate(values)])
            series["write"].rounds.append(time.perf_counter() - began)
            began = time.perf_counter()
            in_pieces(client, [("GET", f"bare {place}") for place in range(len(values))])
            series["read"].rounds.append(time.perf_counter() - began)
            floats = [array("f", vector).tobytes() for vector in model.vectors]
            began = time.perf_counter()
            _ = [array("f", one).tolist() for one in floats]
            series["read and convert"].rounds.append(series["read"].rounds[-1] + time.perf_counter() - began)
            client.flushdb()
    for ours, bare in (
        ("store's writes", "write"),
        ("store's reads", "read"),
        ("embedding again", "read and convert"),
    ):
        yield Claim(f"{ours} / {bare}", series[ours].over(series[bare]), LIMIT)


def in_pieces(client: redis.Redis, commands: Sequence[tuple[Any, ...]]) -> None:
    for start in range(0, len(commands), PIECE):
        pipeline = client.pipeline(transaction=False)
        for command in commands[start : start + PIECE]:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        pipeline.execute()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="against a pipeline; 0: none")
    parser.add_argument("--stores", nargs="*", default=["sqlite", "redis-8.2", "mongodb"])
    options = parser.parse_args()
    model = Numbers(options.vectors)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.stores:
            url = f"sqlite:///{Path(folder)}/cache.db" if name == "sqlite" else servers.start(name).url
            for in_a_task in (False, True):
                rows.append(stored_and_found(name, url, model, in_a_task=in_a_task))
                print(*rows[-1], sep="  ", flush=True)
    if rows:
        print(markdown(("store", "vectors", "found again", "embedding", "again", "errors"), rows), "\n")
    if options.rounds:
        url = servers.start("redis-8.2").url
        claims = list(against_a_pipeline(url, model, options.rounds))
        print(markdown(("Redis", "median (range)", "limit", ""), [claim.row() for claim in claims]))


if __name__ == "__main__":
    main()
