"""How long GPTCache's hit takes among many questions: the rival of ``benchmarks.semantic cache``.

    make bench BENCH=gptcache_hit ARGS="[--count 100000] [--data ../shared/data]"

Its way of a hit with faiss and SQLite, as its documentation sets it up; the embeddings are known beforehand. The
file imports nothing of askonce.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    options = parser.parse_args()
    try:
        import faiss
        from gptcache import Cache
        from gptcache.adapter.api import get
        from gptcache.manager import CacheBase, VectorBase, get_data_manager
        from gptcache.processor.pre import get_prompt
        from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation
    except ImportError:
        print("Skipped: gptcache is not installed here; see the top of this file.")
        return
    faiss.omp_set_num_threads(1)  # threads of its own wait for one another on busy cores
    arrays = [np.load(options.data / name) for name in ("banking77.npz", "qqp.npz")]
    vectors = np.concatenate([array["emb"] for array in arrays]).astype(np.float32)
    noise = np.random.default_rng(1)

    def near(place: int) -> Any:
        vector = vectors[place] + noise.normal(0, 0.01, vectors.shape[1]).astype(np.float32)
        return vector / np.linalg.norm(vector)

    with tempfile.TemporaryDirectory() as directory:
        stored = CacheBase("sqlite", sql_url=f"sqlite:///{directory}/cache.db")
        index = VectorBase("faiss", dimension=vectors.shape[1], index_path=f"{directory}/faiss.index")
        manager = get_data_manager(stored, index, max_size=2 * options.count)
        places = [number % len(vectors) for number in range(options.count)]
        for begin in range(0, options.count, 5000):
            some = places[begin : begin + 5000]
            texts = [f"question {begin + number}" for number in range(len(some))]
            manager.import_data(
                texts, ["an answer"] * len(some), [near(place) for place in some], [None] * len(some)
            )
        queries: dict[str, Any] = {
            f"query {number}": near(int(noise.integers(len(vectors)))) for number in range(options.queries)
        }
        cache = Cache()
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda text, **_: queries[text],
            data_manager=manager,
            similarity_evaluation=SearchDistanceEvaluation(),
        )
        times, hits = [], 0
        for text in queries:
            started = time.perf_counter()
            found = get(text, cache_obj=cache)
            times.append(time.perf_counter() - started)
            hits += found is not None
    p50, p99 = np.percentile(np.array(times) * 1e6, [50, 99])
    found_times = f"p50 {p50:.0f} µs, p99 {p99:.0f} µs"
    print(f"GPTCache, {options.count:,} questions: {found_times}; {hits} of {options.queries} hits")


if __name__ == "__main__":
    main()
