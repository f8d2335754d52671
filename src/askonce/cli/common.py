"""What commands have in common: their options, and how they show things."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from askonce.errors import ConfigError, MissingExtraError

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store", help="The store's URL. Default: ASKONCE_STORE, [tool.askonce], or the user's own file."
    ),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", help="The cache's namespace. Default: [tool.askonce], or 'default'.")
]
Tenants = Annotated[
    list[str] | None,
    typer.Option("--tenant", help="A namespace of cache_options within it; again for one within that."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do so without confirmation.")]
Model = Annotated[
    str | None,
    typer.Option("--model", help="The application's model, as module:name, whose requests these are."),
]

_PIPE_COLUMNS = 200
"""Rich takes 80 where there is no terminal, and cuts names; what reads a pipe has no need of that."""


def _console(*, stderr: bool = False) -> Console:
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_terminal or "COLUMNS" in os.environ else _PIPE_COLUMNS
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=width)


out = _console()
err = _console(stderr=True)


class Heading(NamedTuple):
    """What a column of `print_rows` shows.

    Attributes:
        name: above it.
        least: into so many characters a text may be broken; 0 for a figure, which never is.
    """

    name: str
    least: int = 0


def print_rows(headings: Sequence[Heading], rows: Sequence[Sequence[str | Text]], console: Console = out) -> None:
    """Print a table; where that is wider than the terminal, each row as a paragraph, so that no figure is cut."""
    least = []
    for at, one in enumerate(headings):
        widest = max(cell_len(str(cell)) for cell in (one.name, *(row[at] for row in rows)))
        least.append(min(widest, one.least or widest))
    borders = 3 * len(headings) + 1
    if sum(least) + borders <= console.width:
        columns = [
            Column(one.name, overflow="fold") if one.least else Column(one.name, justify="right", no_wrap=True)
            for one in headings
        ]
        table = Table(*columns)
        for row in rows:
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
        console.print(table)
        return
    for row in rows:
        line = "*"
        for part in (f"{one.name} {cell}" for one, cell in zip(headings, row, strict=True) if str(cell)):
            if cell_len(f"{line}, {part}") >= console.width and line != "*":
                console.print(Text(f"{line},"))
                line = " "
            line += f", {part}" if line.strip(" *") else f" {part}"
        console.print(Text(line))  # a longer one is broken by the terminal, so that a key can be copied


def print_json(value: Any) -> None:
    """Print a value of plain data and structs."""
    plain = msgspec.to_builtins(value, enc_hook=str)
    print(json.dumps(plain, indent=2, ensure_ascii=False))


def confirm(question: str, *, yes: bool) -> None:
    """Confirm before something is deleted; end the command unless it is confirmed."""
    while not yes:
        typer.echo(f"{question} [y/N]: ", nl=False, err=True)  # click's own writes a space to the standard output
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line or answer in ("", "n", "no"):
            raise typer.Abort
        yes = answer in ("y", "yes")


@contextmanager
def usage() -> Iterator[None]:
    """Where options and arguments are read: what is wrong with them ends the command with exit code 2."""
    try:
        yield
    except MissingExtraError:
        raise
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], object]]:
    """Show on the terminal how far a long work is; yields a function that takes how much more is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda count: shown.advance(task, count)


def span(seconds: float) -> str:
    """A time span in one unit."""
    for name, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.3g} {name}"
    return f"{seconds:.3g} s"


def age(at: float) -> str:
    """How long ago a time was, or when it will be."""
    seconds = time.time() - at
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def size(count: float) -> str:
    """A number of bytes in one unit."""
    for name in ("B", "kB", "MB", "GB"):
        if count < 1000 or name == "GB":
            break
        count /= 1000
    return f"{count:.3g} {name}"


def usd(amount: float | None) -> str:
    """An amount of money; empty if none is known."""
    return "" if amount is None else f"${amount:,.6f}".rstrip("0").rstrip(".")
