"""What identifies a model is derived once, and again when the model has changed.

To walk all fields of a model costs more than to look an answer up. So what was derived is remembered beside a
fingerprint of the model: the values of its fields, the contents of dicts, lists, sets and models in them, and the
identity of every other object. A field assigned anew, a change inside such a container or a known client
(`show_inside`), and a replaced object change the fingerprint. A change inside another object does not. Of a model
of the application's own class, what its code was read of is compared, too (``askonce.keys.own.state``).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from askonce.keys.normal_form import Uncacheable
from askonce.keys.own.changes import OwnChanges
from askonce.keys.own.modules import is_installed_class
from askonce.keys.own.state import Observations, collected, collecting

logger = logging.getLogger("askonce")
T = TypeVar("T")

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_SEQUENCES = (list, tuple, set, frozenset)
_shown: dict[type, Callable[[Any], Iterable[Any]]] = {}
_CHANGES = 10


def show_inside(cls: type, what: Callable[[Any], Iterable[Any]]) -> None:
    """From now on, this of what objects of that class hold is part of the fingerprints: they can be set up anew.

    A list among it is a copy of plain data, and compared as it is.
    """
    _shown[cls] = what


class _Known(NamedTuple):
    """What is remembered of one model.

    Attributes:
        model: it, while it lives.
        fingerprint: its.
        held: the objects whose ids that contains.
        value: what was derived.
        observed: what the code of its own classes was read of; ``None`` if it has none.
        error: why nothing could be derived.
        until: when that is tried again.
    """

    model: weakref.ref[Any]
    fingerprint: object
    held: list[object]
    value: Any
    observed: Observations | None
    error: Uncacheable | None = None
    until: float = 0.0


_AGAIN = 60.0
"""After so many seconds what could not be read is tried again: it may have been for another thread's sake."""
_deriving = threading.RLock()
_LONGEST = 1.0
"""How many seconds to wait for another thread, which may be gone with a fork."""
_identities: weakref.WeakSet[RememberedIdentity[Any]] = weakref.WeakSet()
answering: set[int] = set()
"""The ids of models that a call is under way of: what their code changes meanwhile is no setting."""


def record_changes(model: Any) -> list[OwnChanges]:
    """Record, after a call of a model, what its code has changed of what its key was made from.

    Returns:
        What its code changes, as far as it is of the application's own.
    """
    found: list[OwnChanges] = []
    for identity in _identities:
        known = identity.remembered(model)
        if known is not None and known.observed is not None:
            known.observed.record()
            found.append(known.observed.changes)
    return found


def changes_of(model: Any) -> list[OwnChanges]:
    """What the code of a model changes, as far as it is of the application's own."""
    return [one.changes for one in observed_of(model)]


def observed_of(model: Any) -> list[Observations]:
    """What the code of a model was read of, as far as it is of the application's own."""
    known = [identity.remembered(model) for identity in _identities]
    return [one.observed for one in known if one is not None and one.observed is not None]


def forget_what_was(model: Any) -> None:
    """Forget what was derived of a model before the application changed it: a call changes it from here on."""
    for identity in _identities:
        known = identity.remembered(model)
        if known is not None and known.observed is not None and not known.observed.is_current():
            identity.drop(model)


_WAYS_OUT = ("cached(", "cache_options(", "ignore=")


class RememberedIdentity(Generic[T]):
    """Remembers one derived value for each model, for as long as the model lives. Thread-safe.

    Args:
        derive: derives the value from a model. If it raises `Uncacheable`, that is remembered likewise.
        parts: what a value consists of, by name. A model whose value has changed ten times without having been of
            use is logged once, with the parts that have changed.
        way_out: what to write for such a model, for people.
    """

    def __init__(
        self, derive: Callable[[Any], T], parts: Callable[[T], Mapping[str, Any]] | None = None, way_out: str = ""
    ) -> None:
        self._derive = derive
        self._parts, self._way_out = parts, way_out
        self._changes: dict[int, int] = {}
        self._known: dict[int, _Known] = {}  # by the model's id
        self._fresh: set[int] = set()  # derived, and not used again: after a call each model is looked at once
        _identities.add(self)

    def of(self, model: Any) -> T:
        """The value derived from a model as it is now."""
        try:
            fingerprint, held = fingerprint_of(model)
        except Exception as error:  # an object in it cannot even be looked at
            raise self._unread(model, error) from error
        at = id(model)
        known = self._known.get(at)
        if (
            known is not None
            and known.fingerprint == fingerprint
            and known.model() is model
            and (known.observed is None or _is_current(known.observed))
            and (known.error is None or time.monotonic() < known.until)
        ):
            if at in self._changes and at not in self._fresh:
                self._changes[at] = 0
            self._fresh.discard(at)
            if known.error is not None:
                raise Uncacheable(*known.error.args)
            return known.value  # type: ignore[no-any-return]
        cls: type = type(model)
        if not _is_own(cls):
            return self._derived(model, fingerprint, held)
        # One after another: when the first is done, its call begins to count and to log.
        locked = _deriving.acquire(timeout=_LONGEST)
        try:
            first, is_answering = self.remembered(model), at in answering
            if first is not None and first.observed is not None and is_answering:
                first.observed.record()
            if (
                first is not None
                and (first is not known or is_answering)
                and first.fingerprint == fingerprint
                and (first.observed is None or _is_current(first.observed))
            ):
                return first.value  # type: ignore[no-any-return]
            return self._derived(model, fingerprint, held)
        finally:
            if locked:
                _deriving.release()

    def _derived(self, model: Any, fingerprint: object, held: list[object]) -> T:
        at, known = id(model), self.remembered(model)
        value, error, observed = self._read(model)
        for is_last in (False, True):
            now, held_now = _fingerprint_now(model)
            if now == fingerprint:
                break
            # Another thread has changed it while it was read, or what is read of it is looked into from now on.
            fingerprint, held = (object() if is_last else now), held_now
            if not is_last:
                value, error, observed = self._read(model)
        try:
            reference = weakref.ref(model, lambda _: self.forget(at))
        except TypeError:  # a class with slots: derived each time
            reference = None
        if reference is not None:
            seen = observed if observed.is_any() else None
            until = time.monotonic() + _AGAIN
            self._fresh.add(at)
            self._known[at] = _Known(reference, fingerprint, held, value, seen, error, until)
        if error is not None:
            raise error
        if reference is not None and known is not None and known.value != value:
            self._changed(model, known, value)
        return value  # type: ignore[no-any-return]

    def _read(self, model: Any) -> tuple[Any, Uncacheable | None, Observations]:
        """What is derived, why it could not be, and what it was read of."""
        with collecting() as observed:
            try:
                return self._derive(model), None, observed
            except Exception as raised:  # whatever an object of the application's raises
                return None, self._unread(model, raised), observed

    def _unread(self, model: Any, error: Exception) -> Uncacheable:
        """Why a model has no key, and the way out, for people."""
        reason = str(error)
        if not isinstance(error, Uncacheable):
            reason = f"{type(model).__qualname__}{_raising(model)} cannot be read ({type(error).__name__})"
        if self._way_out and not any(way in reason for way in _WAYS_OUT):
            reason += f"; {self._way_out} names it instead"
        return Uncacheable(reason)

    def remembered(self, model: Any) -> _Known | None:
        """What was derived of a model, whether it is still so or not."""
        known = self._known.get(id(model))
        return known if known is not None and known.model() is model and known.error is None else None

    def drop(self, model: Any) -> None:
        """Have the value derived again at the next request."""
        self._known.pop(id(model), None)

    def forget(self, at: int) -> None:
        """Forget what was derived of the model of this id."""
        self._known.pop(at, None)
        self._fresh.discard(at)
        self._changes.pop(at, None)

    def _changed(self, model: Any, known: _Known, now: T) -> None:
        if known.observed is not None and known.observed.has_other_variables():
            return  # another user's request
        self._changes[id(model)] = changes = self._changes.get(id(model), 0) + 1
        if changes == _CHANGES and self._parts is not None:
            old, new = self._parts(known.value), self._parts(now)
            logger.warning(
                "askonce: the key of %s changes at every call, so that nothing is found again: it has another %s"
                " each time; %s names it instead",
                type(model).__name__,
                ", ".join(sorted(name for name in {**old, **new} if old.get(name) != new.get(name))),
                self._way_out,
            )


@functools.lru_cache(maxsize=2048)
def _is_own(cls: type) -> bool:
    """Whether a class, or one that it is made from, is of the application's own."""
    return not all(is_installed_class(base) for base in cls.__mro__)


def _raising(model: Any) -> str:
    """Which attribute of a model raises when it is looked at, for people."""
    for name, value in getattr(model, "__dict__", {}).items():
        try:
            fingerprint_of([value, value.__class__, type(value).__module__, getattr(value, "__dict__", None)])
        except Exception:
            return f".{name}"
    return ""


def _is_current(observed: Observations) -> bool:
    outer = collected()
    if outer is not None:  # the model is a part of another
        outer.add_all(observed)
    return observed.is_current()


@functools.lru_cache(maxsize=2048)
def _is_open(cls: type) -> bool:
    """Whether what objects of a class hold is part of a key: containers, dataclasses and models of pydantic's."""
    return (
        issubclass(cls, (Mapping, *_SEQUENCES))
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__pydantic_fields__")
    )


def _fingerprint_now(model: Any) -> tuple[object, list[object]]:
    """`fingerprint_of`; one that equals no other if that cannot be looked at."""
    try:
        return fingerprint_of(model)
    except Exception:  # of an object in it
        return object(), []


def fingerprint_of(model: Any) -> tuple[object, list[object]]:
    """What is in a model, and in the containers and models in it: scalars as they are, other objects by their id.

    With it come the objects that have these ids, so that no other object gets them.
    """
    contents: list[object] = [type(model)]
    held: list[object] = []
    pending, seen = [model], {id(model)}
    while pending:
        value, copies = pending.pop(), False
        if isinstance(value, Mapping):
            items = [*value.keys(), *value.values()]
        elif isinstance(value, _SEQUENCES):
            items = list(value)
        elif type(value) in _shown:
            items = list(_shown[type(value)](value))
            copies = True
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
            if type(item) in _SCALARS or (copies and type(item) is list):
                # 1 is not True, and 0.0 is not -0.0
                shown.append((type(item), repr(item) if type(item) is float else item))
                continue
            if type(item) is bytearray:
                shown.append((bytearray, bytes(item)))
                continue
            shown.append((type(item), id(item)))
            cls: type = type(item)
            if (cls in _shown or _is_open(cls)) and id(item) not in seen:
                seen.add(id(item))
                pending.append(item)
        contents.append(frozenset(shown) if isinstance(value, (set, frozenset)) else shown)
    return contents, held
