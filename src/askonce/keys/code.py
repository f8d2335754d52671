"""What the code of a class says: two classes of one name may answer differently.

Of a class in an installed package the name is enough. A class of the application's own counts by its code as well:
it may be local to a function, or edited between two runs of a script or a notebook.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import hashlib
import re
import string
import weakref
from collections import ChainMap, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, ContextVar
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any

from askonce.keys.normal_form import is_credential, is_neutral
from askonce.keys.own_modules import file_of, imported_by, is_installed, source_of


def class_form(cls: type) -> dict[str, str]:
    """Which class it is; of a class of the application's own, with its code."""
    name, code = f"{cls.__module__}.{cls.__qualname__}", code_of(cls)
    return {"class": name} if code is None else {"class": name, "code": code}


def code_of(part: Any) -> str | None:
    """A digest of the code of a class and its bases, or of a function; ``None`` if it is in installed packages.

    Functions, classes, modules and objects of the application's own that the code uses by name belong to it, also
    within lists, maps and partials. Of variables, of the class, around its functions or in such objects, texts
    count, and of those that are named like a constant numbers, too: others are often counters. What can be changed
    counts as it was when it was first seen in this process, since it may be a log. Of a module that the code
    imports itself, or in which it may reach any name (``globals()``), the whole source counts.
    """
    code = written_code(part)
    return None if code is None else digest_of(code)


def written_code(part: Any) -> str | None:
    """What `code_of` is the digest of; names and texts in the code stand in it as `repr` shows them."""
    if isinstance(part, type):
        of_application = not all(is_installed(base.__module__) for base in part.__mro__)
    else:
        of_application = not all(is_installed(one.__module__ or "") for one in _functions(part))
    return "".join(repr(_stable(one)) for one in _parts(part)) if of_application else None


def context_variables(part: Any) -> list[ContextVar[Any]]:
    """The context variables that the code of `code_of` uses: what they hold is another in each request."""
    return [one for one in _parts(part) if isinstance(one, ContextVar)]


def _parts(part: Any) -> Iterator[Any]:
    return _CodeWalk().parts([part] if isinstance(part, type) else list(_functions(part)))


def _stable(part: Any) -> Any:
    return f"ContextVar {part.name}" if isinstance(part, ContextVar) else part


def digest_of(code: str) -> str:
    """The digest of what `written_code` returns."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _functions(value: Any) -> Iterator[FunctionType]:
    inner = getattr(value, "__func__", None) or getattr(value, "func", None)  # of a class, cached, a partial
    for one in (value, inner, *(getattr(value, name, None) for name in ("fget", "__wrapped__"))):
        if isinstance(one, FunctionType):
            yield one


_MOST_PARTS = 10_000
# With these, code reaches names that do not stand in it: of its own module, and of the modules that it uses.
_REACHING_ALL = frozenset("globals eval exec import_module __import__ modules".split())
_REACHING_WITHIN = frozenset("getattr attrgetter methodcaller getmembers vars __dict__".split())


class _CodeWalk:
    """Reads code and what it uses, each part once; within another it stands by its number, so circles end."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[int, Any]] = {}
        self._waiting: deque[Callable[[], Iterator[Any]]] = deque()

    def parts(self, start: Iterable[Any]) -> Iterator[Any]:
        for part in start:
            yield self._later(part)
        while self._waiting:
            yield from self._waiting.popleft()()

    def _later(self, part: Any, numbers: bool = False) -> str:
        """The number of a part, which is read once all before it are."""
        key: Any = id(part), numbers
        if isinstance(part, str):
            key, read = part, functools.partial(self._source, part)
        elif isinstance(part, type):
            key, read = id(part), functools.partial(self._class, part)
        elif isinstance(part, FunctionType):
            key, read = id(part), functools.partial(self._function, part)
        elif isinstance(part, ContextVar):
            key, read = id(part), functools.partial(self._context_variable, part)
        else:
            read = functools.partial(self._object, part, numbers)
        if key not in self._known:
            if len(self._known) >= _MOST_PARTS:
                return "part"
            self._known[key] = len(self._known), part  # while it is here, no other has its id
            self._waiting.append(read)
        return f"part {self._known[key][0]}"

    def _class(self, cls: type) -> Iterator[Any]:
        own = [base for base in cls.__mro__ if not is_installed(base.__module__)]
        for base in own:
            if base is not cls:
                yield self._later(base)
                continue
            for name, value in sorted(vars(base).items()):
                if name == "__doc__" or not name.startswith("__") or any(_functions(value)):
                    yield from self._variable(name, value)

    def _function(self, function: FunctionType) -> Iterator[Any]:
        yield from _code(function.__code__)
        defaults = [*enumerate(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
        for name, value in defaults:
            yield from self._variable(str(name), value, numbers=True)
        if vars(function):
            yield self._numbered(_first_shown(function, False, within=True))
        names = _names(function.__code__)
        around = {name: function.__globals__[name] for name in names if name in function.__globals__}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not assigned yet
                around[name] = cell.cell_contents
        yield from self._used(around, names, set())
        for module in imported_by(function.__code__, function.__globals__.get("__package__") or ""):
            yield self._later(module)
        if names & _REACHING_ALL:
            yield from self._module(function.__module__, function.__globals__)

    def _used(self, around: dict[str, Any], names: set[str], within: set[int]) -> Iterator[Any]:
        """Variables that code uses, and what it uses of the application's own modules among them."""
        for name, value in sorted(around.items()):
            if type(value) is not ModuleType:
                yield from self._variable(name, value)
            elif not is_installed(value.__name__) and id(value) not in within:
                held = vars(value)
                if names & _REACHING_WITHIN:
                    yield from self._module(value.__name__, held)
                yield from self._used({one: held[one] for one in names & held.keys()}, names, within | {id(value)})

    def _variable(self, name: str, value: Any, *, numbers: bool = False) -> Iterator[Any]:
        try:
            shown = _first_shown(value, numbers or name.isupper())
        except Exception:  # see `_shown`
            return
        if shown is not _NOTHING:
            yield name
            yield self._numbered(shown)

    def _numbered(self, shown: Any) -> Any:
        if isinstance(shown, _Part):
            part = shown.found()
            return None if part is None else self._later(part, shown.numbers)
        return [self._numbered(one) for one in shown] if isinstance(shown, (list, tuple)) else shown

    def _object(self, value: Any, numbers: bool) -> Iterator[Any]:
        yield self._later(type(value))
        yield self._numbered(_first_shown(value, numbers, within=True))

    def _context_variable(self, variable: ContextVar[Any]) -> Iterator[Any]:
        yield variable
        with contextlib.suppress(LookupError):  # it has no default
            yield from self._variable("default", Context().run(variable.get))

    def _module(self, name: str, held: dict[str, Any]) -> Iterator[Any]:
        """All of a module: its source, or if it has none, as a notebook, its variables."""
        if file_of(name) is not None:
            yield self._later(name)
            return
        for one, value in sorted(held.items()):
            if not one.startswith("_") and one not in ("In", "Out") and type(value) is not ModuleType:
                yield from self._variable(one, value)

    def _source(self, module: str) -> Iterator[Any]:
        digest, imported = source_of(module)
        yield digest
        yield [self._later(one) for one in imported]


# -- variables -----------------------------------------------------------------------------------------------------

_NOTHING: Any = object()
_DEEPEST = 30
_SCALARS = (str, bytes, bool, int, float, type(None))
_MAPS = (dict, MappingProxyType, ChainMap, UserDict)
_LISTS = (list, tuple, deque, UserList)
_SETS = (set, frozenset)
_BUILTIN = (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    MethodDescriptorType,
    MethodWrapperType,
    WrapperDescriptorType,
)
_FIXED = (*_SCALARS, tuple, frozenset, enum.Enum, type, FunctionType, ContextVar)
_CHANGEABLE = (*_MAPS, *_LISTS, *_SETS, SimpleNamespace, functools.partial)
_OF_ONE_RUN = re.compile(r"(.*_)?(id_?|uuid|time|timestamp|created(_at)?)")
_first: dict[tuple[int, bool, bool], tuple[Callable[[], Any], Any]] = {}


class _Part:
    """What is read by itself: a class, a function, an object. It may go while its first state is remembered."""

    def __init__(self, part: Any, numbers: bool) -> None:
        self.found, self.numbers = _reference(part), numbers

    def __repr__(self) -> str:  # orders sets
        part = self.found()
        held = [repr(one) for one in getattr(part, "__dict__", {}).values() if isinstance(one, (str, bytes))]
        named = part if isinstance(part, (type, FunctionType)) else type(part)
        code = [*_code(part.__code__)] if isinstance(part, FunctionType) else []
        return f"{named.__module__}.{named.__qualname__} {held} {code}"


def _reference(value: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:  # a list, or an object without a place for it
        return lambda: value


def _first_shown(value: Any, numbers: bool, *, within: bool = False) -> Any:
    """What a variable says, or an object within; of what can be changed, as it was when it was first seen."""
    read = _content if within else _shown
    if isinstance(value, _FIXED) and not (within and isinstance(value, FunctionType)):
        return read(value, numbers, [_MOST_PARTS])  # nothing refers to it afterwards
    key = id(value), numbers, within
    known = _first.get(key)
    if known is not None and known[0]() is value:
        return known[1]
    shown = read(value, numbers, [_MOST_PARTS])
    if within or isinstance(value, _CHANGEABLE) or _has_fields(value):
        _first[key] = _reference(value), shown
        if len(_first) > _MOST_PARTS:
            _first.pop(next(iter(_first)), None)
    return shown


def _shown(value: Any, numbers: bool, left: list[int], depth: int = 0) -> Any:
    """The texts and parts in a value, and the numbers if they count; `_NOTHING` if there are none, or too many."""
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        return _NOTHING
    try:
        return _read(value, numbers, left, depth + 1)
    except Exception:  # an object that raises errors when it is looked at, such as a proxy, says nothing
        return _NOTHING


def _read(value: Any, numbers: bool, left: list[int], depth: int) -> Any:
    if isinstance(value, enum.Enum):
        return _shown([type(value), value.value], numbers, left, depth)
    if isinstance(value, _SCALARS):
        return value if numbers or isinstance(value, (str, bytes)) else _NOTHING
    if isinstance(value, ContextVar):
        return _Part(value, numbers)
    if isinstance(value, (type, FunctionType)):
        own = not is_installed(value.__module__ or "")
        return _Part(value, numbers) if own else f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, ModuleType):
        return _NOTHING if file_of(value.__name__) is None else _Part(value.__name__, numbers)
    if not is_installed(type(value).__module__):
        return _Part(value, numbers)
    if isinstance(value, (*_MAPS, *_LISTS, *_SETS)):
        return _items(value, numbers, left, depth)
    if isinstance(value, SimpleNamespace) or _has_fields(value):
        return _fields(value, numbers, left, depth)
    return _by_kind(value, numbers, left, depth)


def _by_kind(value: Any, numbers: bool, left: list[int], depth: int) -> Any:
    """What objects of Python's own kinds say, and others that hold a function."""
    parts: list[Any]
    if isinstance(value, functools.partial):
        numbers, parts = True, [value.func, value.args, value.keywords]
    elif isinstance(value, MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, string.Template):
        parts = [value.template]
    elif isinstance(value, re.Pattern):
        parts = [value.pattern, str(value.flags)]
    elif isinstance(value, PurePath):
        parts = [str(value)]
    elif isinstance(value, _BUILTIN):
        owner = getattr(value, "__self__", None)
        parts = [value.__qualname__, None if isinstance(owner, ModuleType) else owner]
    else:
        parts = list(_functions(value))
    return _shown(parts, numbers, left, depth) if parts else _NOTHING


def _items(value: Any, numbers: bool, left: list[int], depth: int) -> Any:
    if len(value) > left[0]:
        return _NOTHING
    if isinstance(value, _MAPS):
        pairs = [
            (_shown(key, True, left, depth), _shown(one, numbers, left, depth)) for key, one in list(value.items())
        ]
        shown: list[Any] = [pair for pair in pairs if _NOTHING not in pair]
        if isinstance(value, defaultdict):
            made = _shown(value.default_factory, numbers, left, depth)
            shown += [] if made is _NOTHING else [made]
        return shown or _NOTHING
    shown = [part for one in list(value) if (part := _shown(one, numbers, left, depth)) is not _NOTHING]
    return (sorted(shown, key=repr) if isinstance(value, _SETS) else shown) or _NOTHING


def _content(value: Any, numbers: bool, left: list[int]) -> Any:
    """What an object of an own class holds, as a map or list, too."""
    shown = [_fields(value, numbers, left, 0)]
    if isinstance(value, (*_MAPS, *_LISTS, *_SETS)):
        shown.append(_items(value, numbers, left, 0))
    return [None if one is _NOTHING else one for one in shown]


def _fields(value: Any, numbers: bool, left: list[int], depth: int) -> Any:
    try:
        held = _held(value)
    except Exception:  # see `_shown`
        return _NOTHING
    own = not is_installed(type(value).__module__) or isinstance(value, (SimpleNamespace, FunctionType))
    fields = {name: one for name, one in held.items() if not _is_ignored(name, own)}
    return _shown(fields, numbers, left, depth)


def _held(value: Any) -> dict[str, Any]:
    held = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        for name, slot in () if is_installed(cls.__module__) else sorted(vars(cls).items()):
            if isinstance(slot, MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # not set
                    held[name] = slot.__get__(value)
    return held | (getattr(value, "__pydantic_private__", None) or {})


def _has_fields(value: Any) -> bool:
    return dataclasses.is_dataclass(type(value)) or hasattr(type(value), "__pydantic_fields__")


def _is_ignored(name: str, own: bool) -> bool:
    """Whether a field cannot change an answer, by its name; to an own class a neutral one may mean anything."""
    return is_credential(name) or _OF_ONE_RUN.fullmatch(name) is not None or (not own and is_neutral(name))


# -- code ---------------------------------------------------------------------------------------------------------


def _names(code: CodeType) -> set[str]:
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return {*code.co_names}.union(*map(_names, inner))


def _code(code: CodeType) -> Iterator[Any]:
    yield code.co_code
    yield code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)
