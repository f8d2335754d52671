"""A semantic hit's way: through a `Cache` over SQLite, and a decision among many indexed questions."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import numpy as np

from askonce import Cache, Semantic
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.index.index import Index
from askonce.semantic.types import Comparison, IndexedQuery
from benchmarks import streams

REQUESTS = 3000
Row = tuple[str, ...]


def in_a_cache(count: int) -> list[Row]:
    """Times of a decision among ``count`` indexed questions, and of requests of a stream through a cache."""
    return [*among(count), *through(min(count, REQUESTS))]


def among(count: int) -> list[Row]:
    """Search in one partition of ``count`` questions, and the decision; the data sets repeat, with noise."""
    texts = streams.banking().texts + streams.quora().texts
    vectors = np.concatenate([streams.banking().vectors, streams.quora().vectors])
    noise = np.random.default_rng(1)
    index, rule = Index(), DecisionRule(0.01)
    for number in range(count):
        place = number % len(texts)
        vector = vectors[place] + noise.normal(0, 0.01, vectors.shape[1]).astype(np.float32)
        key = number.to_bytes(32, "big")
        indexed = IndexedQuery(key, (number // 3).to_bytes(32, "big"), "", bytes(16), texts[place])
        index.add(indexed, vector / np.linalg.norm(vector))
    chance = random.Random(2)
    searching, deciding, both = [], [], []
    for number in range(2000):
        place = chance.randrange(len(texts))
        vector = vectors[place] + noise.normal(0, 0.01, vectors.shape[1]).astype(np.float32)
        vector /= np.linalg.norm(vector)
        started = time.perf_counter()
        neighbours = index.search(bytes(16), vector, 10)
        found = time.perf_counter()
        decision = rule.decide(texts[place], neighbours, chance.random())
        decided = time.perf_counter()
        searching.append(found - started)
        deciding.append(decided - found)
        both.append(decided - started)
        if decision.query is not None and decision.action != "serve":
            rule.learn(decision, number % 10 > 0)
    return [
        (f"{what}, {count:,} questions indexed", *(f"{np.percentile(times, part) * 1e6:.0f}" for part in (50, 99)))
        for what, times in (("search", searching), ("the rule", deciding), ("search and rule", both))
    ]


def through(count: int) -> list[Row]:
    """BANKING77 through a cache, each answer learned from in the background; the model answers at once."""
    stream = streams.stream("banking", 1)
    pool = stream.pool
    vectors, label_of = (
        dict(zip(pool.texts, pool.vectors, strict=True)),
        dict(zip(pool.texts, pool.labels, strict=True)),
    )
    requests = [pool.texts[place] for place in stream.order[:count]]

    def form(text: str) -> NormalForm:
        messages = [{"role": "user", "content": text}]
        return NormalForm({"version": 1, "kind": "chat", "model": {"model": "small"}, "messages": messages})

    def equal(comparison: Comparison) -> bool:
        return comparison.fresh_answer == comparison.cached_answer

    def model(text: str) -> str:
        return f"The answer to questions of kind {label_of[text]}."

    times: dict[str, list[float]] = {"a semantic hit": [], "a request that the model answers at once": []}
    wrong = 0
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'cache.db'}"
        semantic = Semantic(vectors.__getitem__, max_error=0.02, judge=equal, model="all-MiniLM-L6-v2")
        with Cache(url, semantic=semantic) as cache:
            before = time.process_time()
            for text in requests:
                request = cache.engine.request("answer", lambda text=text: form(text), semantic=True)
                started = time.perf_counter()
                found = cache.engine.answer(request, lambda text=text: model(text), pack)
                took = time.perf_counter() - started
                if isinstance(found, Hit) and found.kind == "semantic":
                    times["a semantic hit"].append(took)
                    wrong += found.entry.payload.decode() != model(text)
                else:
                    times["a request that the model answers at once"].append(took)
                cache.flush()
            spent = (time.process_time() - before) / count
            stats = cache.stats().semantic
    hits = len(times["a semantic hit"])
    rows = [
        (what, *(f"{np.percentile(some, part) * 1e6:.0f}" for part in (50, 99)))
        for what, some in times.items()
        if some
    ]
    assert stats is not None
    what = f"CPU of a request with learning and storing, mean; hits {hits / count:.3f}, wrong {wrong / count:.2%}"
    return [*rows, (what, f"{spent * 1e6:.0f}", "")]


def pack(text: str) -> Answer:
    return Answer(text.encode(), answer_text=text)
