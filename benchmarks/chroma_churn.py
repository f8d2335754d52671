"""Documents that change on a real Chroma server, while several processes look for them through each store.

    make .venv-vector-stores-langchain/.up-to-date
    .venv-vector-stores-langchain/bin/python -m benchmarks.chroma_churn [--seconds 30] [--near-margin 0]

A writer adds, updates and deletes; readers search the documents of a topic, which all fit into one result. Begin
and end of every write and every read are on one clock. A read is *stale* if it holds a version that was dead before
it began, and *missing* if it lacks one that was there from before its begin until after its end. The last columns
compare a hit with a search of the same Chroma server, in turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import chromadb
import numpy as np
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from askonce import Cache, Corpus
from askonce.langchain import CachedEmbeddings, CachedRetriever, watch
from benchmarks.measure import Series, markdown, one_by_one
from tests.support import servers
from tests.support.servers import _free_port

TOPICS, MOST, FOUND, DIMENSIONS = 20, 4, 8, 32
SPAWN = multiprocessing.get_context("spawn")


class Points(Embeddings):
    """A text is a point near that of its topic, its first word."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        topic = np.random.default_rng([*text.split()[0].encode()]).normal(size=DIMENSIONS)
        point = topic + 0.1 * np.random.default_rng([*text.encode()]).normal(size=DIMENSIONS)
        return list(point / np.linalg.norm(point))


class Write(NamedTuple):
    """Of a document: its new version, or ``None`` if it is deleted."""

    begin: float
    end: float
    document: str
    version: int | None


class Read(NamedTuple):
    begin: float
    end: float
    topic: int
    found: dict[str, int]
    was_searched: bool
    was_needless: bool


class Place(NamedTuple):
    """Where a process works."""

    chroma_port: int
    url: str
    near_margin: float | None

    def open(self) -> tuple[Chroma, Corpus]:
        cache = Cache(self.url, namespace="chroma-churn", timeout_seconds=10)
        corpus = Corpus(cache, name="churn", near_margin=self.near_margin)
        embeddings = CachedEmbeddings(Points(), cache, model="points")
        client = chromadb.HttpClient(host="127.0.0.1", port=self.chroma_port)
        return Chroma("churn", embeddings, client=client), corpus


def _text(topic: int, version: int) -> str:
    return f"topic{topic} version {version} " + 40 * "of a document that many questions find "


def _document(name: str, version: int) -> Document:
    topic = int(name.split()[0])
    return Document(_text(topic, version), id=name, metadata={"version": version})


def write(place: Place, seconds: float) -> list[Write]:
    """Change one document after another."""
    store, corpus = place.open()
    watched, chance, writes = watch(store, corpus), random.Random(1), []
    versions: dict[str, int] = {}
    until = time.monotonic() + seconds
    for version in range(10**9):
        if time.monotonic() > until:
            return writes
        topic = chance.randrange(TOPICS)
        there = [name for name in versions if name.startswith(f"{topic} ")]
        kind = chance.choice(["add", "update", "delete"]) if there else "add"
        begin = time.monotonic()
        if kind == "add" and len(there) < MOST:
            name = f"{topic} {version}"
            watched.add_documents([_document(name, version)])
            versions[name] = version
        elif kind == "delete" and there:
            name = chance.choice(there)
            watched.delete([name])
            del versions[name]
        else:
            name = chance.choice(there)
            watched.update_document(name, _document(name, version))
            versions[name] = version
        writes.append(Write(begin, time.monotonic(), name, versions.get(name)))
        time.sleep(chance.uniform(0, 0.2))
    return writes


def read(place: Place, seconds: float, seed: int) -> list[Read]:
    """Search one topic after another."""
    store, corpus = place.open()
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": FOUND}), corpus=corpus)
    chance, reads, last = random.Random(seed), [], {}
    until = time.monotonic() + seconds
    while (begin := time.monotonic()) < until:
        topic = chance.randrange(TOPICS)
        misses = corpus.cache.stats().kinds.get("retrieval")
        found = retriever.invoke(f"topic{topic}")
        end = time.monotonic()
        now = corpus.cache.stats().kinds["retrieval"]
        was_searched = now.misses > (misses.misses if misses else 0)
        was_needless = was_searched and last.get(topic) == found
        versions = {str(one.id): int(one.metadata["version"]) for one in found}
        reads.append(Read(begin, end, topic, versions, was_searched, was_needless))
        last[topic] = found
    return reads


def judge(writes: Sequence[Write], reads: Sequence[Read]) -> tuple[int, int]:
    """How many reads were stale, and how many lacked a document."""
    histories: dict[str, list[Write]] = defaultdict(list)
    for one in writes:
        histories[one.document].append(one)
    stale = missing = 0
    for one in reads:
        stale += any(_was_dead(histories[name], version, one.begin) for name, version in one.found.items())
        missing += any(
            _was_there(history, one) and name not in one.found
            for name, history in histories.items()
            if name.startswith(f"{one.topic} ")
        )
    return stale, missing


def _was_dead(history: Sequence[Write], version: int, at: float) -> bool:
    following = [later for before, later in pairwise(history) if before.version == version]
    return bool(following) and following[0].end < at


def _was_there(history: Sequence[Write], read: Read) -> bool:
    ends = [*(one.begin for one in history[1:]), float("inf")]
    return any(
        one.version is not None and one.end < read.begin and end > read.end
        for one, end in zip(history, ends, strict=True)
    )


def hits(place: Place, rounds: int) -> tuple[str, ...]:
    """How many times longer a search takes than a hit, in turns; the median and the range of the rounds."""
    store, corpus = place.open()
    inner = store.as_retriever(search_kwargs={"k": FOUND})
    cached = CachedRetriever(inner, corpus=corpus)
    fresh, hit = Series("search"), Series("hit")
    questions = [f"topic{topic}" for topic in range(TOPICS)]
    for question in questions:
        cached.invoke(question)
    for _ in range(rounds):
        fresh.rounds.append(one_by_one([partial(inner.invoke, one) for one in questions]))
        hit.rounds.append(one_by_one([partial(cached.invoke, one) for one in questions]))
    return f"{hit.median:,.0f}", f"{fresh.median:,.0f}", str(fresh.over(hit))


def churn(place: Place, seconds: float, readers: int) -> tuple[str, ...]:
    with ProcessPoolExecutor(readers + 1, SPAWN) as pool:
        writing = pool.submit(write, place, seconds)
        reading = [pool.submit(read, place, seconds, seed) for seed in range(readers)]
        writes, reads = writing.result(), [one for each in reading for one in each.result()]
    stale, missing = judge(writes, reads)
    searches = sum(one.was_searched for one in reads)
    needless = sum(one.was_needless for one in reads) / max(searches, 1)
    counts = (len(writes), len(reads), searches)
    return (*(f"{one:,}" for one in counts), f"{needless:.0%}", f"{stale:,}", f"{missing:,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="for each store")
    parser.add_argument("--readers", type=int, default=3, help="processes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--near-margin", type=float)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "redis-8.2", "mongodb"])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for name in options.stores:
            port = _free_port()
            command = ["run", "--host", "127.0.0.1", "--port", str(port), "--path", f"{directory}/{name}"]
            server = subprocess.Popen(
                [Path(sys.executable).with_name("chroma"), *command], stdout=subprocess.DEVNULL
            )
            try:
                _wait_for(port)
                url = f"sqlite:///{directory}/cache.db" if name == "sqlite" else servers.start(name).url
                place = Place(port, url, options.near_margin)
                seen = churn(place, options.seconds, options.readers)
                rows.append((name, *seen, *hits(place, options.rounds)))
                print(*rows[-1], flush=True)
            finally:
                server.terminate()
                server.wait()
    heads = ("store", "writes", "reads", "searches", "of them needless", "stale", "missing")
    print(markdown((*heads, "hit, µs here", "search, µs here", "search over hit"), rows))


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            chromadb.HttpClient(host="127.0.0.1", port=port).heartbeat()
            return
        except Exception:
            time.sleep(0.1)
    raise TimeoutError("the Chroma server does not answer")


if __name__ == "__main__":
    main()
