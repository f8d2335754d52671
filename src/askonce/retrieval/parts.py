"""The classes and objects in a retriever, as both adapters read them."""

from __future__ import annotations

import functools
import inspect
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any, NamedTuple

from askonce.keys.normal_form import Uncacheable, is_credential
from askonce.keys.own.bytecode import assigned_by
from askonce.keys.own.code import context_variables, digest_of, names_changed_by, written_code
from askonce.keys.own.modules import is_installed_class
from askonce.keys.own.objects import data_of, says_nothing
from askonce.retrieval.held import attributes_of, is_plain

BASE = "_askonce_base"
"""Of a class that `cached` or `watch` made: the class of what was given to it."""
_SCALARS = frozenset({str, bytes, bool, int, float, type(None)})
_HOLDING = (list, tuple, set, frozenset, deque, dict)
_DEEPEST, _MOST_ITEMS = 4, 1000


def unreadable(part: Any, error: Exception) -> Uncacheable:
    """What reading a part raised, for the one who is to name it."""
    kind = type(part)
    return Uncacheable(f"a {kind.__module__}.{kind.__qualname__}, which cannot be read ({type(error).__name__})")


class Code(NamedTuple):
    """The code of a class or function of the application's own.

    Attributes:
        digest: of the code; ``None`` if it is in installed packages.
        written: the code; names and texts stand in it as `repr` shows them.
        variables: the context variables that it uses.
    """

    digest: str | None
    written: str
    variables: list[ContextVar[Any]]


def own_class(cls: type[Any]) -> type[Any]:
    """The class that was wrapped, of one that `cached` or `watch` made."""
    own: type[Any] = getattr(cls, BASE, cls)
    return own


def kind_of(part: Any) -> Any:
    """A class or function itself; of a method its function, of another object its class."""
    part = part.__func__ if isinstance(part, MethodType) else part
    return part if isinstance(part, FunctionType) else own_class(part if isinstance(part, type) else type(part))


def code_of(kind: Any) -> Code:
    """The code of a class or function; read once, and again when an attribute of the class is set to another value.

    Raises:
        Uncacheable: it uses an object that cannot be read.
    """
    if not isinstance(kind, type):
        return _code_of(kind, ())
    return _code_of(kind, _set_on(kind)) if own_bases(kind) else _OF_PACKAGES


_OF_PACKAGES = Code(None, "", [])


@functools.lru_cache(maxsize=512)
def _code_of(kind: Any, set_on: tuple[Any, ...]) -> Code:
    code = written_code(kind)
    if code is None:
        return _OF_PACKAGES
    held = [(name, one) for name, one in set_on if isinstance(one, tuple)]  # the code says how they were at first
    return Code(digest_of(f"{code}{held}" if held else code), code, context_variables(kind))


def _set_on(cls: Any) -> tuple[Any, ...]:
    """What the attributes of the application's own classes hold, as far as it is plain; no counters and logs."""
    found: list[Any] = []
    changed: frozenset[str] | None = None
    for base in own_bases(cls):
        for name, value in vars(base).items():
            if name.startswith("__") or name == "model_config":
                continue
            if type(value) in _SCALARS:
                if name not in _counters(base):
                    found.append((name, f"{type(value).__name__} {value!r}"))
            elif isinstance(value, _HOLDING) or is_plain(type(value)):
                changed = _changed_by(cls) if changed is None else changed
                if name not in changed and (held := _frozen(value, changed)) is not None:
                    found.append((name, held))
    return tuple(found)


_changed_by = functools.lru_cache(maxsize=512)(names_changed_by)


def _frozen(value: Any, changed: frozenset[str], depth: int = 0) -> Any:
    """What a list, a map or an object of own classes holds, to be compared; ``None`` if it is not plain."""
    kind = type(value).__name__
    if type(value) in _SCALARS:
        return kind, repr(value)
    items: list[Any]
    if isinstance(value, Mapping):
        items = [one for pair in value.items() if pair[0] not in changed for one in pair]
    elif isinstance(value, _HOLDING):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else [*value]
    elif is_plain(type(value)) and not isinstance(value, type) and hasattr(value, "__dict__"):
        items = [one for name, held in sorted(vars(value).items()) if name not in changed for one in (name, held)]
    else:
        return None
    if depth > _DEEPEST or len(items) > _MOST_ITEMS:
        return kind, len(items)
    parts = [_frozen(one, changed, depth + 1) for one in items]
    return None if None in parts else (kind, *parts)


def _own_bases(cls: Any) -> tuple[Any, ...]:
    return tuple(base for base in cls.__mro__ if not is_installed_class(base))


own_bases: Callable[[Any], tuple[Any, ...]] = functools.lru_cache(maxsize=1024)(_own_bases)
"""The classes of the application's own that a class is of."""


@functools.lru_cache(maxsize=512)
def _counters(cls: Any) -> frozenset[str]:
    """The names of numbers that the methods of a class set themselves."""
    stored = assigned_by(one for one in vars(cls).values() if isinstance(one, FunctionType))
    return frozenset(name for name in stored if isinstance(vars(cls).get(name), (int, float)))


def own_names(part: Any, attributes: Iterable[str], *, is_known: bool = False) -> frozenset[str]:
    """The attributes of an object that the application adds to those of a package's class.

    Args:
        part: the object.
        attributes: the names of all that it has.
        is_known: what its package's class sets is known, so that an attribute that was set on the object shows; of
            any other class only what the application's own one adds.
    """
    cls: Any = type(part)
    return frozenset(attributes) - _set_by_packages(cls) if is_known or own_bases(cls) else frozenset()


@functools.lru_cache(maxsize=512)
def _set_by_packages(cls: Any) -> frozenset[str]:
    names: set[str] = set()
    for base in cls.__mro__:
        if is_installed_class(base):
            names |= assigned_by(_functions_of(base)) | {*vars(base).get("__annotations__", ())}
            names |= {*getattr(base, "__private_attributes__", ())}
    return frozenset(names)


def _functions_of(cls: type) -> Iterator[FunctionType]:
    for one in vars(cls).values():
        inner = inspect.unwrap(getattr(one, "__func__", None) or getattr(one, "fget", None) or one)
        if isinstance(inner, FunctionType):
            yield inner


names_credential: Callable[[str], bool] = functools.lru_cache(maxsize=4096)(is_credential)
"""Whether an attribute of that name holds a credential; remembered, since each hit reads the same names."""


def data_in(part: Any) -> Any:
    """What an object of Python's or numpy's says, with parts that are to be read; `NOTHING` of any other."""
    if isinstance(part, re.Pattern):
        return {"pattern": part.pattern, "flags": int(part.flags)}
    if type(part) is deque:
        return {"deque": [*part], "length": part.maxlen}
    return data_of(part)


def state_of(part: Any) -> dict[str, Any]:
    """All attributes that make an object of a plain class what it is, as copying it would find.

    Of an own class of clients and the like only what it adds.

    Raises:
        Uncacheable: more than its attributes makes it.
    """
    if says_nothing(part) and own_bases(type(part)):
        held = attributes_of(part)
        return {name: held[name] for name in own_names(part, held)}
    if isinstance(part, SimpleNamespace):
        return attributes_of(part)
    if hasattr(type(part), "__struct_fields__"):  # of msgspec
        return {name: getattr(part, name) for name in part.__struct_fields__}
    unknown = f"a {type(part).__module__}.{type(part).__qualname__} has no stable representation"
    try:
        make, arguments, state, *items = part.__reduce_ex__(2)
    except Exception as error:
        raise Uncacheable(unknown) from error
    if make is not _NEW_OBJECT or arguments != (type(part),) or any(item is not None for item in items):
        raise Uncacheable(unknown)
    states = [one for one in (state if isinstance(state, tuple) else [state]) if one is not None]
    if not all(isinstance(one, dict) for one in states):
        return {"state": state}
    held = {name: value for one in states for name, value in one.items()}
    return {name: value for name, value in held.items() if not str(name).startswith("_askonce")}


_NEW_OBJECT = object().__reduce_ex__(2)[0]
