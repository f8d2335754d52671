"""All commands, put together. A new one is a function in a file, and a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from askonce import __version__

_WHERE = {
    "ls": "entries.ls",
    "show": "entries.show",
    "key": "keys.key",
    "diff": "keys.diff",
    "clear": "deletion.clear",
    "invalidate": "deletion.invalidate",
    "delete": "deletion.delete",
    "export": "transfer.export",
    "import": "transfer.import_",
    "warm": "transfer.warm",
    "doctor": "doctor.doctor",
    "bench": "bench.bench",
    "proxy": "proxy.proxy",
    "simulate": "simulate.simulate",
    "stats": "totals.stats",
    "top": "totals.top",
    "version": "version.version",
    "prefix": "prefix.prefix",
}
"""Where each command is: a function in a module of this folder, or a group of them."""


class _Commands(TyperGroup):
    """Commands whose modules are imported when they are needed: for one of them the others are not."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_WHERE)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _WHERE:
            return None
        module, _, name = _WHERE[cmd_name].partition(".")
        found = getattr(import_module(f"askonce.cli.{module}"), name)
        if isinstance(found, typer.Typer):
            group = typer.main.get_command(found)
            group.name = cmd_name
            return group
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(found)
        return typer.main.get_command(alone)


app = typer.Typer(
    name="askonce",
    cls=_Commands,
    help="Inspect and steer the cache of LLM answers, retrievals and embeddings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"askonce {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Inspect and steer the cache of LLM answers, retrievals and embeddings."""
