"""What the variables say that code of the application's own uses: texts, numbers, functions, objects, clients.

A number counts unless the code itself counts it up or down, or adds it to a log (`askonce.keys.own.changes`). In
constants (``UPPER_CASE``), defaults and settings all numbers count. A list is no tuple, an empty map no empty list.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import hashlib
import re
import string
import sys
import threading
import weakref
from collections import ChainMap, UserDict, UserList, defaultdict, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

from askonce.keys.normal_form import Uncacheable, is_credential, is_neutral
from askonce.keys.own.bytecode import ADDING, code_form
from askonce.keys.own.changes import Path
from askonce.keys.own.in_place import client_form, data_now
from askonce.keys.own.modules import file_of, is_installed, is_installed_class
from askonce.keys.own.objects import NOTHING, contents_of, says_nothing
from askonce.keys.own.state import LruCached, collected, is_recorded, items_of, made_by, observe

WAY_OUT = "; name it: cached(…, name='…'), or of embeddings cached(…, model='…')"
MOST_PARTS = 10_000
_MOST_HELD = 1_000
NONE, UNLESS_CHANGED, ALL = 0, 1, 2
"""Which numbers count."""

_DEEPEST = 100
_MOST_ITEMS = 300_000
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
_PLAIN = frozenset(_SCALARS)
NO_COUNTERS = (str, bytes, bool, type(None))
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_DESCRIPTORS = (
    property,
    staticmethod,
    classmethod,
    functools.cached_property,
    functools.singledispatchmethod,
    LruCached,
)
_SLOTS = (MemberDescriptorType, GetSetDescriptorType)
_OF_A_MEMBER = frozenset("_value_ _name_ _sort_order_ __objclass__".split())
_FIXED = (*_SCALARS, tuple, frozenset, enum.Enum, type, FunctionType, ContextVar)
_OF_ONE_RUN = re.compile(r"(.*_)?(id_?|uuid|time|timestamp|created(_at)?)")
_RANDOM = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_OF_DOCUMENTS = frozenset({"metadata", "tags", "profile", "verbose"})
_first: dict[tuple[int, str, int, bool], tuple[Callable[[], Any], Any]] = {}
_first_held: dict[tuple[int, tuple[str, ...], int], tuple[Any, Any]] = {}


class Number(NamedTuple):
    """A number, or several: it counts unless it is a counter.

    Attributes:
        value: it.
        path: where it stands.
    """

    value: Any
    path: Path

    def __repr__(self) -> str:  # orders sets
        return repr(self.value)


class Held(NamedTuple):
    """What a list, a map or a set holds that has changed in this process, though no call was seen to change it.

    If the code changes it itself, it may be a log or a memo, and counts without what was added.

    Attributes:
        now: what it says.
        less: what it says without what was added since it was first seen.
        path: where it stands.
        is_list: it is a list, or a deque.
    """

    now: Any
    less: Any
    path: Path
    is_list: bool


class Plain(list[Any]):
    """Texts and numbers, or pairs of them, as they are: there may be many."""


class Table(NamedTuple):
    """A map of texts and numbers, which count unless they are counters.

    Attributes:
        pairs: what it holds.
        path: where it stands.
    """

    pairs: Plain
    path: Path


class MayBeUnread(NamedTuple):
    """What does not count if it cannot be read, such as a model's weights that a cached function has loaded.

    Attributes:
        value: it.
    """

    value: Any


class Members(list[Any]):
    """What an object says, by its place in the list."""


class ReadApart:
    """What is read by itself: a class, a function, an object. It may go while its first state is remembered."""

    def __init__(self, part: Any, numbers: int) -> None:
        self.found, self.numbers = _reference(part), numbers

    def __repr__(self) -> str:  # orders sets
        part = self.found()
        held = [repr(one) for one in getattr(part, "__dict__", {}).values() if isinstance(one, (str, bytes))]
        named = part if isinstance(part, (type, FunctionType)) else type(part)
        code = [*code_form(part.__code__)] if isinstance(part, FunctionType) else []
        return f"{named.__module__}.{named.__qualname__} {held} {code}"


class _Budget:
    """One value on its way: how much may still be read, and where it stands.

    Attributes:
        left: so many parts may still be read.
        place: the class of the object that holds it, or the id of what holds the variable.
        path: the names of the variable, and of attributes and items.
        holder: the installed class of the object in which it stands, and how much of the path leads to that.
    """

    def __init__(self, name: str, place: Any) -> None:
        self.left, self.place = _MOST_ITEMS, place
        self.path: Path = (name,)
        self.holder: tuple[type, int] | None = None

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        """What stands under a name, of an attribute with a dot before it."""
        before, self.path = self.path, (*self.path, name)
        try:
            yield
        finally:
            self.path = before

    def where(self) -> tuple[Any, Path]:
        """The place, and the path there, as code that may change it has them."""
        if self.holder is None:
            return self.place, self.path
        cls, length = self.holder
        return cls, ("", *self.path[length:])


def digest_of(code: str) -> str:
    """The digest of what `askonce.keys.own.code.written_code` returns."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Says of which variable it is the value that cannot be read."""
    try:
        yield
    except Uncacheable as error:
        if str(error).endswith(WAY_OUT):
            raise
        raise Uncacheable(f"the code of a class uses {name}, which holds {error}{WAY_OUT}") from error


def _reference(value: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:  # a list, or an object without a place for it
        return lambda: value


def shown(value: Any, name: str, numbers: int, *, within: bool = False, place: Any = None) -> Any:
    """What a variable says, or an object within: texts, `Number`, `ReadApart`; `NOTHING` for nothing.

    Where nothing compares it at each request, what can be changed counts as it was when it was first seen.

    Args:
        value: what is read.
        name: of the variable; empty for an object.
        numbers: which count.
        within: what the object itself holds is read.
        place: the class of the object, or the id of what holds the variable.

    Raises:
        Uncacheable: it holds something that cannot be read.
    """
    read = _content if within else _shown
    if collected() is not None or (isinstance(value, _FIXED) and not within):
        return read(value, numbers, _Budget(name, place))
    key = id(value), name, numbers, within
    known = _first.get(key)
    if known is not None and known[0]() is value:
        return known[1]
    found = read(value, numbers, _Budget(name, place))
    _first[key] = _reference(value), found
    if len(_first) > MOST_PARTS:
        _first.pop(next(iter(_first)), None)
    return found


def shown_at(value: Any, place: Any, path: Path) -> Any:
    """`shown`, of what stands deeper in a variable or an object.

    Args:
        value: what is read.
        place: as of `shown`.
        path: where it stands there.

    Raises:
        Uncacheable: it holds something that cannot be read.
    """
    budget = _Budget("", place)
    budget.path = path
    return _shown(value, UNLESS_CHANGED, budget)


def _shown(value: Any, numbers: int, budget: _Budget, depth: int = 0) -> Any:
    """The texts, numbers and parts in a value.

    Raises:
        Uncacheable: it holds something that cannot be read, or more than can be read.
    """
    budget.left -= 1
    if budget.left < 0 or depth > _DEEPEST:
        raise Uncacheable("too much to be read")
    try:
        return _read(value, numbers, budget, depth + 1)
    except Uncacheable:
        raise
    except Exception as error:
        if stands_for_another(value):
            return NOTHING
        raise Uncacheable(f"a {type(value).__module__}.{type(value).__qualname__}, which cannot be read") from error


def stands_for_another(value: Any) -> bool:
    """Whether it is a proxy, such as a web framework's for the request: it holds another object each time."""
    try:
        return value.__class__ is not type(value)
    except Exception:
        return True


def decorated(value: Any) -> Any:
    """Of what a decorator has made in place of a function, as wrapt's do: the function, and the decorator's own."""
    if type(value) is FunctionType or not stands_for_another(value):
        return value
    try:
        inner = value.__wrapped__
        known = type(inner) in (FunctionType, MethodType, staticmethod, classmethod)
        return [inner, getattr(value, "_self_wrapper", None)] if known else value
    except Exception:  # a proxy for what is not there now
        return value


def _number(value: Any, numbers: int, budget: _Budget) -> Any:
    if numbers == UNLESS_CHANGED:
        return Number(value, budget.path)
    return value if numbers else NOTHING


def _read(value: Any, numbers: int, budget: _Budget, depth: int) -> Any:
    value = decorated(value)
    if stands_for_another(value):
        return NOTHING
    if isinstance(value, enum.Enum):
        return _member(value, budget, depth)
    if isinstance(value, _SCALARS):
        if not is_installed_class(type(value)):
            return ReadApart(value, numbers)
        return value if isinstance(value, (str, bytes)) else _number(value, numbers, budget)
    if isinstance(value, ContextVar):
        return ReadApart(value, numbers)
    if isinstance(value, (type, FunctionType)):
        own = not is_installed(value.__module__ or "")
        return ReadApart(value, numbers) if own else f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, ModuleType):
        return NOTHING if file_of(value.__name__) is None else ReadApart(value.__name__, numbers)
    numbers = ALL if _is_settings(value) else numbers
    if not is_installed_class(type(value)):
        return ReadApart(value, numbers)
    if isinstance(value, (*_MAPS, *_LISTS, *_SETS)):
        return _items(value, numbers, budget, depth)
    if isinstance(value, SimpleNamespace) or _has_fields(value):
        return _fields(value, numbers, budget, depth)
    return _by_kind(value, numbers, budget, depth)


def _member(value: enum.Enum, budget: _Budget, depth: int) -> Any:
    """What a member of an enumeration is, and what the application has set on it."""
    found = _shown((type(value), value.name, value.value), ALL, budget, depth)
    if is_installed_class(type(value)):
        return found
    given = observe(value).keys() - _OF_A_MEMBER
    return [found, ReadApart(value, ALL)] if given else found


def _by_kind(value: Any, numbers: int, budget: _Budget, depth: int) -> Any:
    """What objects of Python's own kinds say, clients, and others that hold a function."""
    parts: list[Any]
    if isinstance(value, string.Template):
        observe(value)
    if isinstance(value, (functools.partial, functools.partialmethod)):
        numbers, parts = ALL, [value.func, value.args, value.keywords]
    elif isinstance(value, MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, string.Template):
        parts = [value.template]
    elif isinstance(value, re.Pattern):
        parts = [value.pattern, str(value.flags)]
    elif isinstance(value, PurePath):
        parts = [type(value).__name__, str(value)]
    elif value is Ellipsis or value is NotImplemented:
        parts = [f"({value})"]
    elif isinstance(value, CodeType):
        parts = [*code_form(value)]
    elif isinstance(value, _BUILTIN):
        owner = getattr(value, "__self__", None)
        is_log = value.__name__ in ADDING  # whoever holds `events.append` adds to a log
        parts = [value.__qualname__, None if is_log or isinstance(owner, ModuleType) else owner]
    elif isinstance(value, _VIEWS):
        parts = [list(value)]
    elif isinstance(value, LruCached) and (made := made_by(value)) is not NOTHING:
        with contextlib.suppress(Uncacheable):  # the code alone counts then, as before its first call
            parts = [value.__wrapped__, MayBeUnread(_shown(made, numbers, budget, depth))]
            return [_shown(parts[0], numbers, budget, depth), parts[1]]
        parts = [value.__wrapped__]
    elif isinstance(value, _DESCRIPTORS):
        parts = [getattr(value, name, None) for name in ("fget", "fset", "fdel", "func", "__func__", "__wrapped__")]
    elif (data := data_now(value, *budget.where())) is not NOTHING:
        numbers, parts = ALL, data
    elif (client := client_form(value, *budget.where())) is not None:
        parts = [client] if client else []
    else:
        return NOTHING if isinstance(value, _SLOTS) or says_nothing(value) else ReadApart(value, numbers)
    return _shown(tuple(parts), numbers, budget, depth) if parts else NOTHING


def _items(value: Any, numbers: int, budget: _Budget, depth: int) -> Any:
    found = _items_now(value, numbers, budget, depth)
    if collected() is None or isinstance(value, (tuple, frozenset)):
        return found
    key = id(value), budget.path, numbers
    held, first = _first_held.setdefault(key, (value, found))
    if held is not value:  # which was at the same address
        _first_held[key] = value, found
    elif first is not found and repr(first) != repr(found) and not is_recorded(value):
        less = _less_what_was_added(value, found, first)
        if less is found:  # it was emptied or filled anew: what comes from here on is added to that
            _first_held[key] = value, found
        return Held(found, less, budget.path, isinstance(value, _LISTS))
    while len(_first_held) > _MOST_HELD:
        _first_held.pop(next(iter(_first_held)), None)
    return found


def _less_what_was_added(value: Any, now: list[Any], first: list[Any]) -> list[Any]:
    """What a container holds, less what a log or a memo has got since it was first seen; other changes count."""
    before, after = [*map(repr, _members_of(first))], [*map(repr, _members_of(now))]
    if before == after[: len(before)] or (isinstance(value, _SETS) and {*before} <= {*after}):
        return first
    if not isinstance(value, _MAPS):
        return now
    known, less = {repr(pair[0]) for pair in _members_of(first) if type(pair) is tuple}, list[Any]()
    for one in now:
        if isinstance(one, Table):
            one = one._replace(pairs=Plain(pair for pair in one.pairs if repr(pair[0]) in known))
        elif isinstance(one, Plain):
            one = Plain(pair for pair in one if repr(pair[0]) in known)
        elif type(one) is tuple and repr(one[0]) not in known:
            continue
        less.append(one)
    return less


def _members_of(form: list[Any]) -> list[Any]:
    """What is in the form of a container: pairs of a map, or items."""
    found: list[Any] = []
    for one in form[1:]:
        inner = one.pairs if isinstance(one, Table) else one.value if isinstance(one, Number) else one
        found += inner if isinstance(inner, Plain) else [one]
    return found


def _items_now(value: Any, numbers: int, budget: _Budget, depth: int) -> Any:
    """What kind of container it is, and what it holds: to code an empty map is another thing than an empty list."""
    content = items_of(value, *budget.where())
    found: list[Any] = [_kind_of(value)]
    if isinstance(value, _MAPS):
        if {*map(type, content), *map(type, content.values())} <= _PLAIN:
            budget.left -= 2 * len(content)
            if budget.left < 0:
                raise Uncacheable("too much to be read")
            pairs = content.items()
            if not numbers:
                pairs = [(key, one) for key, one in pairs if type(one) in (str, bytes)]
            found.append(Table(Plain(pairs), budget.path) if numbers == UNLESS_CHANGED else Plain(pairs))
            content = {}
        for key, one in content.items():
            with budget.within(key if isinstance(key, str) else ""):
                pair = _shown(key, ALL, budget, depth), _shown(one, numbers, budget, depth)
            if NOTHING not in pair:
                found.append(pair)
        if isinstance(value, defaultdict):
            made = _shown(value.default_factory, numbers, budget, depth)
            found += [] if made is NOTHING else [made]
        return found
    kinds = set(map(type, content))
    held: list[Any]
    if kinds <= _PLAIN and not (numbers == UNLESS_CHANGED and kinds & {str, bytes} and len(kinds) > 1):
        # Long lists of texts, vectors: not one by one.
        texts = kinds <= {str, bytes}
        held = [*content] if texts or numbers else [one for one in content if type(one) in (str, bytes)]
        if held and not texts and numbers == UNLESS_CHANGED:
            ordered = sorted(held, key=repr) if isinstance(value, _SETS) else held
            return [*found, Number(Plain(ordered), budget.path)]
        return [*found, Plain(sorted(held, key=repr) if isinstance(value, _SETS) else held)]
    else:
        with budget.within(""):
            held = [part for one in content if (part := _shown(one, numbers, budget, depth)) is not NOTHING]
    return found + (sorted(held, key=repr) if isinstance(value, _SETS) else held)


def _kind_of(value: Any) -> str:
    """No name that code may use."""
    kind = type(value).__name__
    return f"({kind} of {value.maxlen})" if isinstance(value, deque) else f"({kind})"


def _content(value: Any, numbers: int, budget: _Budget) -> Any:
    """What an object that is read by itself holds, as a map, list or text, too."""
    if isinstance(value, FunctionType) or not is_installed_class(type(value)):
        found = [_fields(value, numbers, budget, 0)]
        if isinstance(value, (*_MAPS, *_LISTS, *_SETS)):
            found.append(_items(value, numbers, budget, 0))
        elif isinstance(value, _SCALARS):
            if numbers or isinstance(value, (str, bytes)):
                found.append(_plain_of(value))
        else:
            found.append(data_now(value, budget.place, budget.path))
    elif type(value) is threading.local:
        return _fields(value, ALL if numbers == ALL else NONE, budget, 0)
    else:
        observe(value)
        budget.holder = type(value), len(budget.path)
        inner = ALL if numbers == ALL else NONE  # those in objects of unknown classes are often counters
        found = [_shown(one, inner, budget, 1) for one in contents_of(value)]
    return Members(None if one is NOTHING else one for one in found)


def _plain_of(value: Any) -> Any:
    return next(kind for kind in (str, bytes, int, float) if isinstance(value, kind)).__repr__(value)


def _fields(value: Any, numbers: int, budget: _Budget, depth: int) -> Any:
    module = type(value).__module__
    own = not is_installed(module) or module.partition(".")[0] in sys.stdlib_module_names
    before, budget.holder = budget.holder, budget.holder if own else (type(value), len(budget.path))
    try:
        return _fields_in(value, numbers, budget, depth, own=own)
    finally:
        budget.holder = before


def _fields_in(value: Any, numbers: int, budget: _Budget, depth: int, *, own: bool) -> Any:
    found: list[Any] = []
    for name, one in observe(value).items():
        if not own and (isinstance(getattr(type(value), name, None), functools.cached_property)):
            continue  # computed from the others
        with budget.within(f".{name}"):
            client = None if own else client_form(one, *budget.where())
            if client is None and not own and _is_ignored(name, one):
                continue
            if client:
                found.append((name, client))
            elif client is None and (field := _shown(_field(name, one), numbers, budget, depth + 1)) is not NOTHING:
                found.append((name, field))
    return found or NOTHING


def _field(name: str, value: Any) -> Any:
    """A field; a credential stands for the one whose it is, and no text of it is to be seen."""
    if is_credential(name) and isinstance(value, (str, bytes)):
        return digest_of(f"credential {value!r}")
    return value


def _has_fields(value: Any) -> bool:
    return dataclasses.is_dataclass(type(value)) or hasattr(type(value), "__pydantic_fields__")


def _is_settings(value: Any) -> bool:
    """Whether its numbers are no counters: it cannot be changed, or says what it is by its kind."""
    kind = type(value)
    if isinstance(value, SimpleNamespace) or hasattr(kind, "__pydantic_fields__") or kind.__name__ == "Namespace":
        return True
    if isinstance(value, tuple):
        return kind is not tuple
    if kind.__module__ == "operator":  # which item, which attribute
        return True
    frozen = getattr(kind, "__dataclass_params__", None)
    return frozen is not None and bool(frozen.frozen)


def _is_ignored(name: str, value: Any) -> bool:
    """Whether a field of an installed package's class cannot change an answer, by its name.

    Documents and tools have tags and metadata, and their ids count unless they are made anew at each start.
    """
    if is_credential(name):
        return True
    if _OF_ONE_RUN.fullmatch(name) is not None:
        return not isinstance(value, str) or _RANDOM.search(value) is not None
    return is_neutral(name) and name not in _OF_DOCUMENTS
