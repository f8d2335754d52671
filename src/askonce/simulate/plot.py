"""Curves of a simulation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from askonce.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from askonce.simulate.sweep import Report


def draw(report: Report, path: str | os.PathLike[str]) -> None:
    """Draw hit ratio and money saved against cache size, a line for each policy and time to live.

    Args:
        report: from `simulate`.
        path: the picture; its ending gives the format: ``.svg``, ``.png``, ``.pdf``.

    Raises:
        ConfigError: the picture cannot be written there, or not in this format.
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("drawing", "plots") from error
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _curves(left, report, "hit_ratio", "hit ratio")
    _curves(right, report, "saved_share", f"share saved of ${report.cost_usd:,.2f}")
    right.annotate("best", (report.best.size, report.best.saved_share), xytext=(8, -16), textcoords="offset points")
    right.plot([report.best.size], [report.best.saved_share], "o", color="black", fillstyle="none")
    left.legend(frameon=False, fontsize="small")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)} cannot be drawn: {error}") from error


def _curves(axes: Any, report: Report, value: str, title: str) -> None:
    series: dict[str, list[tuple[int, float]]] = {}
    for point in report.points:
        name = point.policy + ("" if point.ttl_seconds is None else f", {point.ttl_seconds:g} s")
        series.setdefault(name, []).append((point.size, getattr(point, value)))
    for name, line in series.items():
        axes.plot(*zip(*line, strict=True), marker=".", label=name)
    bounds = [(bound.size, getattr(bound, value)) for bound in report.bounds]
    axes.plot(*zip(*bounds, strict=True), color="grey", linestyle="--", label="upper bound")
    axes.set(xscale="log", xlabel=f"cache size ({report.unit})", title=title, ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
