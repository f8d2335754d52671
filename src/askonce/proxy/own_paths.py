"""The paths that the proxy responds to itself, and its description as an OpenAPI document."""

from __future__ import annotations

import functools
from importlib.resources import files
from urllib.parse import unquote

OPENAPI = "/askonce/openapi.json"
PATHS = frozenset({"/health", "/ready", "/askonce/stats", OPENAPI})


def is_own(path: str) -> bool:
    """Whether a path goes to no provider: it is one of `PATHS`, or below ``/askonce``, however that is written."""
    if path in PATHS:
        return True
    if "askonce" not in path.lower() and "%" not in path:
        return False
    parts = unquote(path).lower().replace("\\", "/").split("/")
    return next((one for one in parts if one not in ("", ".")), "") == "askonce"


@functools.cache
def description() -> bytes:
    """The document: what is cached, and the proxy's own paths."""
    return files("askonce.proxy").joinpath("openapi.json").read_bytes()
