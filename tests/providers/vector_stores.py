"""Pairs of vector stores: the same names in two places, and two clients for one place. No server is called."""

from __future__ import annotations

import json
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
