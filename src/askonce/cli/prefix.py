"""``askonce prefix``: what providers read from their prompt caches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from askonce.cli.common import Heading, Namespace, StoreUrl, print_rows, usage
from askonce.cli.opened import opened
from askonce.costs.figures import count, number_of, percent, span, usd
from askonce.errors import ConfigError
from askonce.options import check_name
from askonce.stores.configured import default_namespace, encryption_keys

if TYPE_CHECKING:
    from askonce.prefix.report.report import PrefixReport

prefix = typer.Typer(
    help="What providers read from their prompt caches.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@prefix.callback()
def _group() -> None:
    """What providers read from their prompt caches."""


@prefix.command()
def report(
    store: StoreUrl = None,
    namespace: Namespace = None,
    days: Annotated[int | None, typer.Option(min=1, help="The last so many. Default: all that are stored.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots into this file.")] = None,
) -> None:
    """Tokens read from the cache, tokens lost, causes and remedies."""
    from askonce.prefix.report.report import stored_report
    from askonce.stores import redact

    if namespace is None:
        namespace = default_namespace()
    else:
        with usage():
            check_name("--namespace", namespace)
    with opened(store) as found:
        made = stored_report(found, namespace, days=days, encryption_keys=encryption_keys())
        url = redact(found.url)
    if made is None:
        raise ConfigError(
            f"nothing was tracked in namespace {namespace!r} of {url}: give the application a "
            f"PrefixTracker({url!r}, namespace={namespace!r}) as a callback (LangChain) or to install() "
            "(LlamaIndex)"
        )
    if html is not None:
        from askonce.prefix.report.page import page_of

        try:
            html.touch(mode=0o600)  # it may show pieces of prompts
            html.write_text(page_of(made), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {html}: {error.strerror}") from error
    if as_json:
        print(made.to_json())
    else:
        _show(made)


def _show(made: PrefixReport) -> None:
    console, total, days = Console(highlight=False), made.total, made.number_of_days
    console.print(
        f"{made.since} to {made.until}: {number_of(total.requests, 'request', 'requests')}, "
        f"[bold]{percent(total.read_share)}[/bold] of their tokens read from the cache; "
        f"{percent(total.lost_share)} more could have been: "
        f"[bold]{usd(total.lost_usd / days)}[/bold] and {span(total.lost_seconds / days)} a day"
    )
    if total.unknown:
        console.print(f"[bold]{escape(total.unknown_warning)}.[/bold]")
    families = []
    for application in made.applications:
        for family in application.families:
            shares = percent(family.total.read_share), percent(family.total.lost_share)
            families.append([application.name, family.name, count(family.total.requests), *shares])
    names = Heading("application", 8), Heading("prompts", 8)
    print_rows([*names, *map(Heading, ("requests", "read", "lost"))], families, console)
    if not made.culprits:
        console.print("Nothing was lost.")
        return
    table = Table(Column("lost a day", no_wrap=True), "cause", "remedy", show_lines=True)
    for one in made.culprits:
        lost = f"[bold]{usd(one.lost_usd_per_day)}[/bold]\n{span(one.lost_seconds_per_day)}"
        where = f"{one.application}, {one.family}" if one.application else one.family
        looks = f"\n{one.example}" if one.example else ""
        table.add_row(lost, f"[bold]{escape(one.name)}[/bold]\n{escape(where)}", escape(one.remedy + looks))
    console.print(table)
