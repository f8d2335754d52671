"""``askonce bench``: how fast this store is from here."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Annotated, Any

import typer

from askonce.cli.common import AsJson, Heading, StoreUrl, out, print_json, print_rows, progress
from askonce.cli.opened import NoStoreYet, opened
from askonce.stores import redact
from askonce.stores.base import Record, Store
from askonce.stores.sqlite.file import check_creatable, nearest_folder

SCRATCH = "askonce bench"
_BATCH = 100


def bench(
    rounds: Annotated[int, typer.Option(min=10, max=100_000, help="How many calls of each kind.")] = 300,
    value_bytes: Annotated[int, typer.Option("--bytes", min=1, max=1_000_000, help="The size of a value.")] = 2_000,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Measure the store's latency, in a namespace of its own, which is deleted afterwards: so no --namespace. Where there is no file yet, one that is deleted takes its place, in the same folder."""  # noqa: E501
    namespace, value = SCRATCH, os.urandom(value_bytes)
    keys = [number.to_bytes(32) for number in range(rounds)]
    with _opened(store) as (found, url):
        calls: dict[str, Callable[[bytes], Any]] = {
            "put": lambda key: found.put(namespace, [Record(key, value, time.time() + 600)]),
            "hit": partial(found.get, namespace),
            "miss": lambda key: found.get(namespace, key[:-1] + b"\xff\xff"),
        }
        figures: dict[str, dict[str, float]] = {}
        try:
            with progress("measuring", rounds * len(calls), quiet=as_json) as done:
                for name, call in calls.items():
                    figures[name] = _figures([_milliseconds(call, key, done) for key in keys])
            started = time.perf_counter()
            found.get_many(namespace, keys[:_BATCH])
            figures[f"{min(_BATCH, rounds)} hits at once"] = _figures([1000 * (time.perf_counter() - started)])
        finally:
            found.erase({namespace: None})  # with its name
    if as_json:
        print_json({"store": url, "rounds": rounds, "value_bytes": value_bytes, "milliseconds": figures})
        return
    out.print(f"{url}, {rounds} calls each, values of {value_bytes} bytes", markup=False)
    headings = [Heading("milliseconds", 12), *map(Heading, ("median", "95 %", "99 %", "slowest"))]
    parts = ("median", "p95", "p99", "max")
    print_rows(headings, [[name, *(f"{one[part]:.3f}" for part in parts)] for name, one in figures.items()])


@contextmanager
def _opened(store: str | None) -> Iterator[tuple[Store, str]]:
    """The store, or what takes its place where nothing was stored yet; and what to call it."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(opened(store))
            url = redact(found.url)
        except NoStoreYet as error:
            check_creatable(error.path)
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir=nearest_folder(error.path)))
            found = stack.enter_context(opened(f"sqlite:///{folder}/bench.db", new=True))
            url = f"a new file beside {error.path}"
        yield found, url


def _milliseconds(call: Callable[[bytes], Any], key: bytes, done: Callable[[int], object]) -> float:
    started = time.perf_counter()
    call(key)
    taken = 1000 * (time.perf_counter() - started)
    done(1)
    return taken


def _figures(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    at = {
        name: ordered[min(int(share * len(ordered)), len(ordered) - 1)]
        for name, share in (("p95", 0.95), ("p99", 0.99))
    }
    return {"median": statistics.median(ordered), **at, "max": ordered[-1]}
