"""All commands, put together. A new group is a file with functions, and a line here."""

from __future__ import annotations

import typer

from askonce.cli import bench, deletion, doctor, entries, keys, prefix, proxy, simulate, totals, transfer, version

app = typer.Typer(
    name="askonce",
    help="Inspect and steer the cache of LLM answers, retrievals and embeddings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Inspect and steer the cache of LLM answers, retrievals and embeddings."""


app.command("ls")(entries.ls)
app.command("show")(entries.show)
app.command("key")(keys.key)
app.command("diff")(keys.diff)
app.command("clear")(deletion.clear)
app.command("invalidate")(deletion.invalidate)
app.command("delete")(deletion.delete)
app.command("export")(transfer.export)
app.command("import")(transfer.import_)
app.command("warm")(transfer.warm)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("proxy")(proxy.proxy)
app.command("simulate")(simulate.simulate)
app.command("stats")(totals.stats)
app.command("top")(totals.top)
app.add_typer(prefix.prefix, name="prefix")
app.command("version")(version.version)
