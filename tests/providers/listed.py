"""The packages that a dependency group lists: a table of providers is to have them all."""

from __future__ import annotations

import tomllib
from pathlib import Path


def packages(group: str) -> set[str]:
    """Those that the group itself names."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    return {one for one in project["dependency-groups"][group] if isinstance(one, str)}
