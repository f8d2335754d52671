"""What the code of own classes was read of, and whether it is still so.

A program may change what a class's code uses while a model lives: a function in a notebook, a prompt, an item of a
map. So what was read is compared at each request, by identity. What changes while a model answers is a counter or a
log, and counts as it was before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import operator
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import CellType, FunctionType, MemberDescriptorType
from typing import Any, NamedTuple

from askonce.keys.own.changes import OwnChanges, Path, defaults_of
from askonce.keys.own.modules import is_installed

_MOST_MARKS = 10_000
_SCALARS = (str, bytes, bool, int, float, type(None))

Content = dict[Any, Any] | tuple[Any, ...] | frozenset[Any]


class Observed(NamedTuple):
    """A namespace, a container or an object that was read.

    Attributes:
        holder: it.
        names: those of it that were read; ``None``: all.
        is_container: its items were read, and not its attributes.
        content: what it held.
        read: gives what it holds now.
        place: of a container, the class of the object that holds it, or the id of what holds the variable.
        path: where it stands there; ``None``: in an object of an installed class, whose code is not read.
    """

    holder: Any
    names: tuple[str, ...] | None
    is_container: bool
    content: Content
    read: Callable[[], Content]
    place: Any = None
    path: Path | None = None

    def now(self) -> Content:
        """What it holds now, with counters and logs as they were before they changed."""
        content = self.read()
        mark = _marks.get((id(self.holder), self.is_container)) if _marks else None
        return content if mark is None else _effective(content, mark, self.holder, self.names)

    def is_changed(self, changes: OwnChanges, name: Any, *, added: bool = False) -> bool:
        """Whether the code changes what it holds under a name itself; ``None``: anything in it."""
        holder, part = self.holder, name if isinstance(name, str) else ""
        if self.is_container:
            if self.path is None:
                return True
            return changes.is_changed(self.place, self.path if name is None else (*self.path, part), added=added)
        if isinstance(holder, type):
            return changes.is_changed(holder, (part,))
        if self.names is not None:
            return changes.is_changed(id(holder), (part,))
        if _is_of_a_package(type(holder)):
            return True
        return changes.is_changed(type(holder), ("", f".{part}"))


class _Mark(NamedTuple):
    """What the program changes of a holder while a model answers.

    Attributes:
        holder: gives it, while it lives.
        first: what changes, as it was before; of a list or a set all of it, under ``None``.
        known: the names that were there before others came, where the code adds some; ``None``: all count.
    """

    holder: Callable[[], Any]
    first: dict[Any, Any]
    known: frozenset[Any] | None


UNSET: Any = object()
"""What a context variable holds that is not set."""
_MISSING: Any = object()
_marks: dict[tuple[int, bool], _Mark] = {}


class Observations:
    """All that one key was read of.

    Attributes:
        seen: each holder.
        variables: the context variables that the code uses, and what they held.
        changes: what the code assigns or changes itself.
    """

    def __init__(self) -> None:
        self.seen: list[Observed] = []
        self.variables: list[tuple[ContextVar[Any], Any]] = []
        self.changes = OwnChanges()

    def is_any(self) -> bool:
        """Whether something was read."""
        return bool(self.seen or self.variables)

    def is_current(self) -> bool:
        """Whether all is as it was."""
        if any(variable.get(UNSET) is not value for variable, value in self.variables):
            return False
        return all(_is_same(one.now(), one.content) for one in self.seen)

    def has_other_variables(self) -> bool:
        """Whether a context variable holds something else, as in another user's request."""
        return any(variable.get(UNSET) is not value for variable, value in self.variables)

    def add_all(self, other: Observations) -> None:
        """Add what a part of a model was read of."""
        self.seen += other.seen
        self.variables += other.variables
        self.changes.add_all(other.changes)

    def record(self) -> None:
        """Record, after a call, what the program has changed since this was read."""
        for one in self.seen:
            now = one.now()
            if not _is_same(now, one.content):
                self._record(one, now)

    def _record(self, one: Observed, now: Content) -> None:
        """Record what the code itself has changed; what others have set meanwhile is a setting."""
        known: frozenset[Any] | None = None
        if isinstance(one.content, dict) and isinstance(now, dict):
            first = self._changed_in(one, now)
            if one.is_container and now.keys() != one.content.keys() and one.is_changed(self.changes, None):
                known = frozenset(one.content)
        else:
            first = {None: one.content} if one.is_changed(self.changes, None) else {}
        if not first and known is None:
            return
        mark = _mark_of(one.holder, one.is_container)
        if mark is not None:
            first, known = {**first, **mark.first}, known if mark.known is None else mark.known
        _marks[id(one.holder), one.is_container] = _Mark(_reference(one.holder), first, known)
        while len(_marks) > _MOST_MARKS:
            _marks.pop(next(iter(_marks)), None)

    def _changed_in(self, one: Observed, now: dict[Any, Any]) -> dict[Any, Any]:
        """What the code has changed, as it was."""
        first, held = {}, one.content
        assert isinstance(held, dict)
        for name in {**held, **now}:
            before, after = held.get(name, _MISSING), now.get(name, _MISSING)
            if before is after or _is_equal(before, after) or isinstance(after, (FunctionType, type)):
                continue
            if one.is_changed(self.changes, name, added=before is _MISSING and one.is_container):
                first[name] = before
        return first


_collected: ContextVar[Observations | None] = ContextVar("askonce_observations", default=None)


@contextlib.contextmanager
def collecting() -> Iterator[Observations]:
    """While it lasts, what the code of own classes is read of is collected."""
    found, outer = Observations(), _collected.get()
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)
        if outer is not None:
            outer.add_all(found)


def collected() -> Observations | None:
    """What collects now, if something does."""
    return _collected.get()


def observe(holder: Any, names: tuple[str, ...] | None = None) -> dict[Any, Any]:
    """What a namespace or an object holds by name, with counters and logs as they were before they changed.

    Args:
        holder: a map of variables, a class, a cell of a function with the name of its variable, an object.
        names: those that are read; ``None``: all.
    """
    content: Any = _observed(Observed(holder, names, False, (), _reader(holder, names, is_container=False)))
    return content  # type: ignore[no-any-return]


def observe_definition(function: FunctionType) -> dict[str, Any]:
    """The defaults of a function's arguments; they, and its code, may be replaced."""

    def read() -> Content:
        defaults = defaults_of(function)
        return (function.__code__, *defaults, *defaults.values())

    found = _collected.get()
    if found is not None:
        found.seen.append(Observed(function, None, True, read(), read, path=("",)))
    return defaults_of(function)


def items_of(container: Any, place: Any = None, path: Path | None = None) -> Any:
    """What a map, a list or a set holds, as a dict, a tuple or a set; logs as they were before they changed.

    Args:
        container: it.
        place: the class of the object that holds it, or the id of what holds the variable.
        path: where it stands there; ``None``: in an object of an installed class.
    """
    read = _reader(container, None, is_container=True)
    if isinstance(container, (tuple, frozenset)):
        return read()
    return _observed(Observed(container, None, True, (), read, place, path))


def as_read(value: Any, read: Callable[[], Any], place: Any = None, path: Path | None = None) -> Any:
    """What something says of an object that is changed in place, as before the code itself changed it.

    Args:
        value: the object, such as an array.
        read: gives it, as something that can be compared.
        place: as of `items_of`.
        path: as of `items_of`.
    """
    content = _observed(Observed(value, None, True, (), lambda: frozenset({read()}), place, path))
    return next(iter(content))


def _observed(one: Observed) -> Content:
    found = _collected.get()
    if found is None:
        return one.read()
    content = one.now()
    if one.names is None or one.names:
        found.seen.append(Observed(*one[:3], content, *one[4:]))
    return content


def _is_of_a_package(cls: type) -> bool:
    """Whether its code is not read, and may change its objects; what has fields alone has no such code."""
    return is_installed(cls.__module__) and cls.__name__ not in _WITHOUT_CODE


_WITHOUT_CODE = frozenset({"SimpleNamespace", "Namespace", "function", "Template"})


def held_by(value: Any) -> dict[str, Any]:
    """The attributes of an object, with those in slots of own classes and pydantic's private ones."""
    held = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        for name, slot in () if is_installed(cls.__module__) else sorted(vars(cls).items()):
            if isinstance(slot, MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # not set
                    held[name] = slot.__get__(value)
    if not held and dataclasses.is_dataclass(value):  # with slots
        held = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(value)}
    is_model = hasattr(type(value), "__pydantic_fields__")
    return held | ((is_model and getattr(value, "__pydantic_private__", None)) or {})


def _reader(holder: Any, names: tuple[str, ...] | None, *, is_container: bool) -> Callable[[], Content]:
    if is_container:
        if isinstance(holder, dict):
            return functools.partial(dict, holder)
        if isinstance(holder, Mapping):
            return lambda: dict(holder.items())
        if isinstance(holder, (set, frozenset)):
            return functools.partial(frozenset, holder)
        return functools.partial(tuple, holder)
    if isinstance(holder, CellType):
        return functools.partial(_of_cell, holder, names or ("",))
    if isinstance(holder, type):
        return functools.partial(dict, vars(holder))
    if names is None:
        return functools.partial(held_by, holder)
    present = tuple(name for name in names if name in holder)
    return functools.partial(_of_names, holder, present, names)


def _of_names(holder: Any, present: tuple[str, ...], names: tuple[str, ...]) -> Content:
    """The variables that were there; if one of them is gone, all that are there now."""
    try:
        return {name: holder[name] for name in present}
    except KeyError:
        return {name: holder[name] for name in names if name in holder}


def _of_cell(cell: CellType, names: tuple[str, ...]) -> Content:
    try:
        return {names[0]: cell.cell_contents}
    except ValueError:  # not assigned yet
        return {}


def _effective(content: Content, mark: _Mark, holder: Any, names: tuple[str, ...] | None) -> Content:
    if mark.holder() is not holder:
        return content
    if not isinstance(content, dict):
        return mark.first.get(None, content)  # type: ignore[no-any-return]
    shown = {
        name: mark.first.get(name, content.get(name, _MISSING))
        for name in {**content, **mark.first}
        if (mark.known is None or name in mark.known) and (names is None or name in names)
    }
    return {name: value for name, value in shown.items() if value is not _MISSING}


def _mark_of(holder: Any, is_container: bool) -> _Mark | None:
    mark = _marks.get((id(holder), is_container))
    return mark if mark is not None and mark.holder() is holder else None


def _reference(value: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:  # a map, a list
        return lambda: value


def _is_same(now: Content, before: Content) -> bool:
    if type(now) is not type(before) or len(now) != len(before):
        return False
    if isinstance(now, dict) and isinstance(before, dict):
        return all(map(operator.is_, now.values(), before.values())) and all(map(operator.is_, now, before))
    return now == before if isinstance(now, frozenset) else all(map(operator.is_, now, before))


def _is_equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and isinstance(one, _SCALARS) and bool(one == other)
