"""What a retriever has computed of its documents, such as a vectorizer or an array of vectors: by what is in it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from askonce.retrieval.held import attributes_of

_FEW = 32
_AT_ONCE = 1000
"""In no larger list or map it is seen at once that an item was replaced by another; in others within `_SECONDS`."""
_SECONDS = 1.0
_CONTAINERS = (list, tuple, set, frozenset, dict)
_PLAIN = frozenset((*_CONTAINERS, str, bytes, bool, int, float, type(None)))
_ARRAYS = ("data", "indices", "indptr", "row", "col", "offsets")
"""Where a sparse matrix holds what is in it."""


class _Digest(NamedTuple):
    """The digest of a list, a map or an array, made once while it holds the same."""

    value: Any
    items: list[Any]
    read_at: float
    form: Any


class DerivedReader:
    """Reads what is computed of documents, for the reader of a retriever's parts.

    Args:
        known: digests that were made before.
        read: reads any other part.
    """

    def __init__(self, known: dict[int, Any], read: Callable[[Any], Any]) -> None:
        self._known, self._read = known, read

    def of(self, part: Any) -> Any:
        """An array, or all that a vectorizer holds: settings, functions, and what it computed.

        Raises:
            Uncacheable: something of it cannot be read.
        """
        if _is_array(part):
            return self._counted(part)
        held = attributes_of(part)
        addresses = {id(one) for one in held.values()}  # which scikit-learn remembers: another in each process
        return {
            name: self._counted(one) if _is_array(one) or type(one) in _CONTAINERS else self._read(one)
            for name, one in sorted(held.items())
            if one is not None and not (type(one) is int and one in addresses)
        }

    def _counted(self, value: Any) -> Any:
        at = ~id(value)  # no other reader's
        known, items, now = self._known.get(at), _items(value), time.monotonic()
        is_due = len(items) <= _AT_ONCE or known is None or now - known.read_at >= _SECONDS
        if known is not None and len(items) == len(known.items):
            if not is_due:
                return known.form
            if _are_same(items, known.items):
                self._known[at] = known._replace(read_at=now)
                return known.form
        form = self._form(value)
        if _is_large(value, items):
            if len(self._known) > _AT_ONCE:
                self._known.clear()
            self._known[at] = _Digest(value, items, now, form)
        return form

    def _form(self, value: Any) -> Any:
        kinds = set(map(type, value)) if isinstance(value, _CONTAINERS) else set()
        if isinstance(value, Mapping):
            kinds |= set(map(type, value.values()))
        if not kinds <= _PLAIN:
            return self._read(value)
        order = [*value] if isinstance(value, Mapping) else None
        try:
            content = msgspec.msgpack.encode((order, value), enc_hook=_plain, order="deterministic")
        except (TypeError, ValueError, OverflowError, RecursionError):
            return self._read(value)
        return {"of": type(value).__name__, "digest": hashlib.sha256(content).hexdigest()}


def _are_same(now: list[Any], before: list[Any]) -> bool:
    try:
        return now == before  # of items that are identical, nothing is compared
    except ValueError:  # arrays
        return False


def _is_array(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] in ("numpy", "scipy") and hasattr(value, "shape")


def _is_large(value: Any, items: list[Any]) -> bool:
    """Whether a digest takes longer than a look at whether the same is there."""
    if not isinstance(value, _CONTAINERS):
        return int(getattr(value, "nnz", value.size)) > _AT_ONCE
    return len(items) > _FEW or sum(len(one) for one in items if isinstance(one, _CONTAINERS)) > _FEW


def _items(value: Any) -> list[Any]:
    """What is compared: the items of a list or map; of an array, which is replaced as a whole, nothing."""
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    return [*value] if isinstance(value, _CONTAINERS) else []


def _plain(value: Any) -> Any:
    if not _is_array(value):
        raise TypeError(f"a {type(value).__qualname__}")
    if hasattr(value, "tobytes"):
        return [str(value.dtype), value.shape, value.tolist() if value.dtype.hasobject else value.tobytes()]
    return [value.format, value.shape, [getattr(value, name) for name in _ARRAYS if hasattr(value, name)]]
