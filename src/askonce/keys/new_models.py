"""Says once of a class that each new model of it has another key, as where each request makes one with a new id."""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger("askonce")
_IN_A_ROW = 20
_MOST = 1000


@dataclass(slots=True)
class _Models:
    """Models of one class, one after another.

    Attributes:
        last: the last one, and what its key consists of.
        keys: those seen.
        names: what differed each time.
        length: so many keys in a row were new.
    """

    last: tuple[weakref.ref[Any], Mapping[str, Any]] | None = None
    keys: set[str] = field(default_factory=set)
    names: set[str] | None = None
    length: int = 0


_rows: weakref.WeakKeyDictionary[type, _Models] = weakref.WeakKeyDictionary()


def record_new_model(model: Any, cls: type, parts: Mapping[str, Any], way_out: str) -> None:
    """Record what the key of a model consists of, which was read now.

    Args:
        model: the model.
        cls: its class.
        parts: by name.
        way_out: what to write for it, for people.
    """
    row = _rows.setdefault(cls, _Models())
    before = row.last
    if row.length > _IN_A_ROW or (before is not None and before[0]() is model):
        return
    try:
        row.last = weakref.ref(model), parts
    except TypeError:  # a class with slots
        return
    shown = hashlib.sha256(repr(sorted(parts.items())).encode("utf-8", "surrogatepass")).hexdigest()
    if shown in row.keys or before is None:
        row.names, row.length = None, 0
    else:
        differing = {name for name in {**parts, **before[1]} if parts.get(name) != before[1].get(name)}
        row.names = differing if row.names is None else row.names & differing
        row.length += 1
    if len(row.keys) < _MOST:
        row.keys.add(shown)
    if row.length == _IN_A_ROW and row.names:
        row.length += 1
        logger.warning(
            "askonce: %d new models of %s in a row had a key each, with another %s each time: if that is so at each"
            " request, nothing is found again; %s names it instead",
            _IN_A_ROW,
            cls.__name__,
            ", ".join(sorted(row.names)),
            way_out,
        )
