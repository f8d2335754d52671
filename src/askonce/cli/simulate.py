"""``askonce simulate``: what each size and policy would have saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from askonce.cli.common import Heading, print_rows, usage
from askonce.costs.figures import number_of
from askonce.options import check_name

if TYPE_CHECKING:
    from askonce.simulate import Report
    from askonce.simulate.sweep import Point

_PICTURES = (".svg", ".png", ".pdf")


def simulate(
    log: Annotated[Path, typer.Argument(help="What Cache(access_log=…) wrote.", show_default=False)],
    size: Annotated[
        list[str] | None, typer.Option(help="A limit such as 500MB; may be given again. Default: nine sizes.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="gdsf, lec, lru, lfu or ttl, perhaps with +cost; may be given again."),
    ] = None,
    ttl: Annotated[list[str] | None, typer.Option(help="Seconds, or 'never'; may be given again.")] = None,
    sample: Annotated[
        float | None, typer.Option(help="Share of keys to replay. Default: about 50,000 requests.")
    ] = None,
    entries: Annotated[bool, typer.Option("--entries", help="Sizes are numbers of entries.")] = False,
    namespace: Annotated[str | None, typer.Option(help="Only the requests of this namespace.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the curves into this file (.svg, .png or .pdf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Replay an access log against cache sizes, policies and times to live."""
    from askonce import simulate as simulation
    from askonce.simulate.log import read_log

    if plot is not None and plot.suffix.lower() not in _PICTURES:
        raise typer.BadParameter(f"--plot is a file that ends in {', '.join(_PICTURES)}; got {plot}")
    if namespace is not None:
        with usage():
            check_name("--namespace", namespace)
    times = [_seconds(one) for one in ttl or ["never"]]
    trace = read_log(log, namespace=namespace)
    with usage():
        report = simulation.simulate(
            trace, size or None, policy or simulation.sweep.POLICIES, times, sample=sample, entries=entries
        )
    if plot is not None:
        simulation.draw(report, plot)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        _show(report)


def _seconds(text: str) -> float | None:
    if text == "never":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"--ttl is a number of seconds, or 'never'; got {text!r}") from None


def _show(report: Report) -> None:
    console = Console()
    some = report.simulated_requests < report.requests
    console.print(
        f"{number_of(report.requests, 'request', 'requests')} for {number_of(report.keys, 'answer', 'answers')} of "
        f"{_size(report.working_set_bytes, 'bytes')}, "
        f"${report.cost_usd:,.2f} without a cache"
        + (f"; {report.simulated_requests:,} of them replayed" if some else "")
    )
    rows = {bound.size: [point for point in report.points if point.size == bound.size] for bound in report.bounds}
    names = map(_name, rows[report.bounds[0].size])
    table: list[list[str | Text]] = []
    for bound in report.bounds:
        most = max(point.saved_share for point in rows[bound.size])
        cells = [
            Text.assemble(
                (f"{point.saved_share:.1%}", "bold" if point.saved_share == most else ""),
                f" ({point.hit_ratio:.1%})",
            )
            for point in rows[bound.size]
        ]
        ends = _size(bound.size, report.unit), f"{bound.saved_share:.1%} ({bound.hit_ratio:.1%})"
        table.append([ends[0], *cells, ends[1]])
    print_rows([Heading("size"), *(Heading(name, 8) for name in (*names, "bound"))], table, console)
    console.print("Share of the money saved, and in brackets of the requests that hit. No cache exceeds the bound.")
    limit = "max_entries" if report.unit == "entries" else "max_bytes"
    arguments = {limit: report.best.size, **report.best.arguments}
    setting = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    saves = f"saves {report.best.saved_share:.1%}, ${report.best.saved_usd:,.2f}"
    console.print(f"Best: {setting}: {saves}", highlight=False)


def _name(point: Point) -> str:
    return point.policy + ("" if point.ttl_seconds is None else f", {point.ttl_seconds:g} s")


def _size(size: int, unit: str) -> str:
    if unit == "entries":
        return f"{size:,}"
    for name in ("B", "kB", "MB", "GB"):
        if size < 1000 or name == "GB":
            break
        size = round(size / 1000)
    return f"{size:,} {name}"
