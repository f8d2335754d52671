"""What a cached retrieval saves, and whether it is ever stale.

    python -m benchmarks.retrieval [--rounds 5] [--seeds 5] [--operations 100000] [--markdown FILE]

The pipeline: a question is embedded (MiniLM), looked for among tens of thousands of real questions (HNSW,
usearch), and what is found is put into a prompt. The additions: what is found for some hundred of these questions
is stored, others are added, and what `Corpus.added` with embeddings lets stay is compared with a fresh search,
exact and by HNSW; without embeddings nothing stays. The texts and their embeddings are read from the folder that
``ASKONCE_DATA`` names, by default ``../shared/data``; without them these parts are skipped. The churn: four
processes search, add, update and delete at random, and every search is checked against the documents themselves.
The sizes: questions that each find 20 of 10,000 documents of 2,000 characters, against these texts once and 20 ids
of 30 bytes for each question. Churn over a real Chroma server is `benchmarks.chroma_churn`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sqlite3
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import redis
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from threadpoolctl import threadpool_limits
from usearch.index import Index

from askonce import Cache, Corpus
from askonce.entries.entry import Source
from askonce.langchain import CachedRetriever
from askonce.provenance import additions
from askonce.provenance.additions import added_vectors
from askonce.provenance.changes import Change, Changes, ChangesPage
from benchmarks.measure import Claim, Series, markdown, one_by_one
from examples.minilm import MiniLM
from tests.support import churn, kills, nearest_churn, servers, users

DATA = Path(os.environ.get("ASKONCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
SETS = ("banking77.npz", "qqp.npz")
SAMPLE = 60
FOUND = 4
STORED, ADDED, MARGINS = 500, (10, 100, 1000), (0.0, 0.02, 0.05)


class Searching(BaseRetriever):
    """Embeds a question and finds the nearest texts by HNSW."""

    model: Any
    index: Any
    texts: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        found = self.index.search(self.model.embed([query])[0], 4)
        return [Document(id=str(key), page_content=self.texts[key]) for key in found.keys]


def load() -> tuple[list[str], np.ndarray]:
    arrays = [np.load(DATA / name) for name in SETS]
    texts = [str(text) for array in arrays for text in array["text"]]
    return texts, np.concatenate([array["emb"] for array in arrays]).astype(np.float32)


def pipeline(rounds: int, directory: str, redis_url: str) -> tuple[list[Series], list[Claim], int]:
    texts, vectors = load()
    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(texts)), vectors)
    plain = Searching(model=MiniLM(), index=index, texts=texts)
    prompt = ChatPromptTemplate.from_template("Answer from this:\n{context}\n\n{question}")
    retrievers: dict[str, BaseRetriever] = {"embed + HNSW": plain}
    for name, url in (("SQLite", f"sqlite:///{directory}/retrieval.db"), ("Redis", redis_url)):
        corpus = Corpus(Cache(url, timeout_seconds=5), name="benchmark")
        retrievers[f"askonce, {name}"] = CachedRetriever(retriever=plain, corpus=corpus, name="benchmark")
    questions = random.Random(7).sample(texts, SAMPLE)
    for retriever in retrievers.values():
        for question in questions:
            retriever.invoke(question)

    def retrieve(retriever: BaseRetriever, question: str) -> object:
        found = retriever.invoke(question)
        return prompt.invoke({"context": [document.page_content for document in found], "question": question})

    find = {name: Series(f"retrieve: {name}") for name in retrievers}
    whole = {name: Series(f"retrieve and write the prompt: {name}") for name in retrievers}
    for _ in range(rounds):
        for name, retriever in retrievers.items():
            find[name].rounds.append(one_by_one([partial(retriever.invoke, one) for one in questions]))
            whole[name].rounds.append(one_by_one([partial(retrieve, retriever, one) for one in questions]))
    claims = [
        Claim(f"a hit on {store}, times faster than embed + HNSW", find["embed + HNSW"].over(find[hit]), 20, True)
        for store, hit in (("SQLite", "askonce, SQLite"), ("Redis", "askonce, Redis"))
    ]
    claims.append(
        Claim(
            "share of the time before the model that is left with a hit on SQLite",
            whole["askonce, SQLite"].over(whole["embed + HNSW"]),
            0.1,
        )
    )
    return [*find.values(), *whole.values()], claims, len(texts)


def exact(rows: np.ndarray, questions: np.ndarray) -> np.ndarray:
    scores = questions @ rows.T
    best = np.argpartition(-scores, FOUND, axis=1)[:, :FOUND]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def similarities(rows: np.ndarray, questions: np.ndarray, found: np.ndarray) -> np.ndarray:
    return np.einsum("qkd,qd->qk", rows[found], questions)


def staying(
    rows: np.ndarray, questions: np.ndarray, found: np.ndarray, added: np.ndarray, margin: float
) -> np.ndarray:
    """Of which questions what was found stays when documents are added, each reported on its own."""
    changes = Changes()
    events = [
        (number, Change(added=True, vectors=added_vectors(one[None])))  # type: ignore[arg-type]
        for number, one in enumerate(added, 2)
    ]
    changes.learn(0, ChangesPage([(1, Change(added=True)), *events], 1 + len(events)))
    stays = []
    for question, keys in zip(questions, found, strict=True):
        least = additions.similarity(question, rows[keys], cosine=False)
        source = Source("c", 1, (), whole=True, near=additions.near(question, least, margin))
        stays.append(not changes.concern(source))
    return np.array(stays)


def nearness(seeds: int) -> list[tuple[str, ...]]:
    """Which share of retrievals stays when documents are added, and which of these a fresh search would change."""
    vectors = load()[1]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    seen: dict[tuple[str, int, float], list[tuple[float, float]]] = {}
    for seed in range(seeds):
        mixed = np.random.default_rng(seed).permutation(len(vectors))
        queries, coming, there = np.split(mixed, [STORED, STORED + max(ADDED)])
        questions, rows = vectors[queries], np.concatenate([vectors[there], vectors[coming]])
        index = Index(ndim=rows.shape[1], metric="ip", dtype="f32")
        before, end = {}, 0
        for count in (0, *ADDED):
            last, end = end, len(there) + count
            index.add(np.arange(last, end), rows[last:end])
            fresh = {"exact": exact(rows[:end], questions), "HNSW": index.search(questions, FOUND).keys.astype(int)}
            before = before or fresh
            for (search, found), margin in product(before.items() if count else (), MARGINS):
                stays = staying(rows, questions, found, rows[len(there) : end], margin)
                # By similarity, since some texts are there twice, and either may be found.
                moved = similarities(rows, questions, fresh[search]) - similarities(rows, questions, found)
                differ = (abs(moved) > 1e-6).any(axis=1) & stays
                shares = (stays.mean(), differ.sum() / max(stays.sum(), 1))
                seen.setdefault((search, count, margin), []).append(shares)
    return [
        (search, f"{count:,}", f"{margin:g}", spread([one for one, _ in rows]), spread([one for _, one in rows]))
        for (search, count, margin), rows in sorted(seen.items(), key=lambda pair: (pair[0][0] != "exact", pair[0]))
    ]


def spread(shares: list[float]) -> str:
    low, middle, high = (100 * one for one in (min(shares), statistics.median(shares), max(shares)))
    return f"{middle:.2f} % ({low:.2f}–{high:.2f})"


def urls(names: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """Stores: their names and URLs, and a directory for what belongs to each."""
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            url = f"sqlite:///{directory}/cache.db" if name == "sqlite" else servers.start(name).url  # type: ignore[arg-type]
            yield name, url, Path(directory)


def correctness(names: Sequence[str], operations: int) -> list[tuple[str, ...]]:
    rows = []
    for name, url, directory in urls(names):
        print(f"{operations:,} operations on {name} …", flush=True)
        seen = churn.run(url, directory, processes=4, operations=operations, writes=0.05)
        rows.append((name, f"{seen.operations:,}", f"{seen.searches:,}", f"{seen.hits:,}", f"{seen.stale:,}"))
    return rows


def killed(names: Sequence[str], rounds: int) -> list[tuple[str, ...]]:
    """Processes that are killed at each step of a write, and what is served wrongly after its lease."""
    rows = []
    for name, url, directory in urls(names):
        print(f"killing on {name} …", flush=True)
        count, wrong = kills.campaign(url, directory / "documents", rounds, namespace="kills")
        rows.append((name, f"{count:,}", f"{len(wrong):,}"))
    return rows


def sources(names: Sequence[str], requests: int, seed: int) -> list[tuple[str, ...]]:
    """The sources of answers, where the requests of many users share threads, tasks and processes."""
    rows = []
    for (name, url, _), framework in ((store, one) for store in urls(names) for one in users.OFFICES):
        print(f"{requests:,} requests of users on {name} through {framework} …", flush=True)
        seen = users.run(url, framework, processes=4, requests=requests, seed=seed)
        counts = (seen.answers, seen.hits, seen.foreign, seen.missing, seen.outlived)
        rows.append((f"{name}, {framework}", *(f"{one:,}" for one in counts)))
        print(*rows[-1], *seen.examples, sep="  ", flush=True)
    return rows


class Sampling(BaseRetriever):
    """Finds some documents for each question."""

    documents: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return random.Random(query).sample(self.documents, 20)


FIRST_QUESTIONS = 200
"""By which all documents are stored; what further ones take is measured."""


def sizes(questions: int, names: Sequence[str]) -> list[tuple[str, ...]]:
    """What 100,000 questions over 10,000 documents take, from what that many questions over 500 documents do."""
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randrange(2, 10))) for _ in range(5000)]
    documents = [
        Document(" ".join(chance.choices(words, k=400))[:2000], id=str(UUID(int=chance.getrandbits(128))))
        for _ in range(500)
    ]
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for name, used in (("sqlite", _file_size), ("redis-8.2", _memory)):
            if name not in names:
                continue
            url = f"sqlite:///{directory}/cache.db" if name == "sqlite" else servers.start(name).url
            cache = Cache(url, namespace="sizes", timeout_seconds=5)
            retriever = CachedRetriever(Sampling(documents=documents), cache, corpus="sizes", name="sizes")
            before, seen = used(url), []
            for count in (FIRST_QUESTIONS, questions):
                for number in range(count):
                    retriever.invoke(f"question {number}")
                cache.flush()
                seen.append(used(url) - before)
            cache.close()
            each = (seen[1] - seen[0]) / (questions - FIRST_QUESTIONS)
            text = (seen[0] - FIRST_QUESTIONS * each) / len(documents)
            total, floor = 10_000 * text + 100_000 * each, 10_000 * 2_000 + 100_000 * 20 * 30
            rows.append((name, f"{each:,.0f}", f"{text:,.0f}", f"{total / 1e6:,.0f} MB", f"{total / floor:.1f}"))
    return rows


def _file_size(url: str) -> int:
    path = url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(path)


def _memory(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("memory")["used_memory"])


def needless(operations: int) -> list[tuple[str, ...]]:
    """Searches under mixed changes that find what was stored before."""
    rows = []
    for margin in (None, 0.0):
        seen = nearest_churn.run(near_margin=margin, operations=operations)
        shares = (f"{seen.searches / seen.reads:.0%}", f"{seen.needless / max(seen.searches, 1):.0%}")
        rows.append((str(margin), f"{seen.reads:,}", *shares, f"{seen.stale:,}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="of the additions; 0 leaves them out, as 0 the others")
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5, help="rounds of 48 processes on each store; 0: none")
    parser.add_argument("--requests", type=int, default=100_000, help="of users, by each framework; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="of the users' requests: other ones in each portion")
    parser.add_argument("--changes", type=int, default=20_000, help="searches and changes by nearness; 0: none")
    parser.add_argument("--questions", type=int, default=2_000, help="whose sizes are measured; 0: none")
    parser.add_argument("--stores", nargs="+", default=["sqlite", "redis-8.2", "mongodb"])
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    options = parser.parse_args()
    if 0 < options.questions < 5 * FIRST_QUESTIONS:
        parser.error(f"--questions: a size needs {5 * FIRST_QUESTIONS} or more; 0 for none")
    tables = []
    there = all((DATA / name).exists() for name in SETS)
    if there and options.rounds:
        with tempfile.TemporaryDirectory() as directory, threadpool_limits(1):
            url = servers.start("redis-8.2").url
            series, claims, count = pipeline(options.rounds, directory, url)
        tables.append(markdown(("what", "median of rounds (spread)", "aim", ""), [claim.row() for claim in claims]))
        rows = [(one.name, f"{one.median:.0f}") for one in series]
        tables.append(markdown((f"among {count:,} texts", "µs here"), rows))
    if there and options.seeds:
        heads = ("search", "added", "margin", "retrievals that stay", "of them outdated")
        tables.append(markdown(heads, nearness(options.seeds)))
    if not there:
        print(f"The pipeline is skipped: {', '.join(SETS)} are not in {DATA}; ASKONCE_DATA names another folder.")
    if options.operations:
        rows = correctness(options.stores, options.operations)
        tables.append(markdown(("churn on", "operations", "searches", "hits", "stale"), rows))
    if options.kills:
        tables.append(markdown(("killed on", "processes", "served wrongly"), killed(options.stores, options.kills)))
    if options.requests:
        heads = ("users on", "answers", "hits", "foreign sources", "missing sources", "served after invalidation")
        tables.append(markdown(heads, sources(options.stores, options.requests, options.seed)))
    if options.changes:
        heads = ("near_margin", "reads", "searches", "of them needless", "stale")
        tables.append(markdown(heads, needless(options.changes)))
    if options.questions:
        heads = ("sizes on", "bytes a question", "bytes a document", "100,000 questions", "times the floor")
        tables.append(markdown(heads, sizes(options.questions, options.stores)))
    report = "\n\n".join(tables) + "\n"
    print("\n" + report)
    if options.markdown:
        options.markdown.write_text(report)


if __name__ == "__main__":
    main()
