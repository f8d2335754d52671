"""Members of JSON objects that servers read differently: with one name twice, or with names alike but for case."""

from __future__ import annotations

import json
import re
from typing import Any

_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


def is_ambiguous(body: bytes, read: Any) -> bool:
    """Whether an object in a body has two members of one name: of those a server takes the first, or the last.

    Args:
        body: JSON.
        read: the same, decoded.
    """
    return _TEXT.sub(b"", body).count(b":") != _members(read)


def _members(read: Any) -> int:
    count, todo = 0, [read]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            count += len(one)
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)
    return count


def models_in(body: bytes, read: dict[str, Any]) -> list[str]:
    """All models that a body names at its top: the one first that most servers read.

    Args:
        body: JSON.
        read: the same, decoded.
    """
    pairs: list[tuple[str, Any]] = list(read.items())
    if is_ambiguous(body, read):
        pairs = json.loads(body, object_pairs_hook=list)
    named = [(name, value) for name, value in reversed(pairs) if name.lower() == "model" and isinstance(value, str)]
    return [value for _, value in sorted(named, key=lambda pair: pair[0] != "model")]
