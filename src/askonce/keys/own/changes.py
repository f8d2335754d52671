"""What the code that makes an answer changes itself: that is a counter, a log or a memo, and no setting.

A change counts for what it was made to: an attribute of objects of the method's class, one variable of one module,
one item. Only where the code does not say whose attribute it is, that of any object is meant. What a method changes
that no code of the answer calls, such as a setter, is a setting. A counter or a log is no setting whenever it
changes; so a method makes one only if the code surely calls it, of an object that is now of its class.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import CellType, FunctionType, ModuleType
from typing import Any, NamedTuple

from askonce.keys.own.bytecode import (
    ACTING,
    ANY,
    CALLED,
    ITEM,
    SELF,
    UNKNOWN,
    OwnChange,
    Use,
    changed_in,
    names_used,
    uses_in,
)
from askonce.keys.own.modules import is_installed_class

Path = tuple[str, ...]
"""Where something is held: a variable, or nothing of an object; ``.name`` for an attribute; a key, or `ANY`."""

_OBJECT = ""
_OF_CONTAINERS = frozenset(name for kind in (list, dict, set, deque, str, bytes) for name in dir(kind))
"""Methods that are seldom those of an object of the application's own, where code does not say of what they are."""


class _Read(NamedTuple):
    """A function that the code of an answer may call.

    Attributes:
        function: it.
        owner: the class whose method it is.
        entry: the name by which code calls it; ``None``: it is called anyway.
        operator: the operator that calls it, such as ``__enter__``.
        is_setter: it is called when an attribute of that name is assigned.
        is_start: it is of a class that any code may call, since it is no framework's and was read by itself.
    """

    function: Any
    owner: type | None
    entry: str | None
    operator: str | None
    is_setter: bool
    is_start: bool


class _Bound(NamedTuple):
    """A change, and where it is made.

    Attributes:
        where: the class of the object, or the id of what holds the variable; ``None`` if the code does not say.
        name: of the attribute or the variable; ``None``: of an item in something.
        key: the item; `ANY`; ``None``: the attribute or the variable itself.
        grows: as a counter does.
        fills: it counts only where nothing was there before.
        in_place: as of `OwnChange`.
        depth: the item is one of a list or a map that stands so many items deep in what is named.
        is_sure: the code surely makes it.
    """

    where: Any
    name: str | None
    key: str | None
    grows: bool
    fills: bool
    in_place: bool = False
    depth: int = 0
    is_sure: bool = True

    def is_at(self, within: Path, *, deeper: bool) -> bool:
        """Whether it is made to what stands there in what is named; ``deeper``: or to what that holds."""
        length = 0 if self.key is None else self.depth + 1
        if len(within) == length or within == (ANY,):  # any header of a client, whose headers are assigned
            return True
        return len(within) < length if deeper else self.in_place and len(within) == length + 1


class OwnChanges:
    """What functions change."""

    def __init__(self) -> None:
        self._functions: dict[_Read, None] = {}
        self._members: dict[str, set[type]] = {}  # what objects hold under each name
        self._packages: set[type] = set()
        self._found: dict[str, list[_Bound]] | None = None
        self._of_packages: set[tuple[type, str]] | None = None

    def add(
        self, function: FunctionType, owner: type | None, entry: str | None, *, is_setter: bool, is_start: bool
    ) -> None:
        """Add a function that the code of an answer uses, or a method of a class that it uses."""
        is_called = entry is not None and entry.startswith("__") and entry.endswith("__")
        operator = entry if is_called and entry in ACTING else None
        entry = None if is_called else entry
        self._functions[_Read(function, owner, entry, operator, is_setter, is_start)] = None
        self._found = self._of_packages = None

    def add_members(self, held: Mapping[str, Any]) -> None:
        """Add what an object holds, whose methods the code of the answer may call."""
        for name, value in held.items():
            if value is not None:
                self._members.setdefault(name, set()).add(type(value))
        self._found = None

    def add_package(self, cls: type) -> None:
        """Add an installed class of which an object was read: its methods may change that."""
        if cls not in self._packages:
            self._packages.add(cls)
            self._of_packages = None

    def add_all(self, other: OwnChanges) -> None:
        """Add what other code of the same answer changes."""
        if self._functions:  # what is in a field is called by the code of the object that has the field
            more = (one._replace(is_start=False) for one in other._functions if one not in self._functions)
            self._functions |= dict.fromkeys(more)
        else:
            self._functions |= other._functions
        for name, kinds in other._members.items():
            self._members.setdefault(name, set()).update(kinds)
        self._packages |= other._packages
        self._found = self._of_packages = None

    def names(self) -> frozenset[str]:
        """The names of all that the code changes, whosever it is."""
        return frozenset(name for name, found in self._live().items() if not all(one.fills for one in found))

    def is_counter(self, place: Any, path: Path) -> bool:
        """Whether a number is one that the code counts up or down, or adds to a log.

        Args:
            place: the class of the object that holds it, or the id of what holds the variable.
            path: where it stands there.
        """
        return any(one.grows and one.is_sure for one in self._at(place, path))

    def is_stack(self, place: Any, path: Path) -> bool:
        """Whether the code takes items from a list, too, to which it adds some: that is no log."""
        return any(one.key == ANY and not (one.grows or one.fills) for one in self._at(place, path))

    def may_count(self, path: Path, pairs: Iterable[tuple[Any, Any]]) -> bool:
        """Whether `is_counter` may be true of an item of a map that stands there."""
        live = self._live().keys()
        if not live.isdisjoint([part.removeprefix(".") for part in path]):
            return True
        return any(key in live for key, _ in pairs)

    def is_surely_changed(self, place: Any, path: Path) -> bool:
        """`is_changed`, though no call was seen to change it."""
        return any(one.is_sure and not one.fills for one in self._at(place, path)) or _is_computed(place, path)

    def is_changed(
        self, place: Any, path: Path, *, added: bool = False, filled: bool = False, deeper: bool = True
    ) -> bool:
        """Whether the code assigns what stands there itself.

        Args:
            place: as of `is_counter`.
            path: as of `is_counter`.
            added: it was not there before, so that it may be of a memo under another name.
            filled: nothing was there before.
            deeper: that the code changes what it holds is enough.
        """
        found = (one for one, within in self._found_at(place, path) if one.is_at(within, deeper=deeper))
        if any(filled or not one.fills for one in found) or (filled and _is_computed(place, path)):
            return True
        return added and any(one.key == ANY and not one.fills for one in self._live().get(UNKNOWN, ()))

    def is_changed_by_package(self, cls: type, name: str) -> bool:
        """Whether methods of an installed class that the code calls, as far as names say, change an attribute."""
        if self._of_packages is None:
            self._of_packages = self._changed_by_packages()
        return (cls, name) in self._of_packages

    def _changed_by_packages(self) -> set[tuple[type, str]]:
        methods = (one for cls in self._packages for one in _methods_of(cls))
        found: set[tuple[type, str]] = set()
        for read in self._called([*self._functions, *methods]):
            if read.owner not in self._packages:
                continue
            by_name = {"setattr", "__setattr__"} & {*read.function.__code__.co_names}
            for path, *_ in changed_in(read.function.__code__):
                if len(path) > 1 and (path[0] == SELF or (by_name and path[0] == UNKNOWN)):
                    found.add((read.owner, path[1]))
        return found

    def _at(self, place: Any, path: Path) -> Iterable[_Bound]:
        return (one for one, _ in self._found_at(place, path))

    def _found_at(self, place: Any, path: Path) -> Iterator[tuple[_Bound, Path]]:
        """The changes that are made there, and where in what they name."""
        live = self._live()
        for at, part in enumerate(path):
            for one in live.get(part.removeprefix("."), ()):
                if one.name is None:
                    if at > 0 and not part.startswith("."):
                        yield one, path[at:]
                elif _is_base(one, place, path, at) and _has_key(one, path[at + 1 :]):
                    yield one, path[at + 1 :]

    def _live(self) -> dict[str, list[_Bound]]:
        """The changes that are made, by the name of what is changed."""
        found = self._found
        if found is None:
            found = self._found = {}
            called = self._called([*self._functions])
            sure = self._surely_called(called)
            for read in called:
                for change in changed_in(read.function.__code__):
                    one = _bound(change, read)._replace(is_sure=read in sure)
                    name = one.key if one.name is None and one.key != ANY else one.name
                    found.setdefault(UNKNOWN if name is None else name, []).append(one)
        return found

    def _called(self, waiting: list[_Read]) -> list[_Read]:
        """Those of some functions that the code of the answer calls, by the names that it uses."""
        called: list[_Read] = []
        used: tuple[set[str], set[str]] = set(), set()
        while True:
            parts: tuple[list[_Read], list[_Read]] = [], []
            for one in waiting:
                is_called = one.entry is None or one.is_start or one.entry in used[one.is_setter]
                parts[is_called].append(one)
            waiting, now = parts
            if not now:
                return called
            called += now
            for one in now:
                read, assigned = names_used(one.function.__code__)
                used[False].update(read)
                used[True].update(assigned)

    def _surely_called(self, called: list[_Read]) -> set[_Read]:
        """Those of the functions that code calls of what can be an object of their class."""
        sure: set[_Read] = set()
        waiting, uses = called, dict[tuple[str, bool], set[type | None]]()
        named, named_surely = set[str](), set[str]()
        for one in called:
            named |= names_used(one.function.__code__)[0] - {one.function.__name__}
        while True:
            unsure = named - named_surely
            now = [one for one in waiting if _is_sure(one, uses, unsure)]
            if not now:
                return sure
            sure.update(now)
            waiting = [one for one in waiting if one not in sure]
            for one in now:
                named_surely |= names_used(one.function.__code__)[0]
                for use in uses_in(one.function.__code__):
                    uses.setdefault((use.name, use.is_assigned), set()).update(self._used_of(use, one))
                if _BY_TEXT & {*one.function.__code__.co_names}:
                    for name in names_used(one.function.__code__)[0]:
                        uses.setdefault((name, False), set()).add(None)

    def _used_of(self, use: Use, read: _Read) -> Iterable[type | None]:
        """The classes of which the object may be that code uses; ``None``: it does not say."""
        root, names = use.path[0], use.path[1:]
        value, kinds = _UNCLEAR, set[type]()
        if read.owner is not None and (root == SELF or (root == "global super" and names in ((), (CALLED,)))):
            kinds, names = {read.owner, *_made_from(read.owner)}, names if root == SELF else ()
        else:
            value = _value_of(root, read)
        for name in names:
            if name == CALLED:
                kinds, value = {value} if isinstance(value, type) else set(), _UNCLEAR
                continue
            inner = _UNCLEAR if name == ITEM else _member(value, name)
            if inner is _UNCLEAR and name != ITEM:
                found = [_member(kind, name) for kind in kinds]
                fixed: set[type] = {type(each) for each in found if each is not _UNCLEAR}
                kinds = self._members.get(name, set()) | fixed
            else:
                kinds = set()
            value = inner
        if value is not _UNCLEAR:
            return [value if isinstance(value, type) else type(value)]
        return kinds or [None]


_UNCLEAR: Any = object()
_BY_TEXT = frozenset("getattr attrgetter methodcaller".split())


def _is_sure(read: _Read, uses: Mapping[tuple[str, bool], set[type | None]], unsure: set[str]) -> bool:
    """Whether a function is called by code with such uses; ``unsure``: the names that stand in other code alone."""
    name = read.operator or read.entry
    if name is None or read.is_start:
        return read.owner is not None or read.function.__name__ not in unsure
    for kind in uses.get((name, read.is_setter), ()):
        if kind is None:
            if name not in _OF_CONTAINERS and name not in ACTING:
                return True
        elif read.owner is None or issubclass(kind, read.owner):
            return True
    return False


@functools.lru_cache(maxsize=512)
def _methods_of(cls: type) -> tuple[_Read, ...]:
    """The methods of an installed class; the interpreter calls those with two underscores."""
    found: dict[_Read, None] = {}
    for base in cls.__mro__:
        for name, value in [*vars(base).items()]:
            parts = {"": value} | {
                part: getattr(value, part, None) for part in ("fget", "fset", "fdel", "func", "__func__")
            }
            for part, one in parts.items():
                function = inspect.unwrap(one) if callable(one) else one
                if isinstance(function, FunctionType):
                    entry = None if name.startswith("__") and name.endswith("__") else name
                    found[_Read(function, cls, entry, None, part in ("fset", "fdel"), False)] = None
    return tuple(found)


def _made_from(cls: type) -> Iterator[type]:
    found: list[type] = type.__subclasses__(cls)
    for one in found:
        yield one
        yield from _made_from(one)


def _value_of(root: str, read: _Read) -> Any:
    """What a variable holds now."""
    kind, _, name = root.partition(" ")
    found: Any = None
    if kind in ("global", "around"):
        with contextlib.suppress(KeyError, ValueError):  # it is not there yet
            found = read.function.__globals__[name] if kind == "global" else _contents(read.function, name)
    return _UNCLEAR if found is None else found


def _member(value: Any, name: str) -> Any:
    """What an object, a class or a module holds under a name."""
    if value is _UNCLEAR:
        return value
    found = inspect.getattr_static(value, name, None)
    is_computed_each_time = found is None or hasattr(type(found), "__get__")
    return _UNCLEAR if is_computed_each_time else found


def _has_key(one: _Bound, within: Path) -> bool:
    return one.key in (None, ANY) or one.key in within or ANY in within


def _is_computed(place: Any, path: Path) -> bool:
    if not isinstance(place, type) or len(path) != 2 or path[0] != _OBJECT:
        return False
    return is_computed(place, path[1].removeprefix("."))


def is_computed(cls: type, name: str) -> bool:
    """Whether a member of a class's objects is computed once from the others, and stored among them."""
    return isinstance(inspect.getattr_static(cls, name, None), functools.cached_property)


def is_computed_by_own_code(cls: type, name: str) -> bool:
    """`is_computed`, by code of the application's own."""
    return is_computed(cls, name) and not any(
        name in vars(base) for base in cls.__mro__ if is_installed_class(base)
    )


def _is_base(one: _Bound, place: Any, path: Path, at: int) -> bool:
    """Whether a change is made to what stands at that part of a path."""
    if isinstance(one.where, int):
        return at == 0 and place == one.where
    in_object = path[0] == _OBJECT
    is_first = at == (1 if in_object and one.name != _OBJECT else 0) and isinstance(place, type)
    if one.where is None or is_installed_class(one.where):
        return path[at].startswith(".") or (is_first and one.where is None)
    return is_first and (issubclass(place, one.where) or issubclass(one.where, place))


def _bound(change: OwnChange, read: _Read) -> _Bound:
    path, key, *how = change
    depth = next((at for at, part in enumerate(reversed(path)) if part != ITEM), 0)
    path = path[: len(path) - depth]
    return _named(path, key, read, *how)._replace(depth=depth)


def _named(path: Path, key: str | None, read: _Read, *how: bool) -> _Bound:
    """A change of what a path stands for, or of an item somewhere in it."""
    if ITEM in path:
        return _Bound(None, path[-1], key, *how)
    root, names = path[0], path[1:]
    if root == SELF and read.owner is None:
        root = f"argument {read.function.__code__.co_varnames[0]}"
    if names:
        holder = _object_of(path[:-1], read)
        if isinstance(holder, ModuleType):
            return _Bound(id(vars(holder)), names[-1], key, *how)
        return _Bound(holder, names[-1], key, *how)
    kind, _, name = root.partition(" ")
    if kind == "global":
        return _Bound(id(read.function.__globals__), name, key, *how)
    if kind == "around" and (cell := _cell(read.function, name)) is not None:
        return _Bound(id(cell), name, key, *how)
    if kind == "argument" and name in defaults_of(read.function):
        return _Bound(id(read.function), name, key, *how)
    if root == SELF and read.owner is not None:  # an item of a map or a list of the application's own class
        return _Bound(read.owner, _OBJECT, key, *how)
    return _Bound(None, None, key, *how)


def _object_of(path: Path, read: _Read) -> Any:
    """The class of the object that a path stands for, or a module; ``None`` if the code does not say."""
    if len(path) > 1 or path == (UNKNOWN,):
        return None
    if path == (SELF,):
        return read.owner
    kind, _, name = path[0].partition(" ")
    try:
        found = read.function.__globals__[name] if kind == "global" else _contents(read.function, name)
    except (KeyError, ValueError):  # it is not there yet
        return None
    return found if isinstance(found, (type, ModuleType)) else type(found)


def _cell(function: FunctionType, name: str) -> CellType | None:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    return cells.get(name)


def _contents(function: FunctionType, name: str) -> Any:
    cell = _cell(function, name)
    if cell is None:
        raise KeyError(name)
    return cell.cell_contents


def defaults_of(function: FunctionType) -> dict[str, Any]:
    """The defaults of a function's arguments."""
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[max(0, code.co_argcount - len(given)) : code.co_argcount]
    return {**dict(zip(names, given, strict=False)), **(function.__kwdefaults__ or {})}
