"""The paths that the proxy responds to itself, and its description as an OpenAPI document."""

from __future__ import annotations

import functools
from importlib.resources import files

OPENAPI = "/askonce/openapi.json"
PATHS = frozenset({"/health", "/ready", "/askonce/stats", OPENAPI})


def is_own(path: str) -> bool:
    """Whether a path goes to no provider: it is one of `PATHS`, or below ``/askonce``."""
    return path in PATHS or path == "/askonce" or path.startswith("/askonce/")


@functools.cache
def description() -> bytes:
    """The document: what is cached, and the proxy's own paths."""
    return files("askonce.proxy").joinpath("openapi.json").read_bytes()
