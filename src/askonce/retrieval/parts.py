"""The classes and objects in a retriever, as both adapters read them."""

from __future__ import annotations

import functools
import inspect
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from askonce.keys.normal_form import Uncacheable, is_credential
from askonce.keys.own.bytecode import assigned_by
from askonce.keys.own.code import context_variables, digest_of, written_code
from askonce.keys.own.modules import is_installed
from askonce.keys.own.objects import data_of, says_nothing
from askonce.retrieval.held import attributes_of

BASE = "_askonce_base"
"""Of a class that `cached` or `watch` made: the class of what was given to it."""
_SCALARS = frozenset({str, bytes, bool, int, float, type(None)})


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
def _code_of(kind: Any, _: tuple[Any, ...]) -> Code:
    code = written_code(kind)
    return _OF_PACKAGES if code is None else Code(digest_of(code), code, context_variables(kind))


def _set_on(cls: Any) -> tuple[Any, ...]:
    """The texts and numbers among the attributes of the application's own classes; no counters."""
    return tuple(
        (name, type(value), value)
        for base in own_bases(cls)
        for name, value in vars(base).items()
        if type(value) in _SCALARS and not name.startswith("__") and name not in _counters(base)
    )


def _own_bases(cls: Any) -> tuple[Any, ...]:
    return tuple(base for base in cls.__mro__ if not is_installed(base.__module__))


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
        if is_installed(base.__module__):
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
