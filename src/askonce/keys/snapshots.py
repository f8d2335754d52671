"""What a field of an object held at one time, to compare with what it holds at another.

Numbers, texts and the like are compared as they are written, lists and maps by their items, other objects by
identity.
"""

from __future__ import annotations

import weakref
from collections import deque
from types import SimpleNamespace
from typing import Any, NamedTuple

_DEEPEST = 6
_CONTAINERS = (list, dict, set, deque, SimpleNamespace, tuple, frozenset)


class WrittenNumber(NamedTuple):
    """A number, as it is written: 1 is not 1.0, nor 0.0 -0.0."""

    shown: str


class Items(NamedTuple):
    """What a list, a map or the like held.

    Attributes:
        kind: its class.
        keys: of a map.
        values: its items, in their order; of a set without one.
    """

    kind: type
    keys: tuple[Any, ...] | None
    values: tuple[Any, ...] | frozenset[Any]


class Object:
    """Any other object, which is not kept alive if that can be avoided."""

    def __init__(self, value: Any) -> None:
        try:
            self._get: Any = weakref.ref(value)
        except TypeError:
            self._get = lambda: value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Object) and self._get() is not None and self._get() is other._get()

    def __hash__(self) -> int:
        return id(self._get())


def snapshot(value: Any, depth: int = 0) -> Any:
    """What a value is now; ``None`` for nothing."""
    kind = type(value)
    if value is None:
        return None
    if kind in (int, float):
        return WrittenNumber(repr(value))
    if kind in (str, bytes, bool):
        return kind, value
    if not isinstance(value, _CONTAINERS) or depth == _DEEPEST:
        return Object(value)
    if isinstance(value, (set, frozenset)):
        return Items(kind, None, frozenset(snapshot(one, depth + 1) for one in list(value)))
    if isinstance(value, (dict, SimpleNamespace)):
        items = dict(value if isinstance(value, dict) else vars(value))
        keys = tuple((type(one), one) for one in items)
        return Items(kind, keys, tuple(snapshot(one, depth + 1) for one in items.values()))
    return Items(kind, None, tuple(snapshot(one, depth + 1) for one in list(value)))


def differ_in_numbers_alone(one: Any, other: Any) -> bool:
    """Whether two snapshots are the same but for their numbers."""
    if isinstance(one, WrittenNumber) and isinstance(other, WrittenNumber):
        return True
    if isinstance(one, Items) and isinstance(other, Items) and isinstance(one.values, tuple):
        is_like = one[:2] == other[:2] and len(one.values) == len(other.values)
        return is_like and all(map(differ_in_numbers_alone, one.values, other.values))
    return bool(one == other)
