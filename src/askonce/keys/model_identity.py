"""What identifies a model is derived once, and again when the model has changed.

To walk all fields of a model costs more than to look an answer up. So what was derived is remembered beside a
fingerprint of the model: the values of its fields, the contents of its dicts, lists and sets, and every other object's
identity. A field that is assigned anew, a change inside such a container, and a replaced client change the
fingerprint. A change inside another object does not.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS = (dict, list, tuple, set, frozenset)
_DEEPEST = 20


class RememberedIdentity(Generic[T]):
    """Remembers one derived value for each model, for as long as the model lives. Thread-safe.

    Args:
        derive: derives the value from a model. If it raises, nothing is remembered.
    """

    def __init__(self, derive: Callable[[Any], T]) -> None:
        self._derive = derive
        # By the model's id: the model, its fingerprint, the objects whose ids that contains, and the value.
        self._known: dict[int, tuple[weakref.ref[Any], object, list[object], T]] = {}

    def of(self, model: Any) -> T:
        """The value derived from a model as it is now."""
        fingerprint, held = _fingerprint(model)
        known = self._known.get(id(model))
        if known is not None and known[1] == fingerprint and known[0]() is model:
            return known[3]
        value = self._derive(model)
        at = id(model)
        try:
            reference = weakref.ref(model, lambda _: self._known.pop(at, None))
        except TypeError:  # a class with slots: derived each time
            return value
        self._known[at] = reference, fingerprint, held, value
        return value


def _fingerprint(model: Any) -> tuple[object, list[object]]:
    """A model's fields as values and ids, and the objects that have these ids, so that no other gets them."""
    parts = (
        model.__dict__,
        getattr(model, "__pydantic_private__", None) or {},
        getattr(model, "__pydantic_extra__", None) or {},
    )
    held: list[object] = [value for part in parts for value in part.values()]
    fields = [
        (name, type(value), _shown(value, held) if type(value) not in _SCALARS else value)  # 1 is not True
        for part in parts
        for name, value in part.items()
    ]
    return (type(model), fields), held


def _shown(value: Any, held: list[object], depth: int = 1) -> object:
    """What is no scalar: the items of a container, and of those in it, and of other objects the id."""
    if depth > _DEEPEST or not isinstance(value, _CONTAINERS):
        return id(value)
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
    held.extend(items)
    shown = [(type(item), _shown(item, held, depth + 1) if type(item) not in _SCALARS else item) for item in items]
    return frozenset(shown) if isinstance(value, (set, frozenset)) else shown
