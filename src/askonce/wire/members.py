"""Members of JSON objects that servers read differently: with one name twice, or with names alike but for case."""

from __future__ import annotations

import json
import re
from typing import Any

_NAMES_MODELS = re.compile(r"model|fallback", re.IGNORECASE)
_OTHERS = frozenset("messages input system instructions prompt metadata parameters input_schema schema".split())
"""Members that hold the prompt, labels or schemas: what is called a model there is none that is called."""


def is_ambiguous(body: bytes, read: Any) -> bool:
    """Whether an object in a body has two members of one name: of those a server takes the first, or the last.

    Args:
        body: JSON.
        read: the same, decoded.
    """
    # No regular expression, which would take a second for a large body, and all other threads would wait.
    texts_and_others = body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    return b"".join(texts_and_others[::2]).count(b":") != _members(read)


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


def further_models_in(body: bytes, read: dict[str, Any]) -> list[str]:
    """All other models that a server may call for a body: lists of fallbacks of gateways, models of tools.

    Args:
        body: JSON.
        read: the same, decoded.
    """
    pairs: list[Any] = list(read.items())
    if is_ambiguous(body, read):
        pairs = json.loads(body, object_pairs_hook=list)
    found: list[str] = []
    todo: list[tuple[Any, bool]] = [(one, False) for one in pairs]
    while todo:
        value, counts = todo.pop()
        if isinstance(value, str) and counts:
            found.append(value)
        elif isinstance(value, dict):
            todo.extend((pair, counts) for pair in value.items())
        elif isinstance(value, list):
            todo.extend((one, counts) for one in value)
        elif isinstance(value, tuple) and value[0].lower() not in _OTHERS:  # a member
            is_named = _NAMES_MODELS.search(value[0]) is not None
            todo.append((value[1], counts or is_named))
    return found
