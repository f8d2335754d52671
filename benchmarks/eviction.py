"""How well eviction chooses, against libCacheSim and against the offline optimum; and what it costs.

    python -m benchmarks.eviction [--requests 60000] [--short 3000] [--markdown FILE]
    python -m benchmarks.eviction --cost [--entries 1000000] [--stores sqlite redis] [--markdown FILE]

The stores are askonce's own, called as the cache calls them: ``get``, on a hit ``touch``, on a miss ``put`` under a
budget. libCacheSim (Yang et al.) has no costs; its plugin cache keeps the accounts while the rule of GDSF, written
here a second time, names the victims.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from askonce.eviction.policy import UNLIMITED, Budget, Policy
from askonce.simulate.bound import upper_bound
from askonce.simulate.log import Trace
from askonce.stores import Store, open_store
from askonce.stores.base import Record
from askonce.stores.memory import MemoryStore
from askonce.stores.redis.plans import CLUSTER_SHARDS, shard_of
from benchmarks.measure import markdown
from tests.support import servers

PRICES = np.array([[0.15, 0.6], [2.5, 10.0], [15.0, 75.0]])
"""Dollars for a million tokens, read and written, of three models; 60, 30 and 10 % of the answers are theirs."""
SPACE = "benchmark"
STORES = ("memory", "sqlite", "redis-8.2", "mongodb")


@dataclass(frozen=True)
class Load:
    """A trace and a limit.

    Attributes:
        name: of the trace.
        trace: the requests.
        budget_bytes: what the cache may hold.
    """

    name: str
    trace: Trace
    budget_bytes: int


@dataclass(frozen=True)
class Result:
    """Shares of all requests, and of what they cost."""

    hit_ratio: float
    saved: float

    def __str__(self) -> str:
        return f"{self.hit_ratio:.3f} / {self.saved:.3f}"


# -- traces ----------------------------------------------------------------------------------------------------


def _priced(drawn: Any, texts: Any, seed: int) -> Trace:
    """A trace over answers whose lengths and models are drawn; ``texts`` gives the length of a prompt."""
    dice = np.random.default_rng(seed)
    answers = dice.lognormal(5.0, 0.8, len(texts))
    price = PRICES[dice.choice(3, len(texts), p=[0.6, 0.3, 0.1])]
    costs = (texts / 4 * price[:, 0] + answers * price[:, 1]) / 1e6
    sizes = (200 + 4 * answers).astype(np.int64)
    return Trace.of(drawn, sizes[drawn], costs[drawn], np.arange(len(drawn), dtype=float))


def zipf(requests: int) -> Trace:
    dice = np.random.default_rng(7)
    chances = 1 / np.arange(1, 20_001) ** 0.9
    drawn = dice.choice(20_000, requests, p=chances / chances.sum())
    return _priced(dice.permutation(20_000)[drawn], dice.lognormal(5.5, 1.0, 20_000), 7)


def scanned(requests: int) -> Trace:
    """Zipf, with four in ten requests for something that is requested once."""
    dice = np.random.default_rng(9)
    chances = 1 / np.arange(1, 20_001) ** 0.9
    drawn = dice.choice(20_000, requests, p=chances / chances.sum())
    drawn = np.where(dice.random(requests) < 0.4, 20_000 + np.arange(requests), drawn)
    return _priced(drawn, dice.lognormal(5.5, 1.0, 20_000 + requests), 9)


def data_folder() -> Path | None:
    """Where the real traces are."""
    folder = Path(os.environ.get("ASKONCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    return folder if folder.is_dir() else None


def mooncake(folder: Path, requests: int) -> Trace:
    """Prefix blocks of 512 tokens of an hour's conversations; what one costs grows with what stands before it."""
    blocks, costs, times = [], [], []
    with gzip.open(folder / "mooncake_conversation.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            for place, block in enumerate(row["hash_ids"]):
                blocks.append(block)
                costs.append(1.0 + place / 32)
                times.append(row["timestamp"] / 1000)
    return Trace.of(blocks[:requests], [1000] * requests, costs[:requests], times[:requests])


def questions(folder: Path, name: str, requests: int) -> Trace:
    """Real questions in the order of their data set; questions of one class are one request."""
    data = np.load(folder / name, allow_pickle=False)
    lengths = np.array([len(text) for text in data["text"]], float)
    _, labels = np.unique(data["label"], return_inverse=True)
    order = np.random.default_rng(3).permutation(len(labels))[:requests]
    firsts = np.zeros(labels.max() + 1)
    firsts[labels[::-1]] = lengths[::-1]
    return _priced(labels[order], firsts, 3)


def loads(requests: int) -> Iterator[Load]:
    """Every trace, with room for two shares of what is requested."""
    traces = {"Zipf 0.9": zipf(requests), "Zipf 0.9, 40 % one-off requests": scanned(requests)}
    if (folder := data_folder()) is None:
        print("no real traces: ASKONCE_DATA names no folder, and ../shared/data is not there", file=sys.stderr)
    else:
        traces["Mooncake, prefix blocks"] = mooncake(folder, requests)
        traces["QQP, classes of questions"] = questions(folder, "qqp.npz", requests)
        traces["BANKING77, intents"] = questions(folder, "banking77.npz", requests)
    for name, trace in traces.items():
        for share in (0.2, 0.5) if "77" in name else (0.05, 0.2):  # a twentieth of 77 answers is less than one
            yield Load(f"{name}, {share:.0%}", trace, round(share * trace.working_set[1]))


# -- askonce ---------------------------------------------------------------------------------------------------


def through(store: Store, trace: Trace, budget: Budget) -> Result:
    """What a store makes of a trace."""
    store.clear(SPACE)
    hits, saved, seen = 0, 0.0, defaultdict[int, int](int)
    for key, size, cost in zip(trace.keys.tolist(), trace.sizes.tolist(), trace.costs.tolist(), strict=True):
        name = blake2b(key.to_bytes(8, "big"), digest_size=16).digest()
        seen[key] += 1
        if store.get(SPACE, name) is not None:
            hits, saved = hits + 1, saved + cost
            store.touch(SPACE, {name: 1}, budget.policy)
        else:
            weight = budget.policy.weight(cost=cost, size_bytes=size)
            known = seen[key] if budget.selects else 1
            store.put(SPACE, [Record(name, bytes(size), None, weight, (), known)], budget)
    store.clear(SPACE)
    return Result(hits / len(trace), saved / trace.all_cost)


def memory() -> MemoryStore:
    """A store for which a second passes with each call, however quick it is."""
    return MemoryStore(clock=count(1.0).__next__)


class Sharded(MemoryStore):
    """What a cluster decides, without one: a namespace in 64 shards, each with its share of the budget."""

    def __init__(self) -> None:
        super().__init__()
        self.shards = [memory() for _ in range(CLUSTER_SHARDS)]

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self.shards[shard_of(key, CLUSTER_SHARDS)].get(namespace, key)

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        for key, times in hits.items():
            self.shards[shard_of(key, CLUSTER_SHARDS)].touch(namespace, {key: times}, policy)

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        share = budget.share(CLUSTER_SHARDS)
        return sum(self.shards[shard_of(one.key, CLUSTER_SHARDS)].put(namespace, [one], share) for one in records)

    def clear(self, namespace: str) -> None:
        for shard in self.shards:
            shard.clear(namespace)


@contextmanager
def opened(name: str) -> Iterator[Store]:
    """A store of each kind, over a server that runs for this alone."""
    if name in ("memory", "64 shards"):
        yield memory() if name == "memory" else Sharded()
        return
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/cache.db" if name == "sqlite" else servers.start(name).url  # type: ignore[arg-type]
        store = open_store(url, timeout_seconds=30)
        store.check()
        yield store
        store.close()


# -- libCacheSim -----------------------------------------------------------------------------------------------


class PlainGDSF:
    """Cherkasova's rule with costs, from the paper, for libCacheSim's plugin cache."""

    def __init__(self, costs: dict[int, float]) -> None:
        self.costs = costs
        self.frequency: dict[int, int] = {}
        self.value: dict[int, float] = {}
        self.heap: list[tuple[float, int]] = []
        self.clock = 0.0

    def value_of(self, request: Any) -> None:
        name = request.obj_id
        self.value[name] = self.clock + self.frequency[name] * self.costs[name] / request.obj_size
        heapq.heappush(self.heap, (self.value[name], name))

    def hit(self, request: Any) -> None:
        self.frequency[request.obj_id] += 1
        self.value_of(request)

    def miss(self, request: Any) -> None:
        self.frequency[request.obj_id] = 1
        self.value_of(request)

    def victim(self, _: Any) -> int:
        while True:
            value, name = heapq.heappop(self.heap)
            if self.value.get(name) == value:
                self.clock = value
                return name

    def remove(self, name: int) -> None:
        self.value.pop(name, None)
        self.frequency.pop(name, None)


def simulated(algorithm: str, load: Load) -> Result:
    """What libCacheSim makes of a trace."""
    import libcachesim

    trace = load.trace
    if algorithm == "GDSF with costs":
        rule = PlainGDSF(
            {key + 1: cost for key, cost in zip(trace.keys.tolist(), trace.costs.tolist(), strict=True)}
        )
        cache: Any = libcachesim.PluginCache(
            load.budget_bytes,
            lambda _: rule,
            lambda data, request: data.hit(request),
            lambda data, request: data.miss(request),
            lambda data, request: data.victim(request),
            lambda data, name: data.remove(name),
            lambda data: None,
            hashpower=16,
        )
    else:
        cache = getattr(libcachesim, algorithm)(load.budget_bytes, hashpower=16)
    hits, saved = 0, 0.0
    request = libcachesim.Request()
    for key, size, cost in zip(trace.keys.tolist(), trace.sizes.tolist(), trace.costs.tolist(), strict=True):
        request.obj_id, request.obj_size = key + 1, size
        if cache.get(request):
            hits, saved = hits + 1, saved + cost
    return Result(hits / len(trace), saved / trace.all_cost)


# -- tables ----------------------------------------------------------------------------------------------------


def optimum(load: Load) -> Result:
    """What no cache exceeds."""
    trace, ones = load.trace, np.ones(len(load.trace))
    hits = upper_bound(trace.keys, trace.sizes, ones, load.budget_bytes)
    saved = upper_bound(trace.keys, trace.sizes, trace.costs, load.budget_bytes)
    return Result(hits / len(trace), saved / trace.all_cost)


def compared(requests: int) -> str:
    """Our policies beside libCacheSim's, others that know no costs, and the bound."""
    agreement, others, lost = [], [], []
    for load in loads(requests):
        ours, theirs = {}, {}
        for policy, algorithm in ((Policy.GDSF, "GDSF with costs"), (Policy.LRU, "LRU"), (Policy.LFU, "LFU")):
            ours[policy] = through(memory(), load.trace, Budget(load.budget_bytes, None, policy))
            theirs[policy] = simulated(algorithm, load)
        off = max(
            abs(mine / other - 1)
            for policy in ours
            for mine, other in (
                (ours[policy].hit_ratio, theirs[policy].hit_ratio),
                (ours[policy].saved, theirs[policy].saved),
            )
        )
        agreement.append([load.name, *(f"{ours[policy]} ({theirs[policy]})" for policy in ours), f"{off:.2%}"])
        worth = through(memory(), load.trace, Budget(load.budget_bytes, None, Policy.GDSF, "cost"))
        bound = optimum(load)
        more = [simulated(algorithm, load) for algorithm in ("Sieve", "S3FIFO", "WTinyLFU")]
        shards = through(Sharded(), load.trace, Budget(load.budget_bytes, None, Policy.GDSF))
        lost.append(
            [load.name, str(ours[Policy.GDSF]), str(shards), f"{shards.saved - ours[Policy.GDSF].saved:+.3f}"]
        )
        distance = (bound.saved - max(ours[Policy.GDSF].saved, worth.saved)) / bound.saved
        others.append([load.name, *map(str, (ours[Policy.GDSF], worth, *more, bound)), f"{distance:.1%}"])
        print(".", end="", file=sys.stderr, flush=True)
    heads = ("trace, room", "GDSF", "LRU", "LFU", "largest difference")
    more_heads = ("trace, room", "GDSF", "GDSF, worth", "SIEVE", "S3-FIFO", "W-TinyLFU", "bound", "saved below it")
    return (
        f"Hit ratio / share of costs saved; in brackets libCacheSim's.\n\n{markdown(heads, agreement)}\n\n"
        f"Beside policies that know no costs, and what no cache exceeds:\n\n{markdown(more_heads, others)}\n\n"
        f"On a Redis Cluster, where each of {CLUSTER_SHARDS} shards evicts by itself:\n\n"
        + markdown(("trace, room", "GDSF", "in shards", "share saved"), lost)
    )


def in_every_store(requests: int) -> str:
    """The same short trace through all stores, and through a cluster, which evicts within shards."""
    trace = zipf(requests)
    budget_bytes = round(0.25 * trace.working_set[1])
    rows: dict[str, list[str]] = {}
    for policy in (Policy.GDSF, Policy.LRU, Policy.LFU):
        load = Load("", trace, budget_bytes)
        other = simulated("GDSF with costs" if policy is Policy.GDSF else policy.name, load)
        rows.setdefault("libCacheSim", []).append(str(other))
    for name in (*STORES, "64 shards", "redis-cluster"):
        if name.startswith(("redis", "mongodb")) and (reason := servers.available(name)):  # type: ignore[arg-type]
            print(f"{name} is left out: {reason}", file=sys.stderr)
            continue
        with opened(name) as store:
            for policy in (Policy.GDSF, Policy.LRU, Policy.LFU):
                rows.setdefault(name, []).append(str(through(store, trace, Budget(budget_bytes, None, policy))))
        print(".", end="", file=sys.stderr, flush=True)
    table = markdown(("store", "GDSF", "LRU", "LFU"), [[name, *cells] for name, cells in rows.items()])
    return f"{requests:,} requests, Zipf 0.9, room for a quarter:\n\n{table}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--short", type=int, default=3_000, help="requests through every store; 0 for none")
    parser.add_argument("--cost", action="store_true", help="measure what a put costs")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "redis-8.2"])
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    if args.cost:
        from benchmarks.puts import measured

        text = measured(args.stores, args.entries)
    else:
        text = f"{compared(args.requests)}\n"
        if args.short:
            text += f"\n{in_every_store(args.short)}\n"
    print(text)
    if args.markdown:
        args.markdown.write_text(text)


if __name__ == "__main__":
    main()
