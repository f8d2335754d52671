"""The reference of the command line has each command, argument and option, as ``--help`` shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main

from askonce.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def commands(group: Any, path: str = "askonce") -> Iterator[tuple[str, Any]]:
    context = typer.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def row(parameter: Any) -> str:
    description = str(parameter.help or "").replace("|", "\\|")
    if parameter.param_type_name == "argument":
        return f"| `{parameter.name.upper()}` | {description} |"
    shown = "" if parameter.default in (None, False, "", []) else f" Default: {parameter.default}."
    variable = f" Variable: `{parameter.envvar}`." if parameter.envvar else ""
    return f"| `{parameter.opts[0]}` | {description}{shown}{variable} |"


def section(name: str, command: Any) -> str:
    rows = [row(one) for one in command.params if one.name not in ("help",)]
    table = "\n".join(["| argument or option | meaning |", "|---|---|", *rows])
    paragraphs = [" ".join(one.split()) for one in re.split(r"\n\s*\n", command.help or "")]
    return "\n\n".join([f"### {name}", *paragraphs, f"{table}\n"])


def reference() -> str:
    group = typer.main.get_command(app)
    return "\n".join(section(name, command) for name, command in [("askonce", group), *commands(group)])


def test_the_reference_has_what_help_shows() -> None:
    text = PAGE.read_text()
    written = re.search(r"<!-- commands -->\n\n(.*?)\n<!-- /commands -->", text, re.DOTALL)
    assert written is not None
    assert written[1] == reference()
