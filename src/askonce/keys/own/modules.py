"""Modules of the application's own: which they are, what code imports of them, and their sources."""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import importlib.util
import re
import sys
import sysconfig
from pathlib import Path
from types import CodeType
from typing import Any

_INSTALLED = ("site-packages", "dist-packages")
_MAKING_CLASSES = ("abc", "types")
_STANDARD = sysconfig.get_paths()["stdlib"]


@functools.lru_cache(maxsize=512)
def is_installed(module: str) -> bool:
    """Whether a module is of Python's own, of an installed package, or of askonce."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names or module in ("builtins", "abc", "typing")
    return _is_installed_file(file) or module.startswith("askonce.")


def module_of(cls: type) -> str:
    """The module of a class; "" of one that was made by a call, as by ``type()``, and is called one of Python's."""
    module = cls.__module__
    is_made = module in _MAKING_CLASSES and getattr(sys.modules[module], cls.__name__, None) is not cls
    return "" if is_made else module


def is_installed_class(cls: type) -> bool:
    """Whether a class belongs to an installed package, or to Python itself."""
    return is_installed(module_of(cls))


def _is_installed_file(file: str) -> bool:
    return file.startswith(_STANDARD) or any(name in Path(file).parts for name in _INSTALLED)


def imported_by(code: CodeType, package: str) -> list[str]:
    """The application's own modules that code imports itself."""
    found: dict[str, None] = {}
    for level, name, members in _imports(code):
        with contextlib.suppress(ImportError):  # beyond the package: the code will fail, too
            module = importlib.util.resolve_name("." * level + name, package)
            found |= dict.fromkeys([module, *(f"{module}.{one}" for one in members)])
    return [one for one in found if file_of(one) is not None]


def packages_imported_by(code: CodeType) -> list[str]:
    """The installed packages that code imports itself."""
    names = {name.partition(".")[0] for level, name, _ in _imports(code) if level == 0}
    return sorted(name for name in names if is_package(name))


def is_package(name: str) -> bool:
    """Whether a module that is not of the application's own may be set up by it."""
    return bool(name) and name not in sys.stdlib_module_names and name != "askonce" and file_of(name) is None


@functools.lru_cache(maxsize=1024)
def _imports(code: CodeType) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """What code imports: how many packages above, the module's name, and the names of it."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    if dis.opmap["IMPORT_NAME"] in code.co_code[::2]:
        lines = list(dis.get_instructions(code))
        for level, members, line in zip(lines, lines[1:], lines[2:], strict=False):
            if line.opname == "IMPORT_NAME":
                found.append((level.argval, line.argval, members.argval or ()))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += _imports(constant)
        elif isinstance(constant, str) and {"import_module", "__import__"} & {*code.co_names}:
            name = constant.lstrip(".")
            if re.fullmatch(r"[\w.]+", name):
                found.append((len(constant) - len(name), name, ()))
    return tuple(found)


_sources: dict[str, tuple[Any, str, list[str]]] = {}


def source_of(module: str) -> tuple[str, list[str]]:
    """The digest of an own module's source, and what own modules it imports; read once each time it is loaded."""
    loaded = sys.modules.get(module)
    spec = getattr(loaded, "__spec__", None)
    known = _sources.get(module)
    if known is None or known[0] is not spec:
        file, imported = Path(file_of(module) or ""), list[str]()
        try:
            text = file.read_bytes()
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            imported = imported_by(compile(text, str(file), "exec", dont_inherit=True), package)
        except (OSError, SyntaxError, ValueError):
            text = b""
        known = _sources[module] = spec, hashlib.sha256(text).hexdigest(), imported
    return known[1], known[2]


def file_of(module: str) -> str | None:
    """The source of a module of the application's own, which may not be loaded yet."""
    if not module or module.partition(".")[0] == "askonce" or module in sys.builtin_module_names:
        return None
    loaded = sys.modules.get(module)
    file = getattr(_spec_of(module), "origin", None) if loaded is None else getattr(loaded, "__file__", None)
    is_own = isinstance(file, str) and file.endswith(".py") and not _is_installed_file(file)
    return file if is_own else None


def _spec_of(module: str) -> Any:
    """Where a module would be loaded from; unlike `importlib.util.find_spec` it loads no package around it."""
    name, spec, path = "", None, None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if spec is None:
            finders = (one for one in sys.meta_path if hasattr(one, "find_spec"))
            spec = next((one for finder in finders if (one := finder.find_spec(name, path)) is not None), None)
        if spec is None or part == "":
            return None
        path = spec.submodule_search_locations or []
    return spec
