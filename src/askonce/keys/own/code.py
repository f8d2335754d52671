"""What the code of a class says: two classes of one name may answer differently.

Of a class in an installed package the name is enough. A class of the application's own counts by its code as well:
it may be local to a function, or edited between two runs of a script or a notebook.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Context, ContextVar
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from askonce.keys.normal_form import Uncacheable, is_credential
from askonce.keys.own.bytecode import code_form, names_in, variables_in
from askonce.keys.own.changes import OwnChanges, Path
from askonce.keys.own.modules import (
    file_of,
    imported_by,
    is_installed,
    is_installed_class,
    is_package,
    packages_imported_by,
    source_of,
)
from askonce.keys.own.objects import NOTHING
from askonce.keys.own.state import (
    UNSET,
    collected,
    held_by,
    observe,
    observe_definition,
    observe_loading,
    read_values_with,
    settings_of,
)
from askonce.keys.own.variables import (
    ALL,
    MOST_PARTS,
    NO_COUNTERS,
    UNLESS_CHANGED,
    WAY_OUT,
    Held,
    MayBeUnread,
    Members,
    Number,
    Plain,
    ReadApart,
    Table,
    decorated,
    digest_of,
    reading,
    shown,
    shown_at,
    stands_for_another,
)

__all__ = ["class_form", "code_of", "context_variables", "digest_of", "names_changed_by", "written_code"]


def class_form(cls: type) -> dict[str, str]:
    """Which class it is; of a class of the application's own, with its code."""
    name, code = f"{cls.__module__}.{cls.__qualname__}", code_of(cls)
    return {"class": name} if code is None else {"class": name, "code": code}


def code_of(part: Any) -> str | None:
    """A digest of the code of a class and its bases, or of a function; ``None`` if it is in installed packages.

    Functions, classes, modules and objects of the application's own that the code uses by name belong to it, also
    within lists, maps and partials, with their annotations and the fields of pydantic's classes. Of variables, of
    the class, around its functions or in such objects, texts count, and numbers that the code does not assign
    itself; of clients where they send their requests. Within ``code_state.collecting`` what was read is collected,
    and what context variables hold counts; elsewhere what can be changed counts as it was when it was first seen in
    this process. Of a module that the code imports itself, or in which it may reach any name (``globals()``), the
    whole source counts.

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
        of_application = not all(is_installed_class(base) for base in part.__mro__)
    else:
        of_application = not all(is_installed(one.__module__ or "") for one in _functions(part))
    if not of_application:
        return None
    walk = _CodeWalk(part)
    found = list(walk.parts(_start(part)))
    observed = collected()
    if observed is not None:
        observed.changes.add_all(walk.changes)
    resolved = (_resolved(one, walk.changes) for one in found)
    return "".join(repr(one) for one in resolved if one is not NOTHING)


def context_variables(part: Any) -> list[ContextVar[Any]]:
    """The context variables that the code of `code_of` uses: what they hold is another in each request."""
    return [one for one in _CodeWalk(part).parts(_start(part)) if isinstance(one, ContextVar)]


def names_changed_by(part: Any) -> frozenset[str]:
    """The names of what the code of `code_of` assigns or changes itself, such as counters and logs."""
    walk = _CodeWalk(part)
    deque(walk.parts(_start(part)), maxlen=0)
    return walk.changes.names()


def _start(part: Any) -> list[Any]:
    return [part] if isinstance(part, type) else list(_functions(part))


class _Variable(NamedTuple):
    """A variable, or an object, and what it says.

    Attributes:
        name: of the variable; empty for an object.
        value: what it says.
        place: the class of the object, or the id of what holds the variable.
    """

    name: str
    value: Any
    place: Any


def _resolved(part: Any, changes: OwnChanges, place: Any = None) -> Any:
    """A part without counters, and with logs as they were; `NOTHING` if nothing else is in it."""
    if type(part) in (str, Plain):
        return part
    if isinstance(part, Table):
        if not changes.may_count(part.path, part.pairs):
            return part.pairs
        return Plain(
            (key, one)
            for key, one in part.pairs
            if type(one) in NO_COUNTERS
            or not changes.is_counter(place, (*part.path, key if isinstance(key, str) else ""))
        )
    if isinstance(part, Number):
        return NOTHING if changes.is_counter(place, part.path) else _resolved(part.value, changes, place)
    if isinstance(part, Held):
        changed = changes.is_surely_changed(place, part.path)
        if changed and part.is_list and changes.is_stack(place, part.path):
            changed = False
        return _resolved(part.less if changed else part.now, changes, place)
    if isinstance(part, ContextVar):
        return f"ContextVar {part.name}"
    if isinstance(part, _Variable):
        value = _resolved(part.value, changes, part.place)
        return NOTHING if value is NOTHING else (part.name, value) if part.name else value
    if isinstance(part, Members):
        return [None if (one := _resolved(each, changes, place)) is NOTHING else one for each in part]
    if isinstance(part, list):
        return [one for each in part if (one := _resolved(each, changes, place)) is not NOTHING] or NOTHING
    if isinstance(part, tuple) and type(part) is tuple:
        pair = tuple(_resolved(one, changes, place) for one in part)
        return NOTHING if NOTHING in pair else pair
    return part


def _is_of_a_framework(cls: type) -> bool:
    return is_installed_class(cls) and cls.__module__.partition(".")[0] not in sys.stdlib_module_names


def _functions(value: Any) -> Iterator[FunctionType]:
    inner = getattr(value, "__func__", None) or getattr(value, "func", None)  # of a class, cached, a partial
    for one in (value, inner, *(getattr(value, name, None) for name in ("fget", "__wrapped__"))):
        if isinstance(one, FunctionType):
            yield one


# With these, code reaches names that do not stand in it: of its own module, and of the modules that it uses.
_REACHING_ALL = frozenset("globals eval exec import_module __import__ modules".split())
_REACHING_WITHIN = frozenset("getattr attrgetter methodcaller getmembers vars __dict__".split())
_IMPORTING = frozenset({"import_module", "__import__"})
_MODULE_NAME = re.compile(r"\.*[^\W\d][\w.]*")
# What a context variable of such a name holds is for logs.
_OF_ONE_ATTEMPT = re.compile(r"(request|correlation|trace|span)[_-]?id|traceparent", re.IGNORECASE)
# They call no method of a class that is made from one of theirs.
_OF_CONTAINERS = frozenset("builtins collections _collections _collections_abc types".split())
# Of a class's names with underscores, which count besides those that hold functions.
_SPECIAL = frozenset("__doc__ __total__ __slots__".split())


class _CodeWalk:
    """Reads code and what it uses, each part once; within another it stands by its number, so circles end.

    Args:
        start: the class or function that is read.

    Attributes:
        changes: what the code that was read assigns or changes itself.
    """

    def __init__(self, start: Any) -> None:
        self.changes = OwnChanges()
        self._bases = start.__mro__ if isinstance(start, type) else ()
        self._methods: dict[FunctionType, tuple[type, str, bool, bool]] = {}
        self._known: dict[Any, tuple[int, Any]] = {}
        self._waiting: deque[tuple[bool, Callable[[], Iterator[Any]]]] = deque()
        self._where = ""  # the variable whose value is read, for people
        self._packages: set[str] = set()
        self._optional = False  # what is read is of an annotation, and may be unreadable

    def parts(self, start: Iterable[Any]) -> Iterator[Any]:
        for part in start:
            yield self._later(part)
        while self._waiting:
            self._optional, read = self._waiting.popleft()
            if not self._optional:
                yield from read()
                continue
            with contextlib.suppress(Uncacheable):
                yield from read()

    def read(self, value: Any, place: Any, path: Path) -> None:
        """Read what stands somewhere, for what is observed of it."""
        self._numbered(shown_at(value, place, path))
        deque(self.parts([]), maxlen=0)

    def _later(self, part: Any, numbers: int = UNLESS_CHANGED) -> str:
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
            if len(self._known) >= MOST_PARTS:
                raise Uncacheable(f"the code of a class uses more than {MOST_PARTS} objects{WAY_OUT}")
            self._known[key] = len(self._known), part  # while it is here, no other has its id
            self._waiting.append((self._optional, read))
        return f"part {self._known[key][0]}"

    def _class(self, cls: type) -> Iterator[Any]:
        yield cls.__name__, [f"{base.__module__}.{base.__name__}" for base in cls.__mro__ if base is not cls]
        if not is_installed_class(type(cls)):
            yield self._later(type(cls))
        for base in cls.__mro__:
            if is_installed_class(base):
                continue
            if base is not cls:
                yield self._later(base)
                continue
            held = observe(cls)
            for name, value in sorted(held.items()):
                if name in _SPECIAL or not name.startswith("__") or any(_functions(value)):
                    self._add_methods(cls, name, value)
                    yield from self._variable(name, value, place=cls)
            yield from self._declared(cls, held)

    def _add_methods(self, cls: type, name: str, value: Any) -> None:
        """Remember whose methods a member of a class consists of."""
        by_setter = {getattr(value, "fset", None), getattr(value, "fdel", None)} if type(value) is property else ()
        for one in (value, *(getattr(value, part, None) for part in ("fget", "fset", "fdel", "func", "__func__"))):
            is_setter = isinstance(one, FunctionType) and one in by_setter
            while one is not None:
                if isinstance(one, FunctionType):
                    is_static = isinstance(value, staticmethod) and name != "__new__"
                    self._methods.setdefault(one, (cls, name, is_setter, is_static))
                one = getattr(one, "__wrapped__", None)

    def _add_changes(self, function: FunctionType) -> None:
        cls, name, is_setter, is_static = self._methods.get(function, (None, None, False, False))
        of_package = [
            one
            for one in getattr(cls, "__mro__", ())
            if is_installed_class(one) and one.__module__ not in _OF_CONTAINERS
        ]
        if any(name in vars(one) for one in of_package):
            name = None  # the package calls it
        self.changes.add(
            function,
            None if is_static else cls,
            name,
            is_setter=is_setter,
            is_start=cls in self._bases and not any(map(_is_of_a_framework, self._bases)),
        )

    def _declared(self, cls: type, held: Mapping[str, Any]) -> Iterator[Any]:
        """The annotations of a class, and what its fields in pydantic's sense say."""
        annotations, fields = held.get("__annotations__"), held.get("__pydantic_fields__")
        yield from self._annotations(annotations)
        if not (isinstance(annotations, dict) and isinstance(fields, dict)):
            return
        for name in annotations:
            field = fields.get(name)
            given = dict(getattr(field, "_attributes_set", None) or {})
            given.pop("annotation", None)
            given["metadata"] = getattr(field, "metadata", None) or None
            yield from self._annotations({f"{name}.{one}": value for one, value in sorted(given.items())})

    def _annotations(self, annotations: Any) -> Iterator[Any]:
        """Types and settings of fields, as far as they can be read: most are of no use to an answer."""
        before, self._optional = self._optional, True
        try:
            for name, value in list(annotations.items()) if isinstance(annotations, dict) else ():
                with contextlib.suppress(Uncacheable):
                    yield from self._variable(name, value, numbers=ALL)
        finally:
            self._optional = before

    def _function(self, function: FunctionType) -> Iterator[Any]:
        code = function.__code__
        self._add_changes(function)
        yield function.__name__
        yield from code_form(code)
        yield from self._annotations(function.__annotations__)
        for name, value in observe_definition(function).items():
            yield from self._variable(name, value, numbers=ALL, place=id(function))
        if observe(function):
            found = shown(function, "", UNLESS_CHANGED, within=True, place=FunctionType)
            yield _Variable("", self._numbered(found), FunctionType)
        names = names_in(code)
        around = {**observe(function.__globals__, tuple(sorted(variables_in(code))))}
        yield from self._used(around, names, set(), id(function.__globals__))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            held = observe(cell, (name,))
            yield from self._used(held, names, set(), id(cell))
            around |= held
        for module in imported_by(code, function.__globals__.get("__package__") or ""):
            yield self._later(module)
        for package in packages_imported_by(code):
            yield from self._package(package)
        if names & _IMPORTING:
            yield from self._imported_by_name(around.values())
        if names & _REACHING_ALL:
            yield from self._module(function.__module__, function.__globals__)

    def _used(self, around: dict[str, Any], names: set[str], within: set[int], place: int) -> Iterator[Any]:
        """Variables that code uses, and what it uses of the application's own modules among them."""
        for name, value in sorted(around.items()):
            if type(value) is not ModuleType:
                yield from self._variable(name, value, place=place)
                if type(value) is FunctionType:
                    yield from self._package(value.__module__ or "")
            elif is_installed(value.__name__):
                yield from self._package(value.__name__)
            elif id(value) not in within:
                held = vars(value)
                if names & _REACHING_WITHIN:
                    yield from self._module(value.__name__, held)
                found = observe(held, tuple(sorted(names)))
                yield from self._used(found, names, within | {id(value)}, id(held))

    def _package(self, name: str) -> Iterator[Any]:
        """What the application has set in a package whose module or function its code uses."""
        package = name.partition(".")[0]
        if package in self._packages or not is_package(package):
            return
        self._packages.add(package)
        for module in {package: 0, name: 0} if observe_loading(package) else ():
            held = sys.modules.get(module)
            if type(held) is ModuleType:
                for one, value in sorted(settings_of(held).items()):
                    shown_as = str(value) if type(value).__name__ == "URL" else value
                    yield from self._variable(f"{module}.{one}", shown_as, numbers=ALL, place=id(vars(held)))

    def _imported_by_name(self, values: Iterable[Any]) -> Iterator[Any]:
        """The application's own modules that variables name, which code that imports by name uses."""
        for value in values:
            texts = [value] if isinstance(value, str) else value
            if isinstance(texts, Mapping):
                texts = [*texts.values()]
            for text in texts if isinstance(texts, (list, tuple, set, frozenset)) else ():
                if isinstance(text, str) and _MODULE_NAME.fullmatch(text) and file_of(text) is not None:
                    yield self._later(text)

    def _variable(
        self, name: str, value: Any, *, numbers: int = UNLESS_CHANGED, place: Any = None
    ) -> Iterator[Any]:
        value = decorated(value)
        if stands_for_another(value):
            return
        self._where = name
        with reading(name):
            # An object of an own class may have counters, whatever the variable is called.
            is_constant = name.isupper() and is_installed_class(type(value))
            found = shown(value, name, ALL if is_constant else numbers, place=place)
            if found is not NOTHING:
                yield _Variable(name, self._numbered(found), place)

    def _numbered(self, found: Any) -> Any:
        if isinstance(found, ReadApart):
            part = found.found()
            return None if part is None else self._later(part, found.numbers)
        if isinstance(found, (Number, Table, Plain)):
            return found
        if isinstance(found, MayBeUnread):
            before, self._optional = self._optional, True
            try:
                return self._numbered(found.value)
            finally:
                self._optional = before
        if isinstance(found, Held):
            return found._replace(now=self._numbered(found.now), less=self._numbered(found.less))
        if isinstance(found, Members):
            return Members(map(self._numbered, found))
        if isinstance(found, list):
            return [*map(self._numbered, found)]
        return tuple(map(self._numbered, found)) if type(found) is tuple else found

    def _object(self, value: Any, numbers: int, where: str) -> Iterator[Any]:
        self._where = where
        self.changes.add_members(held_by(value))
        yield self._later(type(value))
        with reading(where):
            found = shown(value, "", numbers, within=True, place=type(value))
            yield _Variable("", self._numbered(found), type(value))

    def _context_variable(self, variable: ContextVar[Any]) -> Iterator[Any]:
        yield variable
        with contextlib.suppress(LookupError):  # it has no default
            yield from self._variable("default", Context().run(variable.get))
        observed = collected()
        if observed is None or _OF_ONE_ATTEMPT.search(variable.name):
            return
        value = variable.get(UNSET)
        observed.variables.append((variable, value))
        if value is UNSET:
            return
        names = [variable.name, *(value if isinstance(value, Mapping) else ())]
        if any(isinstance(one, str) and is_credential(one) for one in names):
            raise Uncacheable(
                f"the code of a class uses the context variable {variable.name!r}, which holds a credential"
                + WAY_OUT
            )
        yield from self._variable(variable.name, value, numbers=ALL)

    def _module(self, name: str, held: dict[str, Any]) -> Iterator[Any]:
        """All of a module: its source, or if it has none, as a notebook, its variables."""
        if file_of(name) is not None:
            yield self._later(name)
            return
        names = (one for one in list(held) if not one.startswith("_") and one not in ("In", "Out"))
        for one, value in observe(held, tuple(sorted(names))).items():
            if type(value) is not ModuleType:
                yield from self._variable(one, value, place=id(held))

    def _source(self, module: str) -> Iterator[Any]:
        loaded = sys.modules.get(module)
        if loaded is not None:
            observe(vars(loaded), ("__spec__",))  # another once it is loaded anew
        digest, imported = source_of(module)
        yield digest
        yield [self._later(one) for one in imported]


def _read_value(value: Any, place: Any, path: Path) -> None:
    observed, walk = collected(), _CodeWalk(None)
    walk.read(value, place, path)
    if observed is not None:
        observed.changes.add_all(walk.changes)


read_values_with(_read_value)
