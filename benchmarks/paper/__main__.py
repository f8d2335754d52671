"""Runs the experiments, and prints every cell beside the published one.

python -m benchmarks.paper [--seeds 100] [--processes 2] [--markdown FILE] [--plot FILE]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import markdown
from benchmarks.paper import published
from benchmarks.paper.experiments import OPTIMISTIC, instance
from benchmarks.paper.published import COLUMNS, ROWS
from benchmarks.paper.requests import passage_lengths

COLOURS = ("#bbbbbb", "#888888", "#555555", "#f4b183", "#e07b39", "#00695c")
Cells = dict[str, npt.NDArray[np.float64]]


def spread(ours: npt.NDArray[np.float64]) -> str:
    return f"{ours.mean():.2f} ± {ours.std(ddof=1):.2f}" if len(ours) > 1 else f"{ours.mean():.2f}"


def cell(ours: npt.NDArray[np.float64], theirs: float) -> str:
    """Published → ours, marked when the published figure lies beyond two of the spreads between instances."""
    far = len(ours) > 1 and abs(theirs - ours.mean()) > 2 * ours.std(ddof=1)
    return f"{theirs:.2f} → {spread(ours)}" + (" **!**" if far else "")


def tables(found: list[Cells]) -> str:
    """Every cell: published, then mean and standard deviation over the seeds."""
    parts = []
    for table in dict.fromkeys(row.table for row in ROWS):
        lines = []
        for row, mine in zip(ROWS, found, strict=False):
            if row.table == table:
                lines.append([row.name, *(cell(mine[name], row.costs[at]) for at, name in enumerate(COLUMNS))])
        parts.append(f"*{table}*\n\n" + markdown(("", *COLUMNS), lines))
    mine = found[-1]
    lines = [[name, f"{theirs:.2f}", spread(mine[name])] for name, theirs in published.FIGURE.items()]
    parts.append("*Second synthetic experiment*\n\n" + markdown(("", "published", "here"), lines))
    lines = [
        [row.name, spread(mine["LEC selector"]), spread(mine[OPTIMISTIC])]
        for row, mine in zip(ROWS, found, strict=False)
        if OPTIMISTIC in mine
    ]
    heads = ("LEC selector", "both costs, means", "the cost of its call, optimistic")
    parts.append("*What the learner receives*\n\n" + markdown(heads, lines))
    return "\n\n".join(parts)


def headlines(found: list[Cells]) -> str:
    """The ratios of the abstract: of means, and of single instances."""
    lines = []
    for row, mine in [*zip(ROWS, found, strict=False), (None, found[-1])]:
        worst, best = (mine["LFU large"], mine["LEC selector"])
        ratios = worst / best
        name, theirs = "second synthetic", published.FIGURE["LFU large"] / published.FIGURE["LEC selector"]
        if row is not None:
            if row.ratio == 1.5:
                continue
            name, theirs = f"{row.table}, {row.name}", row.costs[0] / row.costs[-1]
        low, high = np.quantile(ratios, [0.05, 0.95])
        lines.append(
            [
                *(name, f"{theirs:.1f}", f"{worst.mean() / best.mean():.1f}", f"{np.median(ratios):.1f}"),
                *(f"{low:.1f}–{high:.1f}", f"{(ratios >= 50).mean():.0%}"),
            ]
        )
    heads = ("LFU large / LEC selector", "published", "ratio of means", "median instance", "5–95 %", "≥ 50")
    return markdown(heads, lines)


def draw(found: list[Cells], path: Path) -> None:
    """Published and measured cells side by side."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    picture = Figure(figsize=(11, 3.8), layout="constrained")
    for axes, table in zip(picture.subplots(1, 3), dict.fromkeys(row.table for row in ROWS), strict=True):
        for name, colour in zip(
            COLUMNS, ("#bbbbbb", "#888888", "#555555", "#f4b183", "#e07b39", "#00695c"), strict=True
        ):
            points = [
                (row.costs[COLUMNS.index(name)], mine[name].mean(), mine[name].std())
                for row, mine in zip(ROWS, found, strict=False)
                if row.table == table
            ]
            theirs, means, spreads = zip(*points, strict=True)
            axes.errorbar(theirs, means, spreads, fmt="o", color=colour, markersize=4, linewidth=0.8, label=name)
        reach = [cost for row in ROWS if row.table == table for cost in row.costs]
        axes.plot([min(reach), max(reach)], [min(reach), max(reach)], color="black", linewidth=0.6)
        axes.set(xscale="log", yscale="log", title=table, xlabel="published", ylabel="here")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
    picture.axes[0].legend(frameon=False, fontsize="x-small")
    picture.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    started = time.monotonic()
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        runs: list[list[dict[str, Any]]] = list(pool.map(instance, range(1, args.seeds + 1)))
    found = [
        {name: np.array([run[at][name] for run in runs]) for name in runs[0][at]} for at in range(len(ROWS) + 1)
    ]
    lengths = passage_lengths()
    text = (
        f"{args.seeds} seeds. Cells: published → mean ± standard deviation between instances; **!** where the "
        f"published figure is more than two of them away.\n\n{tables(found)}\n\n{headlines(found)}\n\n"
        f"Passages: {len(lengths):,}, of {np.mean(lengths):.0f} ± {np.std(lengths):.0f} tokens.\n"
    )
    print(text)
    print(f"{time.monotonic() - started:.0f} s")
    if args.markdown:
        args.markdown.write_text(text)
    if args.plot:
        draw(found, args.plot)


if __name__ == "__main__":
    main()
