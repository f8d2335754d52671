"""What an object changes of itself while it answers is a counter or a log, and no setting.

An object of the application's own class often holds both: how many texts it has embedded, and the length of its
vectors. Numbers, lists and maps count as they are, so that a setting that the application changes later is seen.
One that was seen to change during a call counts as it was at first, or the object would have a new key after each
call.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

from askonce.keys.model_identity import record_changes


@dataclass(slots=True)
class _Seen:
    """What was seen of one object.

    Attributes:
        owner: the object.
        first: its numbers, lists and maps, as they were when it was first read.
        last: the same, when it was last read: the numbers, and the lengths of lists and maps.
        own: the names of those that it changed itself.
    """

    owner: weakref.ref[Any]
    first: dict[str, Any] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)


_seen: dict[int, _Seen] = {}


def counters_as_at_first(owner: Any, fields: dict[str, Any], *, private: bool) -> dict[str, Any]:
    """Fields, with the counters and logs among them as they were when the object was first read.

    Args:
        owner: an object of the application's own class.
        fields: its fields in plain data.
        private: counters have private names.
    """
    at = id(owner)
    if at not in _seen:
        try:
            _seen[at] = _Seen(weakref.ref(owner, lambda _: _seen.pop(at, None)))
        except TypeError:  # a class with slots
            return fields
    seen = _seen[at]
    seen.last = {
        name: size
        for name, value in _members(owner).items()
        if (name.startswith("_") or not private) and (size := _size(value)) is not None
    }
    for name in seen.last.keys() & fields.keys():
        seen.first.setdefault(name, fields[name])
    return {name: seen.first.get(name, value) if name in seen.own else value for name, value in fields.items()}


def record_counters(owner: Any) -> None:
    """Record, after a call, what an object has changed of itself, the objects in it and what its code uses."""
    record_changes(owner)
    for one in (owner, *_members(owner).values()):
        seen = _seen.get(id(one))
        if seen is not None and seen.owner() is one:
            now = _members(one)
            seen.own.update(name for name, size in seen.last.items() if _size(now.get(name)) != size)


def _members(owner: Any) -> dict[str, Any]:
    private = getattr(owner, "__pydantic_private__", None)
    return {**getattr(owner, "__dict__", {}), **(private or {})}


def _size(value: Any) -> float | None:
    """A number, or the length of a list or map; ``None`` for what is no counter."""
    if isinstance(value, (list, dict, set)):
        return len(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
