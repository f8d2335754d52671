"""Vector stores of many packages: in two places, by two clients, and written past `watch`. No server is called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "s3cret"


@dataclass(frozen=True)
class Place:
    """Where a store is made.

    Attributes:
        directory: for files.
        host: of servers.
        database: a database, tenant or namespace there.
    """

    directory: Path
    host: str = "one.invalid"
    database: str = "first"

    def others(self, *, files: bool) -> list[Place]:
        """Places that differ from this one."""
        if files:
            return [Place(self.directory / "other")]
        return [Place(self.directory, host="two.invalid"), Place(self.directory, database="second")]


Make = Callable[[Place], Any]


def check(make: Make, identity: Callable[[Any], tuple[Any, list[str]]], place: Place, *, files: bool) -> None:
    """One place is one, another is another, both can be read, and no credential is in what was read."""
    place.directory.mkdir(exist_ok=True)
    form, nameless = identity(make(place))
    assert nameless == []
    assert identity(make(place))[0] == form
    assert SECRET not in json.dumps(form)
    for other in place.others(files=files):
        other.directory.mkdir(exist_ok=True)
        assert identity(make(other))[0] != form


def outputs(script: Path, directory: Path, runs: list[list[str]]) -> list[str]:
    """What runs of a script print, one after the other, each in a process of its own, with the default store.

    Args:
        script: gets the arguments of a run.
        directory: of the user's cache.
        runs: the arguments of each.
    """
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(directory / "cache"),
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    printed = []
    for arguments in runs:
        run = subprocess.run(
            [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert not run.returncode, run.stderr
        printed.append(run.stdout.strip())
    return printed
