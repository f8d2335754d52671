"""``askonce stats`` and ``askonce top``: what all processes counted in a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args
from urllib.parse import unquote

import typer
from msgspec import structs

from askonce.cli.common import (
    AsJson,
    Heading,
    Namespace,
    StoreUrl,
    Tenants,
    err,
    out,
    print_json,
    print_rows,
    size,
    usage,
)
from askonce.cli.opened import opened_cache
from askonce.costs.figures import count, number_of, percent, span, usd
from askonce.errors import ConfigError
from askonce.stats import Counts, TotalsBy
from askonce.stores import redact
from askonce.stores.configured import KEYS_VARIABLE
from askonce.totals.reading import since_of

if TYPE_CHECKING:
    from askonce.stats import Totals

_SinceOption = Annotated[
    str | None, typer.Option(help="A time such as 2026-11-28, or a span such as 24h or 7d. Default: all.")
]
_FIGURES = ("requests", "hits", "saved", "time saved", "spent", "time spent")
_BY_NAMES = ", ".join(get_args(TotalsBy))


def _by(value: str) -> str:
    if value not in get_args(TotalsBy):  # typer's own message begins with "Value error"
        raise typer.BadParameter(f"{value!r} is none of {_BY_NAMES}.")
    return value


def stats(
    store: StoreUrl = None,
    namespace: Namespace = None,
    by: Annotated[str, typer.Option(callback=_by, help=f"What the rows are: {_BY_NAMES}.")] = "layer",
    since: _SinceOption = None,
    tenant: Tenants = None,
    as_json: AsJson = False,
) -> None:
    """Hits, misses, and what was saved and spent, by all processes."""
    totals = _read(store, namespace, by, since, tenant)
    if as_json:
        print_json(totals)
        return
    bypassed = number_of(totals.bypassed, "request", "requests")
    out.print(
        f"{number_of(totals.hits + totals.misses, 'request', 'requests')}, "
        f"[bold]{percent(totals.hit_rate)}[/bold] of them hits; saved [bold]{usd(totals.saved_usd)}[/bold], "
        f"{span(totals.saved_seconds)} and {count(totals.saved_tokens)} tokens; "
        f"spent {usd(totals.spent_usd)} and {span(totals.spent_seconds)}"
    )
    out.print(
        f"{number_of(totals.entries or 0, 'entry', 'entries')} of {size(totals.size_bytes or 0)}; "
        f"{count(totals.stored)} stored, {count(totals.evicted)} evicted, {bypassed} bypassed, "
        f"{number_of(totals.errors, 'error', 'errors')} of the store"
    )
    for what, reasons in (
        ("hits", totals.hit_kinds),
        ("misses", totals.miss_reasons),
        ("not stored", totals.not_stored_reasons),
    ):
        if reasons:
            out.print(f"{what}: {_reasons(reasons)}")
    _print(by, totals.rows)


def top(
    store: StoreUrl = None,
    namespace: Namespace = None,
    by: Annotated[str, typer.Option(callback=_by, help=f"What is compared: {_BY_NAMES}.")] = "model",
    most: Annotated[int, typer.Option(min=1, help="How many rows.")] = 10,
    since: _SinceOption = None,
    tenant: Tenants = None,
    as_json: AsJson = False,
) -> None:
    """What saves most, and what costs most."""
    totals = _read(store, namespace, by, since, tenant)
    saves = _first(totals.rows, most, lambda row: (row.saved_usd, row.saved_seconds))
    costs = _first(totals.rows, most, lambda row: (row.spent_usd, row.spent_seconds))
    if as_json:
        print_json({"by": by, "since": totals.since, "saves_most": saves, "costs_most": costs})
        return
    for title, rows in (("saves most", saves), ("costs most", costs)):
        out.print(f"[bold]{title}[/bold]")
        _print(by, rows)


def _read(
    store: str | None, namespace: str | None, by: str, since: str | None, tenants: list[str] | None
) -> Totals:
    with usage():
        now = time.time()
        if (start := since_of(since, now)) is not None and start > now:
            raise ConfigError(f"--since is a time in the past, got {since!r}")
    with opened_cache(store, namespace, tenants) as cache:
        totals = cache.totals(cast(TotalsBy, by), since)
        where = f"namespace {cache.engine.namespace_in_effect()!r} of {redact(cache.store.url)}"
    if totals.unreadable:
        err.print(
            f"{number_of(totals.unreadable, 'record', 'records')} of counts in {where} cannot be read: what they "
            "count is missing here.",
            markup=False,
        )
    nothing = structs.replace(totals, **structs.asdict(Counts()), rows={})
    if totals == nothing:
        raise ConfigError(
            f"nothing was counted in {where}{'' if since is None else ', of this time'}; totals of a cache with "
            f"encryption_keys need them in {KEYS_VARIABLE}, and one with totals=False has none"
        )
    return totals


def _first(
    rows: Mapping[str, Counts], most: int, worth: Callable[[Counts], tuple[float, float]]
) -> dict[str, Counts]:
    ordered = sorted(rows, key=lambda name: worth(rows[name]), reverse=True)
    return {name: rows[name] for name in ordered[:most] if any(worth(rows[name]))}


def _print(by: str, rows: Mapping[str, Counts]) -> None:
    if not rows:
        out.print("nothing")
        return
    cells = [
        [
            (_readable(name) if by == "tenant" else name) or "–",
            count(row.hits + row.misses),
            percent(row.hit_rate),
            usd(row.saved_usd),
            span(row.saved_seconds),
            usd(row.spent_usd),
            span(row.spent_seconds),
        ]
        for name, row in rows.items()
    ]
    print_rows([Heading(by, 10), *map(Heading, _FIGURES)], cells)


def _readable(tenant: str) -> str:
    """The names of nested tenants as the application gave them."""
    return " / ".join(map(unquote, tenant.split("/")))


def _reasons(reasons: Mapping[Any, int]) -> str:
    ordered = sorted(reasons.items(), key=lambda one: -one[1])
    return ", ".join(f"{count(number)} {reason}" for reason, number in ordered)
