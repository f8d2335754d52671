"""Documents in the lists, maps and data frames of a retriever, and in LangGraph's store in memory, by a digest."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document

from askonce.keys.normal_form import Uncacheable
from askonce.langchain.retrieval.indexes import digest

_MANY = 32
_AT_ONCE = 1000
"""Of no more documents it is seen at once that one was edited in its place; of others within `_SECONDS`."""
_SECONDS = 1.0
_FRAMES = frozenset({("pandas", "DataFrame"), ("pandas", "Series")})


def holds_documents(part: Any, *, is_named: bool) -> bool:
    """Whether an object holds documents and nothing else.

    Args:
        part: any.
        is_named: of a retriever with a name, in which maps may be documents too. Without one, the texts in a long
            list are read here as well; with one, they may be what it has searched for.
    """
    if _is_frame(part) or _is_graph_store(part):
        return is_named
    if not isinstance(part, (list, tuple, Mapping)) or not part:
        return False
    rows = part.values() if isinstance(part, Mapping) else part
    if all(isinstance(one, Document) for one in rows):
        return True
    if is_named:
        return all(isinstance(one, Mapping) for one in rows)
    return len(part) >= _MANY and all(isinstance(one, (Document, str)) for one in rows)


class HeldDocuments:
    """The digest of what `holds_documents`, in its order, made once while it is the same.

    Args:
        part: which.

    Attributes:
        part: which.
        form: its normal form.

    Raises:
        Uncacheable: a document cannot be written.
    """

    def __init__(self, part: Any) -> None:
        self.part = part
        self._read_at = time.monotonic()
        self._parts = _parts(part)
        self._contents = _copied(_contents(self._parts))  # before the digest: what is edited meanwhile is seen
        self.form: dict[str, Any]
        if _is_frame(part):
            self.form = {"frame": self._parts[0]}
        else:
            self.form = {"length": len(self._parts), "digest": digest(_rows(part), is_ordered=True)}

    def is_same(self) -> bool:
        """Whether the digest is still that of what it holds."""
        is_large = _size(self.part) > _AT_ONCE
        is_due = not is_large or time.monotonic() - self._read_at >= _SECONDS
        if not is_due and _is_frame(self.part):
            return True
        parts = _parts(self.part)
        if not _are_equal(parts, self._parts):  # with a list's speed: the same objects are not compared
            return False
        if is_due:
            if not _are_equal(_contents(parts), self._contents):
                return False
            self._read_at = time.monotonic()
        return True


def _is_frame(part: Any) -> bool:
    return (type(part).__module__.partition(".")[0], type(part).__name__) in _FRAMES


def _digest_of_frame(part: Any) -> str:
    hashed = sys.modules["pandas"].util.hash_pandas_object
    columns = list(part.columns) if hasattr(part, "columns") else [part.name]
    try:
        rows = hashed(part)
    except TypeError:  # lists or maps in it
        rows = hashed(part.astype(str))
    return hashlib.sha256(repr([*map(str, columns)]).encode() + rows.to_numpy().tobytes()).hexdigest()


def _is_graph_store(part: Any) -> bool:
    return any(
        (one.__module__, one.__name__) == ("langgraph.store.memory", "InMemoryStore") for one in type(part).__mro__
    )


def _size(part: Any) -> int:
    return sum(map(len, part._data.values())) if _is_graph_store(part) else len(part)


def _rows(part: Any) -> Any:
    if _is_graph_store(part):
        return [((*space, key), one.value) for space, items in part._data.items() for key, one in items.items()]
    return list(part.items()) if isinstance(part, Mapping) else part


def _parts(part: Any) -> list[Any]:
    """What it holds: objects that are replaced by others, or edited in their place."""
    if _is_frame(part):
        try:
            return [_digest_of_frame(part)]
        except Exception as error:
            raise Uncacheable(f"a {type(part).__qualname__} cannot be written") from error
    if _is_graph_store(part):
        return [one for row in _rows(part) for one in row]
    return [*part, *part.values()] if isinstance(part, Mapping) else [*part]


def _contents(parts: list[Any]) -> list[Any]:
    return [one.__dict__ if isinstance(one, Document) else one for one in parts if not isinstance(one, str)]


def _copied(value: Any) -> Any:
    """A copy as deep as maps and lists go; other objects in metadata are seldom edited in their place."""
    if isinstance(value, dict):
        return {name: _copied(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(map(_copied, value)) if type(value) in (list, tuple, set) else value
    return value


def _are_equal(now: list[Any], before: list[Any]) -> bool:
    try:
        return now == before
    except Exception:  # arrays
        return False
