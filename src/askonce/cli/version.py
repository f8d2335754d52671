"""``askonce version``."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata

from askonce import __version__
from askonce.cli.common import AsJson, out, print_json

_PACKAGES = (
    "langchain-core langchain-openai llama-index-core redis pymongo openai anthropic cryptography numpy".split()
)


def versions() -> dict[str, str]:
    """The versions of askonce, of Python, and of the packages that it meets; those that are installed."""
    found = {"askonce": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def version(as_json: AsJson = False) -> None:
    """Print the versions of askonce and of what it meets."""
    found = versions()
    if as_json:
        print_json(found)
        return
    for name, one in found.items():
        out.print(f"{name} {one}", markup=False)
