"""What an object changes of itself while it answers is a counter or a log, and no setting.

An object of the application's own class often holds both: how many texts it has embedded, and the length of its
vectors. Numbers, lists and maps count as they are, so that a setting that the application changes later is seen.
One that was seen to change during a call, and that the object's code changes itself, counts as it was at first, or
the object would have a new key after each call. So does what was nothing before the call and is an object after it,
such as a client that is made when it is first needed.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from askonce.keys.model_identity import record_changes
from askonce.keys.own.changes import OwnChanges
from askonce.keys.own.modules import is_installed


@dataclass(slots=True)
class _Seen:
    """What was seen of one object.

    Attributes:
        owner: the object.
        first: its numbers, lists and maps, and what was nothing, as they were when it was first read.
        last: the same, when it was last read: the numbers, and the lengths of lists and maps.
        own: the names of those that it changed itself.
        parts: objects in it that were read with it.
    """

    owner: weakref.ref[Any]
    first: dict[str, Any] = field(default_factory=dict)
    last: dict[str, float | None] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    parts: list[weakref.ref[Any]] = field(default_factory=list)


_seen: dict[int, _Seen] = {}
_NO_COUNTER: Any = object()


def counters_as_at_first(
    owner: Any, fields: dict[str, Any], *, private: bool, parts: Iterable[Any] = ()
) -> dict[str, Any]:
    """Fields, with the counters and logs among them as they were when the object was first read.

    Args:
        owner: an object of the application's own class.
        fields: its fields in plain data.
        private: counters have private names.
        parts: objects in it that may have counters, too.
    """
    seen = _seen_of(owner)
    if seen is None:
        return fields
    seen.last = {
        name: size
        for name, value in _members(owner).items()
        if (name.startswith("_") or not private)
        and (size := _size(value)) is not _NO_COUNTER
        and (size is not None or name in fields)
    }
    with contextlib.suppress(TypeError):
        seen.parts = [weakref.ref(one) for one in parts]
    for name in seen.last.keys() & fields.keys():
        seen.first.setdefault(name, fields[name])
    own = {name: seen.first[name] for name in seen.own if name in seen.first}
    return {name: value for name, value in fields.items() if name not in seen.own} | own


def changed_by_calls(owner: Any) -> frozenset[str]:
    """The names of what an object was seen to change of itself during calls."""
    seen = _seen.get(id(owner))
    return frozenset(seen.own) if seen is not None and seen.owner() is owner else frozenset()


def record_counters(owner: Any) -> None:
    """Record, after a call, what an object has changed of itself, the objects in it and what its code uses."""
    changes = record_changes(owner)
    known = _seen.get(id(owner))
    parts = [] if known is None else [one() for one in known.parts]
    for one in (owner, *_members(owner).values(), *parts):
        seen = _seen.get(id(one))
        if seen is not None and seen.owner() is one:
            now = _members(one)
            changed = {name for name, size in seen.last.items() if _is_changed(size, now.get(name))}
            seen.own.update(name for name in changed if _is_of_the_code(one, name, changes))


def _is_of_the_code(owner: Any, name: str, changes: list[OwnChanges]) -> bool:
    """Whether the code changes it, and not the application meanwhile; of installed classes that is not known."""
    cls: type = type(owner)
    if not changes or all(is_installed(base.__module__) for base in cls.__mro__):
        return True
    return any(one.is_changed(cls, ("", f".{name}")) for one in changes)


def _seen_of(owner: Any) -> _Seen | None:
    """What was seen of an object before; ``None`` if it has slots, so that it cannot be remembered."""
    at = id(owner)
    if at not in _seen:
        try:
            _seen[at] = _Seen(weakref.ref(owner, lambda _: _seen.pop(at, None)))
        except TypeError:
            return None
    return _seen[at]


def _is_changed(size: float | None, now: Any) -> bool:
    if size is None:  # a text or a number in place of nothing may be a setting
        return now is not None and not isinstance(now, (str, bytes, bool, int, float))
    return bool(_size(now) != size)


def _members(owner: Any) -> dict[str, Any]:
    private = getattr(owner, "__pydantic_private__", None)
    return {**getattr(owner, "__dict__", {}), **(private or {})}


def _size(value: Any) -> Any:
    """A number, the length of a list or map, or ``None`` for nothing; `_NO_COUNTER` for what is no counter."""
    if value is None:
        return None
    if isinstance(value, (list, dict, set, deque)):
        return len(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else _NO_COUNTER
