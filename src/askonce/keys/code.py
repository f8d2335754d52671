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
import sys
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
from typing import Any

from askonce.keys.normal_form import Uncacheable, is_credential, is_neutral
from askonce.keys.objects import NOTHING, contents_of, data_of, says_nothing
from askonce.keys.own_modules import file_of, imported_by, is_installed, source_of, stored_by


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

    Raises:
        Uncacheable: the code uses an object that cannot be read.
    """
    code = written_code(part)
    return None if code is None else digest_of(code)


def written_code(part: Any) -> str | None:
    """What `code_of` is the digest of; names and texts in the code stand in it as `repr` shows them.

    Raises:
        Uncacheable: the code uses an object that cannot be read.
    """
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
        self._where = ""  # the variable whose value is read, for people

    def parts(self, start: Iterable[Any]) -> Iterator[Any]:
        for part in start:
            yield self._later(part)
        while self._waiting:
            yield from self._waiting.popleft()()

    def _later(self, part: Any, numbers: bool = False) -> str:
        """The number of a part, which is read once all before it are."""
        key: Any = id(part), numbers
        if type(part) is str:
            key, read = part, functools.partial(self._source, part)
        elif isinstance(part, type):
            key, read = id(part), functools.partial(self._class, part)
        elif isinstance(part, FunctionType):
            key, read = id(part), functools.partial(self._function, part)
        elif isinstance(part, ContextVar):
            key, read = id(part), functools.partial(self._context_variable, part)
        else:
            read = functools.partial(self._object, part, numbers, self._where)
        if key not in self._known:
            if len(self._known) >= _MOST_PARTS:
                raise Uncacheable(f"the code of a class uses more than {_MOST_PARTS} objects{_WAY_OUT}")
            self._known[key] = len(self._known), part  # while it is here, no other has its id
            self._waiting.append(read)
        return f"part {self._known[key][0]}"

    def _class(self, cls: type) -> Iterator[Any]:
        own = [base for base in cls.__mro__ if not is_installed(base.__module__)]
        for base in own:
            if base is not cls:
                yield self._later(base)
                continue
            held = sorted(vars(base).items())
            numbers = [name for name, value in held if isinstance(value, (int, float)) and not name.isupper()]
            counters = stored_by(one for _, value in held for one in _functions(value)) if numbers else set[str]()
            for name, value in held:
                if name == "__doc__" or not name.startswith("__") or any(_functions(value)):
                    settings = name in numbers and name not in counters
                    yield from self._variable(name, value, numbers=settings)

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
                value = around[name] = cell.cell_contents
                if isinstance(value, (int, float)) and name not in stored_by([function]):
                    yield from self._variable(name, value, numbers=True)
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
        value = _decorated(value)
        if _stands_for_another(value):
            return
        self._where = name
        with _reading(name):
            shown = _first_shown(value, numbers or name.isupper())
            if shown is not NOTHING:
                yield name
                yield self._numbered(shown)

    def _numbered(self, shown: Any) -> Any:
        if isinstance(shown, _Part):
            part = shown.found()
            return None if part is None else self._later(part, shown.numbers)
        return [self._numbered(one) for one in shown] if isinstance(shown, (list, tuple)) else shown

    def _object(self, value: Any, numbers: bool, where: str) -> Iterator[Any]:
        self._where = where
        yield self._later(type(value))
        with _reading(where):
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

_DEEPEST = 100
_MOST_ITEMS = 300_000
_WAY_OUT = "; name it: cached(…, name='…'), or of embeddings cached(…, model='…')"
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
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_DESCRIPTORS = (
    property,
    staticmethod,
    classmethod,
    functools.cached_property,
    functools.singledispatchmethod,
    type(functools.lru_cache(len)),
)
_SLOTS = (MemberDescriptorType, GetSetDescriptorType, type(NotImplemented), type(...))
_FIXED = (*_SCALARS, tuple, frozenset, enum.Enum, type, FunctionType, ContextVar)
_OF_ONE_RUN = re.compile(r"(.*_)?(id_?|uuid|time|timestamp|created(_at)?)")
_first: dict[tuple[int, bool, bool], tuple[Callable[[], Any], Any]] = {}


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Says of which variable it is the value that cannot be read."""
    try:
        yield
    except Uncacheable as error:
        if str(error).endswith(_WAY_OUT):
            raise
        raise Uncacheable(f"the code of a class uses {name}, which holds {error}{_WAY_OUT}") from error


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
    if isinstance(value, _FIXED) and not within:
        return read(value, numbers, [_MOST_ITEMS])  # nothing refers to it afterwards
    key = id(value), numbers, within
    known = _first.get(key)
    if known is not None and known[0]() is value:
        return known[1]
    shown = read(value, numbers, [_MOST_ITEMS])
    _first[key] = _reference(value), shown
    if len(_first) > _MOST_PARTS:
        _first.pop(next(iter(_first)), None)
    return shown


def _shown(value: Any, numbers: bool, left: list[int], depth: int = 0) -> Any:
    """The texts and parts in a value, and the numbers if they count; `NOTHING` if there are none.

    Raises:
        Uncacheable: it holds something that cannot be read, or more than can be read.
    """
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        raise Uncacheable("too much to be read")
    try:
        return _read(value, numbers, left, depth + 1)
    except Uncacheable:
        raise
    except Exception as error:
        if _stands_for_another(value):
            return NOTHING
        raise Uncacheable(f"a {type(value).__module__}.{type(value).__qualname__}, which cannot be read") from error


def _stands_for_another(value: Any) -> bool:
    """Whether it is a proxy, such as a web framework's for the request: it holds another object each time."""
    try:
        return value.__class__ is not type(value)
    except Exception:
        return True


def _decorated(value: Any) -> Any:
    """Of what a decorator has made in place of a function, as wrapt's do: the function, and the decorator's own."""
    if type(value) is FunctionType or not _stands_for_another(value):
        return value
    try:
        inner = value.__wrapped__
        known = type(inner) in (FunctionType, MethodType, staticmethod, classmethod)
        return [inner, getattr(value, "_self_wrapper", None)] if known else value
    except Exception:  # a proxy for what is not there now
        return value


def _read(value: Any, numbers: bool, left: list[int], depth: int) -> Any:
    value = _decorated(value)
    if _stands_for_another(value):
        return NOTHING
    if isinstance(value, enum.Enum):
        return _shown([type(value), value.value], numbers, left, depth)
    if isinstance(value, _SCALARS):
        if not is_installed(type(value).__module__):
            return _Part(value, numbers)
        return value if numbers or isinstance(value, (str, bytes)) else NOTHING
    if isinstance(value, ContextVar):
        return _Part(value, numbers)
    if isinstance(value, (type, FunctionType)):
        own = not is_installed(value.__module__ or "")
        return _Part(value, numbers) if own else f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, ModuleType):
        return NOTHING if file_of(value.__name__) is None else _Part(value.__name__, numbers)
    numbers = numbers or _is_settings(value)
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
    if isinstance(value, (functools.partial, functools.partialmethod)):
        numbers, parts = True, [value.func, value.args, value.keywords]
    elif isinstance(value, MethodType):
        parts = [value.__func__, value.__self__]
    elif isinstance(value, string.Template):
        parts = [value.template]
    elif isinstance(value, re.Pattern):
        parts = [value.pattern, str(value.flags)]
    elif isinstance(value, PurePath):
        parts = [str(value)]
    elif isinstance(value, CodeType):
        parts = [*_code(value)]
    elif isinstance(value, _BUILTIN):
        owner = getattr(value, "__self__", None)
        parts = [value.__qualname__, None if isinstance(owner, ModuleType) else owner]
    elif isinstance(value, _VIEWS):
        parts = [list(value)]
    elif isinstance(value, _DESCRIPTORS):
        parts = [getattr(value, name, None) for name in ("fget", "fset", "fdel", "func", "__func__", "__wrapped__")]
    elif (data := data_of(value)) is not NOTHING:
        numbers, parts = True, data
    else:
        return NOTHING if isinstance(value, _SLOTS) or says_nothing(value) else _Part(value, numbers)
    return _shown(parts, numbers, left, depth) if parts else NOTHING


def _items(value: Any, numbers: bool, left: list[int], depth: int) -> Any:
    if isinstance(value, _MAPS):
        pairs = [
            (_shown(key, True, left, depth), _shown(one, numbers, left, depth)) for key, one in list(value.items())
        ]
        shown: list[Any] = [pair for pair in pairs if NOTHING not in pair]
        if isinstance(value, defaultdict):
            made = _shown(value.default_factory, numbers, left, depth)
            shown += [] if made is NOTHING else [made]
        return shown or NOTHING
    kinds = set(map(type, value))
    if kinds <= _PLAIN:  # long lists of texts, vectors: not one by one
        shown = [one for one in value if numbers or type(one) in (str, bytes)]
    else:
        shown = [part for one in list(value) if (part := _shown(one, numbers, left, depth)) is not NOTHING]
    return (sorted(shown, key=repr) if isinstance(value, _SETS) else shown) or NOTHING


def _content(value: Any, numbers: bool, left: list[int]) -> Any:
    """What an object that is read by itself holds, as a map, list or text, too."""
    if isinstance(value, FunctionType) or not is_installed(type(value).__module__):
        shown = [_fields(value, numbers, left, 0)]
        if isinstance(value, (*_MAPS, *_LISTS, *_SETS)):
            shown.append(_items(value, numbers, left, 0))
        elif isinstance(value, _SCALARS):
            if numbers or isinstance(value, (str, bytes)):
                shown.append(_plain_of(value))
        else:
            shown.append(data_of(value))
    else:
        shown = [_shown(one, numbers, left, 1) for one in contents_of(value)]
    return [None if one is NOTHING else one for one in shown]


def _plain_of(value: Any) -> Any:
    return next(kind for kind in (str, bytes, int, float) if isinstance(value, kind)).__repr__(value)


def _fields(value: Any, numbers: bool, left: list[int], depth: int) -> Any:
    module = type(value).__module__
    own = not is_installed(module) or module.partition(".")[0] in sys.stdlib_module_names
    fields = {name: _field(name, one) for name, one in _held(value).items() if own or not _is_ignored(name)}
    return _shown(fields, numbers, left, depth)


def _field(name: str, value: Any) -> Any:
    """A field; a credential stands for the one whose it is, and no text of it is to be seen."""
    if is_credential(name) and isinstance(value, (str, bytes)):
        return digest_of(f"credential {value!r}")
    return value


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


def _is_settings(value: Any) -> bool:
    """Whether its numbers are no counters: it cannot be changed, or says what it is by its kind."""
    kind = type(value)
    if isinstance(value, SimpleNamespace) or hasattr(kind, "__pydantic_fields__") or kind.__name__ == "Namespace":
        return True
    if isinstance(value, tuple):
        return kind is not tuple
    frozen = getattr(kind, "__dataclass_params__", None)
    return frozen is not None and bool(frozen.frozen)


def _is_ignored(name: str) -> bool:
    """Whether a field of an installed package's class cannot change an answer, by its name."""
    return is_credential(name) or _OF_ONE_RUN.fullmatch(name) is not None or is_neutral(name)


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
