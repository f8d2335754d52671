"""Random questions, additions, updates and deletions by several processes, checked against the documents.

The documents are rows of a SQLite file that keeps its history: each write makes a new version, so that what a
search would have found at any version can be computed afterwards. A search through the cache must find what some
version between its begin and its end gives; begin means the newest version whose change was announced by then.
"""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from askonce import Cache, Corpus
from askonce.langchain import CachedRetriever

FEATURES = 6
TOP = 3
QUESTIONS = [f"question {number}" for number in range(40)]
SPAWN = multiprocessing.get_context("spawn")


class Documents:
    """The documents and their history."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path, isolation_level=None, timeout=60)
        self._file.executescript(
            """
            PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
            CREATE TABLE IF NOT EXISTS versions (name TEXT PRIMARY KEY, number INTEGER);
            INSERT OR IGNORE INTO versions VALUES ('written', 0), ('announced', 0);
            CREATE TABLE IF NOT EXISTS documents (id TEXT, features BLOB, since INTEGER, until INTEGER);
            CREATE INDEX IF NOT EXISTS living ON documents (until, since);
            CREATE INDEX IF NOT EXISTS by_id ON documents (id, until);
            """
        )

    def version(self, name: str) -> int:
        number: int = self._file.execute("SELECT number FROM versions WHERE name = ?", (name,)).fetchone()[0]
        return number

    def write(self, one: str, features: bytes | None) -> int:
        """Replace a document, or delete it; returns the new version."""
        self._file.execute("BEGIN IMMEDIATE")
        version = self.version("written") + 1
        self._file.execute("UPDATE documents SET until = ? WHERE id = ? AND until = 1 << 60", (version, one))
        if features is not None:
            self._file.execute("INSERT INTO documents VALUES (?, ?, ?, 1 << 60)", (one, features, version))
        self._file.execute("UPDATE versions SET number = ? WHERE name = 'written'", (version,))
        self._file.execute("COMMIT")
        return version

    def announce(self, version: int) -> None:
        self._file.execute("UPDATE versions SET number = max(number, ?) WHERE name = 'announced'", (version,))

    def search(self, question: str, version: int | None = None) -> list[tuple[str, str]]:
        """The best documents, now or as of a version: id and content."""
        weights = random.Random(question).choices(range(10), k=FEATURES)
        at = 1 << 59 if version is None else version
        rows = self._file.execute(
            "SELECT id, features, since FROM documents WHERE until > ? AND since <= ?", (at, at)
        ).fetchall()
        ranked = sorted(rows, key=lambda row: (-sum(w * f for w, f in zip(weights, row[1], strict=True)), row[0]))
        return [(one, f"{one} of {since}") for one, _, since in ranked[:TOP]]

    def ids(self) -> list[str]:
        return [row[0] for row in self._file.execute("SELECT id FROM documents WHERE until = 1 << 60")]

    def close(self) -> None:
        self._file.close()


class Searching(BaseRetriever):
    """A retriever over the documents."""

    documents: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [Document(id=one, page_content=text) for one, text in self.documents.search(query)]


@dataclass
class Outcome:
    """What one or more processes saw."""

    operations: int = 0
    searches: int = 0
    hits: int = 0
    stale: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def churn(url: str, path: str, seed: int, operations: int, writes: float) -> Outcome:
    """Do random operations, a share of ``writes`` of them changes; as one of several processes."""
    documents, chance, outcome = Documents(path), random.Random(seed), Outcome()
    with Cache(url, namespace="churn", timeout_seconds=30, lease_seconds=5) as cache:
        corpus = Corpus(cache, name="churn")
        retriever = CachedRetriever(retriever=Searching(documents=documents), corpus=corpus, name="churn")
        for _ in range(operations):
            outcome.operations += 1
            if chance.random() >= writes:
                question = chance.choice(QUESTIONS)
                begin = documents.version("announced")
                found = [(document.id, document.page_content) for document in retriever.invoke(question)]
                end = documents.version("written")
                outcome.searches += 1
                outcome.stale += not any(
                    documents.search(question, version) == found for version in range(begin, end + 1)
                )
            else:
                _change(documents, corpus, chance)
        outcome.hits = cache.stats().hits
    documents.close()
    return outcome


def _change(documents: Documents, corpus: Corpus, chance: random.Random) -> None:
    ids = documents.ids()
    kind = chance.random()
    if len(ids) < 20 or (kind < 0.25 and len(ids) < 60):
        version = documents.write(f"d{chance.randrange(10**9)}", _features(chance))
        corpus.added()
    elif kind < 0.55:
        one = chance.choice(ids)
        version = documents.write(one, _features(chance))
        corpus.changed([one])
        corpus.added()
    else:
        one = chance.choice(ids)
        version = documents.write(one, None)
        corpus.changed([one])
    documents.announce(version)


def _features(chance: random.Random) -> bytes:
    return bytes(chance.randrange(100) for _ in range(FEATURES))


def run(url: str, directory: Path, *, processes: int, operations: int, writes: float, seed: int = 0) -> Outcome:
    """Let several processes work at once; ``operations`` is for all together."""
    path = str(directory / "documents.db")
    documents, chance = Documents(path), random.Random(seed)
    for number in range(40):
        documents.announce(documents.write(f"d{number}", _features(chance)))
    documents.close()
    each = operations // processes
    with ProcessPoolExecutor(processes, SPAWN) as pool:
        seeds = range(seed + 1, seed + processes + 1)
        works = [pool.submit(churn, url, path, one, each, writes) for one in seeds]
        return sum((one.result() for one in works), Outcome())
