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
import sys
import sysconfig
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from askonce.keys.normal_form import is_credential, is_neutral

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = sysconfig.get_paths()["stdlib"]


def class_form(cls: type) -> dict[str, str]:
    """Which class it is; of a class of the application's own, with its code."""
    name, code = f"{cls.__module__}.{cls.__qualname__}", code_of(cls)
    return {"class": name} if code is None else {"class": name, "code": code}


def code_of(part: Any) -> str | None:
    """A digest of the code of a class and its bases, or of a function; ``None`` if it is in installed packages.

    Functions, classes, modules and objects of the application's own that the code uses by name belong to it. Of
    variables, of the class or around its functions, texts count, also within lists, maps and objects, and of those
    that are named like a constant numbers, too: others are often counters. What can be changed counts as it was
    when it was first seen in this process, since it may be a log.
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
    seen = set[int]()
    if isinstance(part, type):
        return _class(part, seen)
    return (one for function in _functions(part) for one in _function(function, seen))


def _stable(part: Any) -> Any:
    return f"ContextVar {part.name}" if isinstance(part, ContextVar) else part


def digest_of(code: str) -> str:
    """The digest of what `written_code` returns."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


@functools.lru_cache(maxsize=512)
def is_installed(module: str) -> bool:
    """Whether a module is of Python's own, of an installed package, or of askonce."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names or module in ("builtins", "abc", "typing")
    parts = Path(file).parts
    return file.startswith(_STANDARD) or any(name in parts for name in _INSTALLED) or module.startswith("askonce.")


def _class(cls: type, seen: set[int]) -> Iterator[Any]:
    for base in cls.__mro__:
        if id(base) in seen or is_installed(base.__module__):
            continue
        seen.add(id(base))
        for name, value in sorted(vars(base).items()):
            functions = list(_functions(value))
            for function in functions:
                yield name
                yield from _function(function, seen)
            if not functions and not name.startswith("__"):
                yield from _variable(name, value, seen)


def _functions(value: Any) -> Iterator[FunctionType]:
    inner = getattr(value, "__func__", None) or getattr(value, "func", None)  # of a class, cached, a partial
    for one in (value, inner, *(getattr(value, name, None) for name in ("fget", "__wrapped__"))):
        if isinstance(one, FunctionType):
            yield one


def _function(function: FunctionType, seen: set[int]) -> Iterator[Any]:
    if id(function) in seen or is_installed(function.__module__ or ""):
        return
    seen.add(id(function))
    yield from _code(function.__code__)
    defaults = [*enumerate(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    for name, value in defaults:
        yield from _variable(str(name), value, seen, numbers=True)
    names = _names(function.__code__)
    around = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            around[name] = cell.cell_contents
    yield from _used(around, names, seen)


def _used(around: dict[str, Any], names: set[str], seen: set[int]) -> Iterator[Any]:
    """Variables that code uses, and what it uses of the application's own modules among them."""
    for name, value in sorted(around.items()):
        if type(value) is not ModuleType:
            try:
                yield from list(_variable(name, value, seen))
            except Exception:  # an object that raises errors when it is looked at, such as a proxy, says nothing
                continue
        elif not is_installed(value.__name__) and id(value) not in seen:
            seen.add(id(value))
            yield from _used({one: vars(value)[one] for one in names & vars(value).keys()}, names, seen)
            seen.discard(id(value))  # another function uses other parts of it


def _variable(name: str, value: Any, seen: set[int], *, numbers: bool = False) -> Iterator[Any]:
    if isinstance(value, ContextVar):
        yield value
    elif isinstance(value, functools.partial):
        yield from _variable(name, value.func, seen)
        yield from _variable(name, [value.args, value.keywords], seen, numbers=True)
    elif functions := list(_functions(value)):
        for function in functions:
            yield from _function(function, seen)
    elif isinstance(value, type):
        yield from _class(value, seen)
    else:
        if not is_installed(type(value).__module__):
            yield from _class(type(value), seen)
        shown = _first_shown(value, numbers or name.isupper())
        if shown is not _NOTHING:
            yield name
            yield shown


# -- variables -----------------------------------------------------------------------------------------------------

_NOTHING: Any = object()
_MOST_PARTS = 10_000
_SCALARS = (str, bytes, bool, int, float, type(None))
_CONTAINERS = (dict, list, tuple, set, frozenset)
_OF_ONE_RUN = re.compile(r"(.*_)?(id_?|uuid|time|timestamp|created(_at)?)")
_first: dict[tuple[int, bool], tuple[Any, Any]] = {}


def _first_shown(value: Any, numbers: bool) -> Any:
    """What a variable says; of one that can be changed, as it was when it was first seen."""
    if not (isinstance(value, (dict, list, set)) or _has_fields(value)):
        return _shown(value, numbers, [_MOST_PARTS])  # nothing refers to it afterwards
    known = _first.get((id(value), numbers))
    if known is None or known[0] is not value:
        known = _first[id(value), numbers] = value, _shown(value, numbers, [_MOST_PARTS])
        if len(_first) > _MOST_PARTS:
            del _first[next(iter(_first))]
    return known[1]


def _shown(value: Any, numbers: bool, left: list[int]) -> Any:
    """The texts in a value, and the numbers if they count; `_NOTHING` if there are none, or too many to look at."""
    left[0] -= 1
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, _SCALARS):
        return value if numbers or isinstance(value, (str, bytes)) else _NOTHING
    if left[0] < 0 or (isinstance(value, _CONTAINERS) and len(value) > left[0]):
        return _NOTHING
    if isinstance(value, dict):
        parts = [(_shown(key, True, left), _shown(item, numbers, left)) for key, item in value.items()]
        return [part for part in parts if _NOTHING not in part] or _NOTHING
    if isinstance(value, (list, tuple, set, frozenset)):
        shown = [part for one in value if (part := _shown(one, numbers, left)) is not _NOTHING]
        return (sorted(map(repr, shown)) if isinstance(value, (set, frozenset)) else shown) or _NOTHING
    if _has_fields(value):
        fields = {name: one for name, one in vars(value).items() if not _is_ignored(name)}
        return _shown(fields, numbers, left)
    return _NOTHING


def _has_fields(value: Any) -> bool:
    return dataclasses.is_dataclass(type(value)) or hasattr(type(value), "__pydantic_fields__")


def _is_ignored(name: str) -> bool:
    return is_credential(name) or is_neutral(name) or _OF_ONE_RUN.fullmatch(name) is not None


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
