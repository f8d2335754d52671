"""The index of known questions: how fast it finds, adds, saves and loads, what it misses, and what it takes.

    python -m benchmarks.semantic_index [--questions 100000]

The questions are real ones (``ASKONCE_DATA`` or ``../shared/data``: banking77.npz and qqp.npz, 36,248 vectors of
MiniLM with 384 dimensions), of which more are made: one question, 0.5 of another and 0.2 of noise. Those lie less
densely than real ones and are harder to find, so the recall among real ones alone is printed too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from askonce.entries.codec import Codec
from askonce.semantic.index import file as index_file
from askonce.semantic.index.index import Index
from askonce.semantic.index.vectors import Vectors
from askonce.semantic.types import IndexedQuery
from benchmarks.measure import Claim, Ratio, markdown

ROUNDS, SEARCHES = 10, 500
BIG = bytes(16)


def real_questions() -> np.ndarray:
    """Unit vectors, float32, in a random order."""
    folder = Path(os.environ.get("ASKONCE_DATA", "../shared/data"))
    files = [folder / "banking77.npz", folder / "qqp.npz"]
    if missing := [str(file) for file in files if not file.exists()]:
        sys.exit(f"Not measured: {' and '.join(missing)} not there. Set ASKONCE_DATA to the directory of the data.")
    real = np.concatenate([np.load(file)["emb"] for file in files]).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    return np.random.default_rng(0).permutation(real)


def questions(count: int) -> np.ndarray:
    """Unit vectors, float32."""
    real, chance = real_questions(), np.random.default_rng(0)
    made = np.empty((count, real.shape[1]), np.float32)
    for start in range(0, count, 10_000):
        some = made[start : start + 10_000]
        first, second = (real[chance.integers(0, len(real), len(some))] for _ in range(2))
        some[:] = first + 0.5 * second + 0.2 / real.shape[1] ** 0.5 * chance.normal(size=some.shape)
        some /= np.linalg.norm(some, axis=1, keepdims=True)
    return made


def known(number: int, partition: bytes = BIG) -> IndexedQuery:
    key = number.to_bytes(4) * 8
    return IndexedQuery(key, key, "default", partition, f"What is the answer to the question with number {number}?")


def timed(call: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """Milliseconds of this thread: what other programs take of a shared machine is not ours."""
    started = clock()
    call()
    return (clock() - started) * 1000


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def spread(values: list[float], digits: int = 3) -> str:
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def searches(
    index: Index,
    queries: np.ndarray,
    partitions: list[bytes] | None = None,
    clock: Callable[[], float] = time.thread_time,
) -> tuple[Ratio, Ratio]:
    """The rounds' medians and 99th percentiles, in milliseconds."""
    middle, high = [], []
    for number in range(ROUNDS):
        times = []
        for place in range(number * SEARCHES, (number + 1) * SEARCHES):
            name = partitions[place % len(partitions)] if partitions else BIG
            times.append(
                timed(lambda name=name, place=place: index.search(name, queries[place % len(queries)], now=0.0))
            )
        middle.append(float(np.median(times)))
        high.append(float(np.quantile(times, 0.99)))
    return Ratio(middle), Ratio(high)


def recall(index: Index, rows: np.ndarray, first: int, queries: np.ndarray) -> tuple[float, float]:
    """The shares of the nearest ten, and of the nearest, that are found; the rows are numbered from ``first``."""
    ten = one = 0
    for query in queries:
        cosines = rows @ query
        nearest = np.argpartition(-cosines, 10)[:10]
        best = [int.from_bytes(each.query.key[:4]) - first for each in index.search(BIG, query, now=0.0)]
        ten += len(set(best) & set(nearest.tolist()))
        one += best[0] == int(nearest[np.argmax(cosines[nearest])])
    return ten / 10 / len(queries), one / len(queries)


def large(count: int) -> tuple[list[Claim], list[tuple[str, str]]]:
    """One partition of many questions."""
    vectors = questions(count + ROUNDS * SEARCHES)
    rows, queries = vectors[:count], vectors[count:]
    index, before = Index(), resident_bytes()
    adds = [timed(lambda number=number: index.add(known(number), rows[number])) for number in range(count)]
    taken = resident_bytes() - before
    parts = [float(np.mean(part)) for part in np.array_split(adds, ROUNDS)]
    middle, high = searches(index, queries)
    wall_middle, wall_high = searches(index, queries, clock=time.perf_counter)
    ten, one = recall(index, rows, 0, queries[:1000])
    with tempfile.TemporaryDirectory() as folder:
        path, codec, sealed = Path(folder) / "index", Codec(), Codec([bytes(32)])
        saves = [timed(lambda: index_file.save(index, path, name="", position=0, codec=codec)) for _ in range(3)]
        size = path.stat().st_size
        again = Index()
        loads = [timed(lambda: index_file.load(again, path, name="", codec=codec)) for _ in range(3)]
        assert len(again) == count
        loaded_ten, _ = recall(again, rows, 0, queries[:1000])
        index_file.save(index, path, name="", position=0, codec=sealed)
        opens = [timed(lambda: index_file.load(Index(), path, name="", codec=sealed)) for _ in range(3)]
    return [
        Claim(f"search among {count:,}, p50, ms", middle, 0.4),
        Claim(f"search among {count:,}, p99, ms", high, 1.5),
        Claim("recall@10 of the graph against all", Ratio([ten]), 0.95, at_least=True),
        Claim("add, mean of each tenth of them, ms", Ratio(parts), 0.7),
        Claim("building ÷ loading", Ratio([sum(adds) / load for load in loads]), 20, at_least=True),
    ], [
        ("search by the clock on the wall, ms: p50, p99", f"{wall_middle}, {wall_high}"),
        ("recall@1", f"{one:.4f}"),
        ("recall@10 after loading", f"{loaded_ten:.4f}"),
        (
            "add, ms: p50, p99, p99.9, longest",
            " / ".join(f"{np.quantile(adds, q):.2f}" for q in (0.5, 0.99, 0.999, 1)),
        ),
        ("memory of a question, bytes", f"{taken / count:.0f}"),
        ("file, bytes of a question", f"{size / count:.0f}"),
        ("save, ms", spread(saves, 0)),
        ("load, ms", spread(loads, 0)),
        ("load when sealed, ms", spread(opens, 0)),
        *churned(index, vectors, count, queries),
    ]


def real() -> tuple[list[Claim], list[tuple[str, str]]]:
    """One partition of all real questions but the queries."""
    vectors = real_questions()
    queries, rows = vectors[:1000], vectors[1000:]
    index = Index()
    for number, row in enumerate(rows):
        index.add(known(number), row)
    ten, one = recall(index, rows, 0, queries)
    middle, high = searches(index, queries)
    return [Claim(f"recall@10 among {len(rows):,} real questions", Ratio([ten]), 0.95, at_least=True)], [
        ("recall@1 among real questions", f"{one:.4f}"),
        ("search among them, ms: p50, p99", f"{middle}, {high}"),
    ]


def churned(index: Index, vectors: np.ndarray, count: int, queries: np.ndarray) -> list[tuple[str, str]]:
    """Half of the questions leave and as many others come."""
    half = count // 2
    new = questions(half + 1)[:half] + 0.3 * vectors[:half]
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    removes, adds = [], []
    for number in range(half):
        removes.append(timed(lambda number=number: index.remove([known(number).key])))
        adds.append(timed(lambda number=number: index.add(known(count + number), new[number])))
    rows = np.concatenate([vectors[half:count], new])
    middle, high = searches(index, queries)
    ten, _ = recall(index, rows, half, queries[:1000])
    return [
        ("after half were replaced: recall@10", f"{ten:.4f}"),
        ("… search, ms: p50, p99", f"{middle}, {high}"),
        ("… remove and add, mean ms", f"{np.mean(removes):.3f}, {np.mean(adds):.3f}"),
    ]


def small(count: int) -> list[tuple[str, str]]:
    """Many partitions of one to three questions."""
    rows = questions(count)
    partitions = [(number % (count // 2)).to_bytes(16) for number in range(count)]
    index, before = Index(), resident_bytes()
    adds = [
        timed(lambda number=number: index.add(known(number, partitions[number]), rows[number]))
        for number in range(count)
    ]
    taken = resident_bytes() - before
    middle, high = searches(index, rows[: ROUNDS * SEARCHES], partitions)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        save = timed(lambda: index_file.save(index, path, name="", position=0, codec=Codec()))
        load = timed(lambda: index_file.load(Index(), path, name="", codec=Codec()))
    return [
        (f"{count:,} questions in {count // 2:,} partitions: memory of a question, bytes", f"{taken / count:.0f}"),
        ("… search, ms: p50, p99", f"{middle}, {high}"),
        ("… add, mean ms", f"{np.mean(adds):.4f}"),
        ("… save, load, ms", f"{save:.0f}, {load:.0f}"),
    ]


def thresholds() -> list[tuple[str, str]]:
    """Comparing all in a graph, over searching it: where the one becomes slower."""
    rows, table = questions(16_000), []
    for count in (1000, 2000, 4000, 8000, 16_000):
        subjects = [Vectors(384, exact=0), Vectors(384, exact=10**9)]
        for subject in subjects:
            for number in range(count):
                subject.put(number, rows[number])
        ratios = []
        for _ in range(5):
            searched, compared = (
                np.median([timed(lambda row=row, s=subject: s.nearest(row, 10, bool_of)) for row in rows[:200]])
                for subject in subjects
            )
            ratios.append(float(compared / searched))
        table.append((f"comparing all ÷ searching the graph, {count:,}", str(Ratio(ratios))))
    return table


def bool_of(_: int) -> bool:
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100_000)
    count = parser.parse_args().questions
    of_small = small(count // 5)  # first: what freed memory is used again is not seen
    claims, rows = large(count)
    of_real, more = real()
    claims, rows = claims + of_real, rows + more
    print(markdown(("claim", "measured", "limit", ""), [claim.row() for claim in claims]))
    print()
    print(markdown(("", "measured"), [*rows, *of_small, *thresholds()]))


if __name__ == "__main__":
    main()
