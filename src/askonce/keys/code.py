"""What the code of a class says: two classes of one name may answer differently.

Of a class in an installed package the name is enough. A class of the application's own counts by its code as well:
it may be local to a function, or edited between two runs of a script or a notebook.
"""

from __future__ import annotations

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


def code_of(cls: type) -> str | None:
    """A digest of the code of a class and of its bases, as far as they are in no installed package; else ``None``.

    Of the variables that a function takes from around it, texts count: numbers are often counters.
    """
    digest, found = hashlib.sha256(), False
    for base in cls.__mro__:
        if not _is_installed(base.__module__):
            found = True
            for part in _parts(base):
                digest.update(repr(part).encode("utf-8", "surrogatepass"))
    return digest.hexdigest() if found else None


@functools.lru_cache(maxsize=512)
def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names or module in ("builtins", "abc", "typing")
    parts = Path(file).parts
    return file.startswith(_STANDARD) or any(name in parts for name in _INSTALLED) or module.startswith("askonce.")


def _parts(cls: type) -> Iterator[Any]:
    for name, value in sorted(vars(cls).items()):
        for function in _functions(value):
            yield name
            yield from _code(function.__code__)
            for cell in function.__closure__ or ():
                yield from _texts(cell)


def _functions(value: Any) -> Iterator[FunctionType]:
    inner = getattr(value, "__func__", None) or getattr(value, "func", None)  # of a class, cached, a partial
    for one in (value, inner, *(getattr(value, name, None) for name in ("fget", "__wrapped__"))):
        if isinstance(one, FunctionType):
            yield one


def _code(code: CodeType) -> Iterator[Any]:
    yield code.co_code
    yield code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


def _texts(cell: Any) -> Iterator[Any]:
    try:
        value = cell.cell_contents
    except ValueError:  # not assigned yet
        return
    if isinstance(value, (str, bytes)):
        yield value
    elif isinstance(value, FunctionType):
        yield from _code(value.__code__)
