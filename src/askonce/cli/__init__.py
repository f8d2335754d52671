"""The command ``askonce``. One file for each group of commands, without logic of their own."""

from __future__ import annotations

import io
import os
import sys

from askonce.errors import AskOnceError, MissingExtraError


def main() -> None:
    """Run the command line. Errors of askonce are one line on stderr, and exit code 1."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a pipe may have an encoding that lacks letters, as on Windows
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            from askonce.cli.app import app

            app()
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("typer", "rich"):
                raise
            raise MissingExtraError("The command askonce", "cli") from error
    except AskOnceError as error:
        print(f"askonce: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # of a file that the user named
        named = "" if error.filename is None else f": {error.filename}"
        print(f"askonce: {error.strerror}{named}", file=sys.stderr)
        sys.exit(1)
