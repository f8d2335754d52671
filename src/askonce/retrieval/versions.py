"""Versions of what a process holds in its own memory: another process may hold more, or less, under the same names.

The version of an index is a digest of its documents. So all processes that loaded the same share what was found in
it. An index that is written to through `watch` leaves them: from then on its version is a random name, its own, and
the log of its corpus says what each of its changes concerns. After a fork there are two of the index: what was
found before is shared by both until one is written to, which then gets another name.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from askonce.keys.normal_form import Uncacheable
from askonce.retrieval.held import attributes_of, is_plain

logger = logging.getLogger("askonce")
_warned: set[str] = set()

_AT = "_askonce_version"
_CONTAINERS = (list, tuple, set, frozenset, deque, Mapping)
_CLOSED = frozenset({"sqlite3", "duckdb", "pandas", "polars"})
_DEEPEST = 4
_ROWS = 10_000
_FAISS_NUMBERS = (
    "nprobe max_codes parallel_mode by_residual metric_arg k_factor polysemous_ht search_type use_precomputed_table"
    " efSearch search_L check_relative_distance search_bounded_queue search_method is_similarity"
).split()
_FAISS_PARTS = "hnsw nsg nndescent quantizer index base_index refine_index".split()


class IndexContent(NamedTuple):
    """The documents in an index.

    Attributes:
        items: objects that are replaced when a document is.
        rows: gives what its version depends on of each document.
    """

    items: Sequence[Any]
    rows: Callable[[], Iterable[Any]]


def held_in(attributes: Mapping[str, Any]) -> IndexContent | None:
    """What is in the lists, maps and arrays of an application's own store, also within plain objects of its own.

    ``None`` if it holds none. What is in a data frame or behind a connection cannot be read, so that its version is
    its own.
    """
    containers = [
        found
        for name, value in attributes.items()
        if not name.startswith("_askonce")
        for found in _held_at((name,), value)
    ]
    if not containers:
        return None
    return IndexContent(
        [item for _, one in containers for item in _items(one)],
        lambda: [
            row
            for path, one in containers
            for row in (
                (path, f"{type(one).__module__}.{type(one).__qualname__}"),  # to own code a tuple is no list
                *(((*path, str(at)), item) for at, item in enumerate(_items(one)) if not _is_read(path, item)),
            )
        ],
    )


def is_container(value: Any) -> bool:
    """Whether it is a list or a map."""
    return isinstance(value, _CONTAINERS)


def is_content(value: Any) -> bool:
    """Whether a value may be documents, which `held_in` reads."""
    package = type(value).__module__.partition(".")[0]
    return isinstance(value, _CONTAINERS) or package in _CLOSED or (package == "numpy" and hasattr(value, "ravel"))


def _held_at(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The lists and maps in an attribute, by where they are."""
    package = type(value).__module__.partition(".")[0]
    if isinstance(value, _CONTAINERS):
        yield from _containers(path, value)
    elif package == "numpy" and hasattr(value, "ravel"):
        yield path, (value.ravel().tolist() if value.dtype.hasobject else [value])
    elif package in _CLOSED:
        yield path, [value]
    elif len(path) < _DEEPEST and not isinstance(value, type) and is_plain(type(value)):
        for name, one in attributes_of(value).items():
            yield from _held_at((*path, name), one)


def _containers(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A list or map, and those in it, by where they are."""
    yield path, value
    for name, one in value.items() if isinstance(value, Mapping) else enumerate(value):
        if _is_read(path, one):
            yield from _containers((*path, str(name)), one)


def _is_read(path: tuple[str, ...], item: Any) -> bool:
    """Whether an item is a list or map that is read itself; not if it is a vector, or far inside."""
    if not isinstance(item, _CONTAINERS) or len(path) >= _DEEPEST:
        return False
    return not all(isinstance(part, (int, float)) for part in item)


def _items(container: Any) -> Iterable[Any]:
    return chain(container, container.values()) if isinstance(container, Mapping) else container


def faiss_rows(index: Any, names: Mapping[int, Any]) -> Iterator[tuple[Any, bytes]]:
    """What is in an index of FAISS: its kind, how it searches, and each vector with the name of its document.

    Raises:
        Uncacheable: an index of this kind does not give its vectors.
    """
    yield type(index).__name__, f"{index.d} {index.metric_type} {faiss_settings(index)}".encode()
    try:
        yield from ((names.get(at), row) for at, row in _faiss_vectors(index))
        quantizer = next(filter(None, (getattr(one, "quantizer", None) for one in _faiss_within(index))), None)
        if quantizer is not None:  # it says in which lists is searched
            yield from (((at, "list"), row) for at, row in _faiss_vectors(quantizer))
    except Exception as error:
        raise Uncacheable(f"a {type(index).__name__} does not give its vectors") from error


def _faiss_vectors(index: Any) -> Iterator[tuple[int, bytes]]:
    for begin in range(0, index.ntotal, _ROWS):
        vectors = index.reconstruct_n(begin, min(_ROWS, index.ntotal - begin))
        yield from ((at, one.tobytes()) for at, one in enumerate(vectors, begin))


def _faiss_within(index: Any) -> Iterator[Any]:
    """An index, and those that it wraps."""
    while index is not None:
        yield index
        index = _faiss_part(index, "index")


def _faiss_part(index: Any, name: str) -> Any:
    """A part of an index; of another index one of its own class, of which alone the settings can be read."""
    part = getattr(index, name, None)
    return sys.modules["faiss"].downcast_index(part) if type(part).__name__ == "Index" else part


def faiss_settings(index: Any, depth: int = 0) -> tuple[Any, ...]:
    """How an index of FAISS searches, and those within it: this may be set at any time."""
    numbers = tuple((name, one) for name in _FAISS_NUMBERS if (one := getattr(index, name, None)) is not None)
    parts = ((name, _faiss_part(index, name)) for name in (_FAISS_PARTS if depth < _DEEPEST else ()))
    return numbers + tuple(
        (name, type(one).__name__, *faiss_settings(one, depth + 1)) for name, one in parts if one is not None
    )


def digest_of(rows: Iterable[bytes]) -> str:
    """A digest of documents, in any order."""
    return hashlib.sha256(b"".join(sorted(hashlib.sha256(row).digest() for row in rows))).hexdigest()


def digest_in_order(rows: Iterable[bytes]) -> str:
    """A digest of documents in their order."""
    return hashlib.sha256(b"".join(hashlib.sha256(row).digest() for row in rows)).hexdigest()


class _Forks:
    """How many forks there were: another number on each side of a fork, and after it."""

    count = 0

    @classmethod
    def counted(cls) -> None:
        cls.count += 1


if hasattr(os, "register_at_fork"):  # also before it, so that no name of another thread's is made in between
    os.register_at_fork(before=_Forks.counted, after_in_parent=_Forks.counted, after_in_child=_Forks.counted)


class _Version:
    """Lies among an object's attributes, so that all objects that share these share it. A copy gets one of its own.

    Attributes:
        name: of the version.
        items: the documents that were there under that name.
        is_own: the name is random.
        made: the process that made it, and how many forks there were.
    """

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self.made = os.getpid(), _Forks.count
        self.items: list[Any] | None = None
        self.is_own = True

    def __reduce__(self) -> tuple[type[_Version], tuple[()]]:
        return _Version, ()


def version_of(index: Any, items: Iterable[Any], digest: Callable[[], str]) -> str:
    """The version of an index in memory.

    Args:
        index: an object that all holders of the same documents share, or whose attributes they share.
        items: its documents; they are replaced, not changed, when another content is written.
        digest: of their content. If it raises `Uncacheable`, the version is the index's own.

    Raises:
        Uncacheable: the index takes no mark.
    """
    version, there = _marked(index), list(items)
    if version.items is None or not _same(version.items, there):
        fresh = _Version()
        fresh.items = there
        try:
            fresh.name, fresh.is_own = digest(), False
        except Uncacheable as error:
            _warn_once(f"{type(index).__module__}.{type(index).__qualname__}", str(error))
        vars(index)[_AT] = version = fresh
    return version.name


def _warn_once(kind: str, why: str) -> None:
    if kind not in _warned:
        _warned.add(kind)
        logger.warning(
            "askonce: what a %s holds in memory cannot be read, so that what is found in it is shared with no other"
            " process: %s; hold documents in lists, maps or arrays, or show the directory or URL where they are",
            kind,
            why,
        )


def written(index: Any, items: Iterable[Any]) -> None:
    """Record that a change of an index, which its corpus has recorded, is done.

    Args:
        index: as in `version_of`.
        items: its documents now.
    """
    fresh, before = _Version(), _marked(index)
    if before.is_own and before.made == fresh.made:
        fresh.name = before.name
    fresh.items = list(items)
    vars(index)[_AT] = fresh


def instance(part: Any) -> str:
    """A name for one object of this process: what it holds in memory is nowhere else.

    A forked process gives it another, since what is written to it there does not show here.

    Raises:
        Uncacheable: the object takes no mark.
    """
    version = _marked(part)
    if version.made[0] != os.getpid():
        vars(part)[_AT] = version = _Version()
    return version.name


def _marked(part: Any) -> _Version:
    try:
        version: _Version = vars(part).setdefault(_AT, _Version())
    except TypeError as error:
        raise Uncacheable(f"a {type(part).__qualname__} cannot be distinguished from others") from error
    return version


def _same(before: list[Any], now: list[Any]) -> bool:
    try:
        return before == now  # of items that are identical, nothing is compared
    except Exception:  # arrays
        return False
