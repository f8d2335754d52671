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
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import CellType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any, NamedTuple

from askonce.keys.own.bytecode import ANY
from askonce.keys.own.changes import OwnChanges, Path, defaults_of
from askonce.keys.own.modules import is_installed, is_installed_class
from askonce.keys.own.objects import NOTHING
from askonce.keys.own.packages import may_set_itself, set_in

_MOST_MARKS = 10_000
_SCALARS = (str, bytes, bool, int, float, type(None))

UNSET: Any = object()
"""What a context variable holds that is not set."""
_MISSING: Any = object()
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
        path: where it stands there.
    """

    holder: Any
    names: tuple[str, ...] | None
    is_container: bool
    content: Content
    read: Callable[[], Content]
    place: Any = None
    path: Path = ()

    def now(self) -> Content:
        """What it holds now, with counters and logs as they were before they changed."""
        content = self.read()
        mark = _marks.get(_key_of(self.holder, self.is_container)) if _marks else None
        return content if mark is None else _effective(content, mark, self.holder, self.names)

    def is_changed(self, changes: OwnChanges, name: Any, before: Any = UNSET, last: Any = UNSET) -> bool:
        """Whether the code changes what it holds under a name itself.

        Args:
            changes: what the code changes.
            name: it; ``None``: anything in it.
            before: what was there at first.
            last: what was there when the call began.
        """
        if isinstance(self.holder, LruCached):
            return True
        last = before if last is UNSET else last
        is_of_module = isinstance(self.holder, ModuleType) and isinstance(name, str)
        if is_of_module and (last is _MISSING or _is_number(last)) and may_set_itself(self.holder, name):
            return True
        place, path = self.where(name)
        if _is_of_a_package(place) and _may_change_itself(place, path, changes, last):
            return True
        added, deeper = before is _MISSING and self.is_container, name is None or _is_nothing(last)
        return changes.is_changed(place, path, added=added, filled=_is_nothing(last), deeper=deeper)

    def where(self, name: Any) -> tuple[Any, Path]:
        """Where that stands which it holds under a name, as `OwnChanges` has it."""
        holder, part = self.holder, name if isinstance(name, str) else ""
        if self.is_container:
            is_member = part and self.path == ("",) and _is_of_a_package(self.place)
            return self.place, self.path if self.path[-1:] == (ANY,) else (
                *self.path,
                f".{part}" if is_member else part,
            )
        if isinstance(holder, type):
            return holder, (part,)
        if isinstance(holder, ModuleType):
            return id(vars(holder)), (part,)
        return (type(holder), ("", f".{part}")) if self.names is None else (id(holder), (part,))


class _Left:
    """What the code itself left under a name, after a call.

    Args:
        value: it; of a list or a set what that held.
        changes: how often calls have changed it since.
        is_log: what the code adds to it is no setting.

    Attributes:
        observed: what it held then, if it can be changed in place.
        is_emptied: the application has put nothing in its place since, so that the code fills it in again.
    """

    def __init__(self, value: Any, changes: list[int], *, is_log: bool) -> None:
        self.value, self.changes, self.is_log = value, changes, is_log
        self.observed: Observations | None = None
        self.is_emptied = False

    def is_volatile(self) -> bool:
        """Whether it is another after each call, such as a log: whatever it is now, the code has left it."""
        return self.changes[0] >= _OFTEN

    def is_still(self, value: Any) -> bool:
        """Whether that is what the code left, and no setting that came since."""
        if self.is_volatile():
            return True
        if self.is_log and isinstance(value, frozenset) and isinstance(self.value, frozenset):
            value = value & self.value
        elif self.is_log and isinstance(value, tuple) and isinstance(self.value, tuple):
            value = value[: len(self.value)]
        is_same = isinstance(value, (tuple, frozenset)) and _is_same(value, self.value)
        if value is not self.value and not is_same and not _is_equal(value, self.value):
            return False
        if self.observed is None:
            return True
        known = None if _looking_at.lefts else _looking_at.still
        if known is not None and id(self) in known:
            return known[id(self)]
        with self._looking() as found:
            is_still = all(_is_same(one.now(), one.content) for one in found)
        if known is not None:
            known[id(self)] = is_still
        return is_still

    def record(self) -> None:
        """Record what a call has changed of what it holds."""
        if self.observed is not None and not self.is_volatile():
            with self._looking() as found:
                if found:
                    self.observed.record()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[list[Observed]]:
        """What is in it, once: it may be a part of itself."""
        looked_at = _looking_at.lefts
        if self.observed is None or id(self) in looked_at:
            yield []
            return
        looked_at.add(id(self))
        try:
            yield self.observed.seen
        finally:
            looked_at.discard(id(self))


class _Mark(NamedTuple):
    """What the program changes of a holder while a model answers.

    Attributes:
        holder: gives it, while it lives.
        first: what changes, as it was before; of a list or a set all of it, under ``None``.
        left: what the code has left of that.
        known: the names that were there before others came, where the code adds some; ``None``: all count.
        added: how often calls have changed what was added.
    """

    holder: Callable[[], Any]
    first: dict[Any, Any]
    left: dict[Any, _Left]
    known: frozenset[Any] | None
    added: list[int]


LruCached: Any = type(functools.lru_cache(len))
_ARGUMENTS = 0x04 | 0x08
_OFTEN = 2
"""So many calls that change what a call left make it something that is another after each call."""
_MOST_LEFT = 100
"""Of more names of one holder, objects that calls have made are compared by their identity alone,"""
MOST_PARTS = 1_000
"""and so is an object, a list or a map that consists of more objects, lists and maps."""
_CONTENT = (dict, tuple, frozenset)
_marks: dict[tuple[int, bool], _Mark] = {}


class _Looking(threading.local):
    """What is looked at now.

    Attributes:
        lefts: the ids of what a call left, within which another is looked at.
        still: what was found of such, while nothing changes: many functions may use one variable.
    """

    def __init__(self) -> None:
        self.lefts: set[int] = set()
        self.still: dict[int, bool] | None = None


_looking_at = _Looking()
_value_readers: list[Callable[[Any, Any, Path], None]] = []


def read_values_with(reader: Callable[[Any, Any, Path], None]) -> None:
    """From now on, this observes what a value holds that stands at a path of a place."""
    _value_readers[:] = [reader]


def is_recorded(container: Any) -> bool:
    """Whether calls were seen to change what a map, a list or a set holds: what the code left there is known."""
    return _mark_of(container, is_container=True) is not None


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
        outer, _looking_at.still = _looking_at.still, {}
        try:
            return all(_is_same(one.now(), one.content) for one in self.seen)
        finally:
            _looking_at.still = outer

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
        recorded: set[int] = set()
        for one in self.seen:
            mark = _mark_of(one.holder, one.is_container)
            if mark is not None:
                for name, left in [*mark.left.items()]:
                    if id(left) not in recorded and _is_as_at_first(one.content, mark, name):
                        recorded.add(id(left))  # else the application has changed it since
                        left.record()
            now = one.now()
            if mark is not None and mark.known is not None and isinstance(now, dict):
                held: Any = one.read()
                now |= {name: held[name] for name in held.keys() - mark.known - mark.left.keys()}
            if not _is_same(now, one.content):
                self._record(one, now, mark)

    def _record(self, one: Observed, now: Content, mark: _Mark | None) -> None:
        """Record what the code itself has changed; what others have set meanwhile is a setting."""
        known: frozenset[Any] | None = None
        if isinstance(one.content, dict) and isinstance(now, dict):
            changed = self._changed_in(one, now, mark)
            if one.is_container and one.is_changed(self.changes, None):
                known = frozenset(one.content)
        else:
            changed = {None: (one.content, now)} if one.is_changed(self.changes, None) else {}
        if not changed and (known is None or now.keys() == one.content.keys()):  # type: ignore[union-attr]
            return
        if mark is None:
            mark = _Mark(reference_to(one.holder), {}, {}, known, [0])
        elif mark.known is None:
            mark = mark._replace(known=known)
        mark = mark._replace(first={name: before for name, (before, _) in changed.items()} | mark.first)
        new: dict[Any, _Left] = {}
        for name, (before, after) in changed.items():
            if name not in mark.left or (mark.left[name].is_emptied and _is_nothing(before)):
                place, path = one.where(name)
                grows = self.changes.is_counter(place, path)
                is_log = grows and not self.changes.is_stack(place, path)
                times = mark.added if before is _MISSING and mark.known is not None else [0]
                new[name] = _Left(after, [_OFTEN] if grows and _is_number(after) else times, is_log=is_log)
        renewed = dict(new)
        for name in (changed.keys() & mark.left.keys()) - new.keys():
            left = mark.left[name]
            left.changes[0] += 1
            if changed[name][0] is mark.first[name]:  # it was as the last call left it, and is as this one does
                left.value, left.observed = changed[name][1], None
                renewed[name] = left
            if not left.is_volatile() and self._is_counted(one, name, changed[name][1]):
                left.changes[0] = _OFTEN
        mark = _marks[_key_of(one.holder, one.is_container)] = mark._replace(left=mark.left | new)
        for name, left in renewed.items() if len(mark.left) <= _MOST_LEFT else ():
            if _is_open(left.value, one) and not left.is_volatile():
                found = self._observed_in(one, name, left.value)
                left.observed = found if found is None or len(found.seen) <= MOST_PARTS else None
        while len(_marks) > _MOST_MARKS:
            _marks.pop(next(iter(_marks)), None)

    def _is_counted(self, one: Observed, name: Any, value: Any) -> bool:
        """Whether what two calls have changed is a counter or a log, or cannot be a setting."""
        place, path = one.where(name)
        if _is_number(value) or _is_of_a_package(place):
            return True
        if self.changes.is_counter(place, path):
            return True
        return _is_open(value, one) and self._observed_in(one, name, value) is None

    def _observed_in(self, one: Observed, name: Any, value: Any) -> Observations | None:
        place, path = one.where(name)
        return observed_in(value, place, path, [self])

    def _changed_in(self, one: Observed, now: dict[Any, Any], mark: _Mark | None) -> dict[Any, tuple[Any, Any]]:
        """What the code has changed, as it was and as it is."""
        changed, held = {}, one.content
        assert isinstance(held, dict)
        for name in {**held, **now}:
            before, after = held.get(name, _MISSING), now.get(name, _MISSING)
            if before is after or _is_equal(before, after) or isinstance(after, (FunctionType, type)):
                continue
            left = mark.left.get(name) if mark is not None else None
            last = before if left is None or left.is_emptied else left.value
            if last is after and last is not before:
                continue  # the very object that the code left: what is in it says by itself who has changed it
            if one.is_changed(self.changes, name, before, last):
                changed[name] = before, after
        return changed


_collected: ContextVar[Observations | None] = ContextVar("askonce_observations", default=None)


def observed_in(value: Any, place: Any, path: Path, compared: Iterable[Observations]) -> Observations | None:
    """What something holds that a call has made; ``None``: it cannot be read, so that its identity has to do.

    Args:
        value: it.
        place: as of `items_of`.
        path: as of `items_of`.
        compared: what is compared anyway, and which code may change it.
    """
    found, known = Observations(), set[Any]()
    for one in compared:
        found.changes.add_all(one.changes)
        known |= {(id(each.holder), each.is_container, each.names) for each in one.seen}
    token = _collected.set(found)
    try:
        _value_readers[0](value, place, path)
    except Exception:  # of its own code, or it cannot be read
        return None
    finally:
        _collected.reset(token)
    found.seen = [each for each in found.seen if (id(each.holder), each.is_container, each.names) not in known]
    return found


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


def items_of(container: Any, place: Any = None, path: Path = ()) -> Any:
    """What a map, a list or a set holds, as a dict, a tuple or a set; logs as they were before they changed.

    Args:
        container: it.
        place: the class of the object that holds it, or the id of what holds the variable.
        path: where it stands there.
    """
    read = _reader(container, None, is_container=True)
    if isinstance(container, (tuple, frozenset)):
        return read()
    return _observed(Observed(container, None, True, (), read, place, path))


def made_by(function: Any) -> Any:
    """What a cached function of the application's has made that has no arguments, such as its settings."""
    code = getattr(getattr(function, "__wrapped__", None), "__code__", None)
    if code is None or code.co_argcount or code.co_kwonlyargcount or code.co_flags & _ARGUMENTS:
        return NOTHING
    if is_installed(function.__module__ or ""):
        return NOTHING

    def read() -> Content:
        return {"made": function()} if function.cache_info().currsize else {}

    content: Any = _observed(Observed(function, None, True, (), read, path=()))
    return content.get("made", NOTHING)


def settings_of(module: ModuleType) -> dict[str, Any]:
    """What the application has set in an installed package, as its code is to see it at each request."""
    content: Any = _observed(Observed(module, None, False, (), functools.partial(set_in, module)))
    return content  # type: ignore[no-any-return]


def observe_loading(module: str) -> bool:
    """Whether a package is loaded, which code may import while it answers."""

    def read() -> Content:
        return frozenset({module in sys.modules})

    return True in _observed(Observed(module, None, True, (), read, path=("",)))


def as_read(value: Any, read: Callable[[], Any], place: Any = None, path: Path = ()) -> Any:
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
    if _is_of_a_package(place := one.where(None)[0]):
        found.changes.add_package(place)
    if one.names is None or one.names:
        found.seen.append(Observed(*one[:3], content, *one[4:]))
    return content


def _is_of_a_package(place: Any) -> bool:
    """Whether it is an installed class, whose code may change its objects; what has fields alone has no code."""
    return isinstance(place, type) and is_installed_class(place) and place.__name__ not in _WITHOUT_CODE


def _may_change_itself(cls: type, path: Path, changes: OwnChanges, last: Any) -> bool:
    """Whether an object of an installed class may change that when the application's code uses it.

    Data, such as messages, documents and templates, does so in those methods alone that the code calls; another
    object may have parts that change it, but it puts no text in place of a text.
    """
    if len(path) > 1 and changes.is_changed_by_package(cls, path[1].removeprefix(".")):
        return True
    is_data = dataclasses.is_dataclass(cls) or hasattr(cls, "__pydantic_fields__")
    return not is_data and not isinstance(last, (str, bytes))


_WITHOUT_CODE = frozenset({"SimpleNamespace", "Namespace", "function", "Template", "_local"})


def held_by(value: Any) -> dict[str, Any]:
    """The attributes of an object, with those in slots of own classes and pydantic's private ones."""
    held = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        for name, slot in () if is_installed_class(cls) else sorted(vars(cls).items()):
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
    """What a holder held before the code changed it, and what was set since."""
    if mark.holder() is not holder:
        return content
    if not isinstance(content, dict):
        left = mark.left.get(None)
        return content if left is None or not left.is_still(content) else mark.first[None]
    shown: dict[Any, Any] = {}
    for name in {**content, **mark.first}:
        if names is not None and name not in names:
            continue
        value, left = content.get(name, _MISSING), mark.left.get(name)
        if left is None:
            if mark.known is not None and name not in mark.known:
                continue
        elif left.is_still(value):
            value = mark.first[name]
        elif _is_nothing(value):
            left.is_emptied = True
        if value is not _MISSING:
            shown[name] = value
    return shown


def _is_as_at_first(content: Content, mark: _Mark, name: Any) -> bool:
    """Whether what was read is what was there before the code changed it."""
    first = mark.first.get(name, _MISSING)
    return content.get(name, _MISSING) is first if isinstance(content, dict) else content is first


def _is_nothing(value: Any) -> bool:
    return value is _MISSING or value is None or value is False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_open(value: Any, one: Observed) -> bool:
    """Whether what is in it can be changed, and is read; of arrays and clients a digest alone is held."""
    is_definition = one.is_container and isinstance(one.holder, FunctionType)
    if isinstance(value, (frozenset, FunctionType, type)) or is_definition:
        return False
    return value is not _MISSING and not isinstance(value, _SCALARS)


def _key_of(holder: Any, is_container: bool) -> tuple[int, bool]:
    """What stands for a holder; what belongs to a thread has one in each."""
    return id(vars(holder) if isinstance(holder, threading.local) else holder), is_container


def _mark_of(holder: Any, is_container: bool) -> _Mark | None:
    mark = _marks.get(_key_of(holder, is_container))
    return mark if mark is not None and mark.holder() is holder else None


def reference_to(value: Any) -> Callable[[], Any]:
    """Gives a value, which is not kept alive if that can be avoided."""
    try:
        return weakref.ref(value)
    except TypeError:  # a map, a list, an object with slots
        return lambda: value


def _is_same(now: Any, before: Any) -> bool:
    if type(now) is not type(before) or not isinstance(now, _CONTENT) or len(now) != len(before):
        return False
    if isinstance(now, dict) and isinstance(before, dict):
        return all(map(operator.is_, now.values(), before.values())) and all(map(operator.is_, now, before))
    return now == before if isinstance(now, frozenset) else all(map(operator.is_, now, before))


def _is_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or not isinstance(one, _SCALARS):
        return False
    return repr(one) == repr(other) if type(one) is float else bool(one == other)  # -0.0 is not 0.0
