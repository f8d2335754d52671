"""What the code of a class says: two classes of one name may answer differently.

Of a class in an installed package the name is enough. A class of the application's own counts by its code as well:
it may be local to a function, or edited between two runs of a script or a notebook.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = sysconfig.get_paths()["stdlib"]


def class_form(cls: type) -> dict[str, str]:
    """Which class it is; of a class of the application's own, with its code."""
    name, code = f"{cls.__module__}.{cls.__qualname__}", code_of(cls)
    return {"class": name} if code is None else {"class": name, "code": code}


def code_of(part: type | FunctionType) -> str | None:
    """A digest of the code of a class and of its bases, or of a function; ``None`` if it is in installed packages.

    Functions and classes of the application's own that the code uses by name belong to it. Of variables, of the
    class or around its functions, texts count, and what is named like a constant: other numbers are often counters.
    """
    parts = written_code(part)
    return None if parts is None else hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def written_code(part: type | FunctionType) -> str | None:
    """What `code_of` is the digest of; names and texts in the code stand in it as `repr` shows them."""
    seen = set[int]()
    if isinstance(part, FunctionType):
        parts = None if _is_installed(part.__module__ or "") else _function(part, seen)
    else:
        parts = None if all(_is_installed(base.__module__) for base in part.__mro__) else _class(part, seen)
    return None if parts is None else "".join(map(repr, parts))


@functools.lru_cache(maxsize=512)
def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names or module in ("builtins", "abc", "typing")
    parts = Path(file).parts
    return file.startswith(_STANDARD) or any(name in parts for name in _INSTALLED) or module.startswith("askonce.")


def _class(cls: type, seen: set[int]) -> Iterator[Any]:
    for base in cls.__mro__:
        if id(base) in seen or _is_installed(base.__module__):
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
    if id(function) in seen or _is_installed(function.__module__ or ""):
        return
    seen.add(id(function))
    yield from _code(function.__code__)
    around = {
        name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__
    }
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            around[name] = cell.cell_contents
    for name, value in sorted(around.items()):
        yield from _variable(name, value, seen)


def _variable(name: str, value: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(value, FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, type):
        yield from _class(value, seen)
    elif isinstance(value, (str, bytes)) or (name.isupper() and _is_constant(value)):
        yield name
        yield sorted(map(repr, value)) if isinstance(value, frozenset) else value


def _is_constant(value: Any) -> bool:
    if isinstance(value, (tuple, frozenset)):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, (str, bytes, bool, int, float))


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
