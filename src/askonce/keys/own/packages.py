"""What an application has set in an installed package: `openai.base_url = "…"`.

A package's public variables are compared with what its source says, so that its own defaults do not count, nor what
it computes or collects itself.
"""

from __future__ import annotations

import ast
import enum
import functools
import importlib.util
import operator
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from askonce.keys.normal_form import is_credential, is_neutral

_SCALARS = frozenset({str, bytes, bool, int, float, type(None)})
_COLLECTING = frozenset({list, tuple, set, frozenset})
_CONTAINERS = _COLLECTING | {dict}
_MOST_ITEMS = 50
"""A larger container of a package's own is a table or a registry."""


class _Literal(NamedTuple):
    """A default that stands in the source."""

    value: Any


class _Imported(NamedTuple):
    """What comes from another module."""

    module: str
    name: str


_COMPUTED, _NO_SETTING = "computed", "no setting"


class _LookedAt(NamedTuple):
    """A module's variables when they were looked at last.

    Attributes:
        values: all that they held.
        found: those that are set, as far as they cannot change without another value.
        others: the names of those that can, such as a list.
    """

    values: tuple[Any, ...]
    found: dict[Any, Any]
    others: tuple[Any, ...]


_looked_at: dict[str, _LookedAt] = {}


def set_in(module: ModuleType) -> dict[Any, Any]:
    """The public variables of a package's module that hold texts, numbers and the like other than by default."""
    written = _source_of(module)
    if written is None:
        return {}
    held = dict(vars(module))
    known = _looked_at.get(module.__name__)
    values = tuple(held.values())
    # A package may have thousands of variables, and this is done for each request.
    if known is None or len(known.values) != len(values) or not all(map(operator.is_, known.values, values)):
        known = _looked_at[module.__name__] = _look_at(held, written, values)
    return known.found | {name: held[name] for name in known.others if _is_set_by_application(name, held, written)}


def _look_at(held: dict[str, Any], written: _Written, values: tuple[Any, ...]) -> _LookedAt:
    names = [name for name, value in held.items() if _is_plain(_kind(value)) and _has_setting_name(name)]
    found, others = {}, []
    for name in names:
        default, kind = written.variables.get(name), _kind(held[name])
        if kind in _CONTAINERS and not _may_be_set(kind, default):
            continue
        if kind in _CONTAINERS or isinstance(default, _Imported):
            others.append(name)
        elif _is_set_by_application(name, held, written):
            found[name] = held[name]
    return _LookedAt(values, found, tuple(others))


def _may_be_set(kind: Any, default: Any) -> bool:
    """Whether a list or a map can ever be a setting by `_is_set`."""
    if isinstance(default, _Literal):
        return kind is dict or bool(default.value) or default.value is None
    return default is None and kind is dict


def _is_set_by_application(name: str, held: dict[str, Any], written: _Written) -> bool:
    value = held[name]
    return _is_set(name, value, written.variables.get(name)) and not is_neutral(name, value)


def may_set_itself(module: ModuleType, name: str) -> bool:
    """Whether a package may set this variable when it is used first: it computes it, or a function assigns it."""
    written = _source_of(module)
    return written is not None and (written.variables.get(name) is _COMPUTED or name in written.set_in_functions)


def _kind(value: Any) -> Any:
    return type(value)


@functools.lru_cache(maxsize=1024)
def _is_plain(kind: type) -> bool:
    if kind.__name__ == "URL" and kind.__module__.partition(".")[0] in ("httpx", "httpx2"):
        return True
    return kind in _SCALARS or kind in _CONTAINERS or issubclass(kind, enum.Enum)


@functools.lru_cache(maxsize=4096)
def _has_setting_name(name: str) -> bool:
    return not name.startswith("_") and name.lower() != "version" and not is_credential(name)


def _is_set(name: str, value: Any, default: Any) -> bool:
    kind = type(value)
    if default is None:  # its source does not name it
        return value is not None and kind not in _COLLECTING and _is_small(value)
    if isinstance(default, _Imported):
        held = getattr(sys.modules.get(default.module), default.name, value)
        return held is not value and kind not in _CONTAINERS
    if default is _NO_SETTING:
        return False
    if default is _COMPUTED:
        return value is not None and kind not in _CONTAINERS
    if not value and not default.value and not (kind in _SCALARS and type(default.value) in _SCALARS):
        return False  # an empty map in place of nothing
    if kind in _COLLECTING and not default.value and default.value is not None:
        return False  # which it collects itself
    return _is_small(value) and (kind is not type(default.value) or repr(value) != repr(default.value))


def _is_small(value: Any) -> bool:
    if type(value) not in _CONTAINERS:
        return True
    if len(value) > _MOST_ITEMS:
        return False
    items = [*value.keys(), *value.values()] if type(value) is dict else list(value)
    return all(type(one) in _SCALARS for one in items)


class _Written(NamedTuple):
    """What the source of a module says of its variables.

    Attributes:
        variables: their defaults.
        set_in_functions: those that functions assign.
    """

    variables: dict[str, Any]
    set_in_functions: frozenset[str]


def _source_of(module: ModuleType) -> _Written | None:
    return _read(getattr(module, "__file__", None) or "", module.__name__)


@functools.lru_cache(maxsize=256)
def _read(file: str, name: str) -> _Written | None:
    """`None`: there is no source."""
    if not file.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
    found: dict[str, Any] = {}
    for variable, default in _defaults(tree.body, package):
        same = variable not in found or found[variable] == default
        found[variable] = default if same else _COMPUTED
    return _Written(found, frozenset(_assigned(tree)))


def _assigned(tree: ast.AST) -> Iterator[str]:
    """The variables that functions assign; a property that is assigned hands on what the application sets."""
    for one in ast.iter_child_nodes(tree):
        if isinstance(one, ast.Global):
            yield from one.names
        decorators = getattr(one, "decorator_list", ())
        if not any(isinstance(each, ast.Attribute) and each.attr == "setter" for each in decorators):
            yield from _assigned(one)


def _defaults(body: Iterable[ast.stmt], package: str) -> Iterator[tuple[str, Any]]:
    for one in body:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield one.name, _NO_SETTING
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            yield from _imports(one, package)
        elif isinstance(one, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            for target in targets:
                if isinstance(target, ast.Name) and (one.value is not None or isinstance(one, ast.AugAssign)):
                    yield target.id, _COMPUTED if isinstance(one, ast.AugAssign) else _literal(one.value)
                else:
                    yield from _stored(target)
        elif isinstance(one, (ast.If, ast.Try, ast.With)):
            for inner in (getattr(one, part, ()) for part in ("body", "orelse", "finalbody")):
                yield from _defaults(inner, package)
            for handler in getattr(one, "handlers", ()):
                yield from _defaults(handler.body, package)
        else:
            yield from _stored(one)


def _imports(one: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Any]]:
    module = getattr(one, "module", None) or ""
    if isinstance(one, ast.ImportFrom) and one.level:
        module = importlib.util.resolve_name("." * one.level + module, package)
    for alias in one.names:
        is_member = isinstance(one, ast.ImportFrom)
        name = alias.asname or alias.name.partition(".")[0]
        yield name, _Imported(module, alias.name) if is_member else _NO_SETTING


def _literal(value: ast.expr | None) -> Any:
    try:
        return _Literal(ast.literal_eval(value)) if value is not None else _COMPUTED
    except (ValueError, TypeError, SyntaxError):
        return _COMPUTED


def _stored(part: ast.AST) -> Iterator[tuple[str, Any]]:
    """The variables of loops and the like."""
    for one in ast.walk(part):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id, _NO_SETTING
