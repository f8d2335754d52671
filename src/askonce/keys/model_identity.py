"""What identifies a model is derived once, and again when the model has changed.

To walk all fields of a model costs more than to look an answer up. So what was derived is remembered beside a
fingerprint of the model: the values of its fields, the contents of dicts, lists, sets and models in them, and the
identity of every other object. A field assigned anew, a change inside such a container, a replaced client, and
a client that is sent elsewhere change the fingerprint. A change inside another object does not.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, Generic, TypeVar

from askonce.keys.clients import plan_of, plans, state_of

T = TypeVar("T")

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_SEQUENCES = (list, tuple, set, frozenset)


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
    """What is in a model, and in the containers and models in it: scalars as they are, other objects by their id.

    With it come the objects that have these ids, so that no other object gets them.
    """
    contents: list[object] = [type(model)]
    held: list[object] = []
    clients: list[object] = []
    pending, seen = [model], {id(model)}
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            items = [*value.keys(), *value.values()]
        elif isinstance(value, _SEQUENCES):
            items = list(value)
        else:
            private, extra = (
                getattr(value, "__pydantic_private__", None),
                getattr(value, "__pydantic_extra__", None),
            )
            fields = {**getattr(value, "__dict__", {}), **(private or {}), **(extra or {})}
            items = [*fields.keys(), *fields.values()]
        held.extend(items)
        shown: list[object] = []
        for item in items:
            if type(item) in _SCALARS:
                shown.append((type(item), item))  # 1 is not True
                continue
            shown.append((type(item), id(item)))
            kind = type(item)
            if kind is ModuleType or (plans[kind] if kind in plans else plan_of(kind)) is not None:
                if id(item) not in seen:
                    seen.add(id(item))
                    clients.append(item)
                continue
            is_container = isinstance(item, (dict, *_SEQUENCES)) and item
            if (is_container or hasattr(type(item), "__pydantic_fields__")) and id(item) not in seen:
                seen.add(id(item))
                pending.append(item)
        contents.append(frozenset(shown) if isinstance(value, (set, frozenset)) else shown)
    if clients:
        contents.append(state_of(clients))
    return contents, held
