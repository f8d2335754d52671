"""Every cell of the tables, for one instance of each experiment."""

from __future__ import annotations

import numpy as np

from askonce.eviction.policy import Policy
from benchmarks.paper import caching
from benchmarks.paper.published import ROWS, Row
from benchmarks.paper.requests import figure, workload

OPTIMISTIC = "LEC selector, optimistic"


def cells(row: Row, seed: int) -> dict[str, float]:
    """Every cell of a row, for one instance, in thousands."""
    load = workload(row, seed)
    found: dict[str, float] = {}
    if row.mode == "offline":
        right = np.random.default_rng([seed, 1]).random(len(load.queries)) < row.accuracy
        least, most = np.minimum(load.small, load.large), np.maximum(load.small, load.large)
        paid = {"large": load.large, "small first": load.small, "selector": np.where(right, least, most)}
        estimated = {"large": load.large, "small first": load.small, "selector": least}
        for policy in (Policy.LFU, Policy.LEC):
            for model in paid:
                hit = caching.offline(load, policy, estimated[model])
                found[f"{policy.name} {model}"] = float(paid[model][~hit].sum())
    else:
        # Under LFU costs decide nothing, so that all three columns have the same misses.
        found["LFU selector"], missed = caching.online(load, Policy.LFU, "selector")
        found["LFU large"], found["LFU small first"] = (
            float(cost[missed].sum()) for cost in (load.large, load.small)
        )
        found["LEC large"], _ = caching.online(load, Policy.LEC, "large")
        found["LEC small first"], _ = caching.online(load, Policy.LEC, "small")
        found["LEC selector"], _ = caching.online(load, Policy.LEC, "selector")
        if load.reports_both:
            found[OPTIMISTIC], _ = caching.online(load, Policy.LEC, "optimistic")
    return {name: cost / 1000 for name, cost in found.items()}


def figure_cells(seed: int) -> dict[str, float]:
    """The second synthetic experiment."""
    load, frequencies, least = figure(seed)
    found = {}
    _, missed = caching.online(load, Policy.LFU, "large")
    found["LFU small"], found["LFU large"] = float(load.small[missed].sum()), float(load.large[missed].sum())
    found["LEC selector"], _ = caching.online(load, Policy.LEC, "optimistic")
    found["optimum"] = float(np.sort(frequencies * least)[: -load.capacity].sum() * len(load.queries))
    return {name: cost / 1000 for name, cost in found.items()}


def instance(seed: int) -> list[dict[str, float]]:
    """All rows, and the figure, for one seed."""
    return [*(cells(row, seed) for row in ROWS), figure_cells(seed)]
