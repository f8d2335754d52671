"""What a put costs on a full cache, against one on an empty cache: ``benchmarks.eviction --cost``."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from tempfile import TemporaryDirectory

from askonce.eviction.policy import Budget
from askonce.stores import Store, open_store
from askonce.stores.base import Record
from benchmarks.measure import Claim, Series, markdown
from tests.support import servers

ROUNDS, SAMPLE = 9, 400
VALUE_BYTES = 1_000
LIMIT = 1.5


def records(count: int, dice: random.Random) -> list[Record]:
    return [Record(dice.randbytes(32), dice.randbytes(VALUE_BYTES), None, dice.random()) for _ in range(count)]


def fill(store: Store, space: str, entries: int, dice: random.Random) -> None:
    for start in range(0, entries, 500):
        store.put(space, records(min(500, entries - start), dice))


def puts(store: Store, space: str, budget: Budget, dice: random.Random) -> list[Callable[[], object]]:
    return [partial(store.put, space, [record], budget) for record in records(SAMPLE, dice)]


def in_turns(subjects: Sequence[Sequence[Callable[[], object]]]) -> list[list[float]]:
    """How long each call of each subject takes, in microseconds; the first of each, then the second, and so on."""
    clock = time.perf_counter_ns
    times: list[list[float]] = [[] for _ in subjects]
    gc.collect()
    gc.disable()
    try:
        for calls in zip(*subjects, strict=True):
            for call, taken in zip(calls, times, strict=True):
                started = clock()
                call()
                taken.append((clock() - started) / 1000)
    finally:
        gc.enable()
    return times


def of_store(name: str, entries: int) -> tuple[list[str], Claim]:
    """Puts into an empty cache, into one of so many entries that is not full, and into one that is, in turns."""
    dice = random.Random(1)
    limit, no_limit = Budget(max_entries=entries), Budget(max_entries=10 * entries)
    with TemporaryDirectory() as folder:
        if name == "sqlite":
            urls = [f"sqlite:///{folder}/{part}.db" for part in ("empty", "large")]
        else:
            urls = [servers.start(name).url] * 2  # type: ignore[arg-type]
        empty, large = (open_store(url, timeout_seconds=60) for url in urls)
        fill(large, "large", entries, dice)
        series = {part: Series(part) for part in ("empty", "not full", "full")}
        means: dict[str, list[float]] = {part: [] for part in series}
        for _ in range(ROUNDS):
            empty.clear("empty")
            empty.put("empty", records(1, dice))
            large.evict("large", limit)
            calls = {
                "empty": puts(empty, "empty", limit, dice),
                "full": puts(large, "large", limit, dice),
                "not full": puts(large, "large", no_limit, dice),
            }
            # The two that are compared take turns put by put; what is not full would fill up meanwhile.
            for parts in (("empty", "full"), ("not full",)):
                times = in_turns([calls[part] for part in parts])
                for part, taken in zip(parts, times, strict=True):
                    series[part].rounds.append(statistics.median(taken))
                    means[part].append(statistics.mean(taken))
        for store, space in ((empty, "empty"), (large, "large")):
            if name != "sqlite":
                store.clear(space)
            store.close()
    claim = Claim(f"{name}: full / empty", series["full"].over(series["empty"]), LIMIT)
    row = [
        name,
        *(f"{series[part].median:.0f} µs" for part in series),
        str(series["full"].over(series["empty"])),
        str(series["full"].over(series["not full"])),
        " / ".join(f"{sorted(means[part])[ROUNDS // 2]:.0f}" for part in series),
    ]
    return row, claim


def measured(names: Sequence[str], entries: int) -> str:
    """The table."""
    found = [of_store(name, entries) for name in names]
    heads = ("store", "empty", "not full", "full", "full / empty", "full / not full", "means, µs")
    return (
        f"One put of {VALUE_BYTES} bytes with {entries:,} entries: medians of {ROUNDS} rounds of {SAMPLE}, ratios "
        f"with their spread over the rounds.\n\n{markdown(heads, [row for row, _ in found])}\n\n"
        + markdown(("claim", "measured", "limit", ""), [claim.row() for _, claim in found])
    )
