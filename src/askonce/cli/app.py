"""All commands, put together. A new group is a file with functions, and a line here."""

from __future__ import annotations

import typer

from askonce.cli import prefix, simulate, totals

app = typer.Typer(
    name="askonce",
    help="Inspect the cache of LLM answers, retrievals and embeddings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _group() -> None:
    """Inspect the cache of LLM answers, retrievals and embeddings."""


app.command("simulate")(simulate.simulate)
app.command("stats")(totals.stats)
app.command("top")(totals.top)
app.add_typer(prefix.prefix, name="prefix")
