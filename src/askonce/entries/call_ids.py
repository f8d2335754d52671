"""New ids for the tool calls of a stored answer, each time that it is given."""

from __future__ import annotations

import os


class FreshCallIds(dict[str, str]):
    """Of one answer: each id that it was stored with, and the new one in its place, made when it is first read."""

    def __missing__(self, given: str) -> str:
        kind, mark, _ = given.partition("_")
        self[given] = fresh = f"{kind}_{os.urandom(12).hex()}" if mark else os.urandom(12).hex()
        return fresh
