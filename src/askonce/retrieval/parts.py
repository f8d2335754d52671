"""The classes and objects in a retriever, as both adapters read them."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from types import FunctionType
from typing import Any, NamedTuple

from askonce.keys.code import context_variables, digest_of, written_code
from askonce.keys.own_modules import is_installed, stored_by

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
    """A class or function itself; of an object its class."""
    return part if isinstance(part, FunctionType) else own_class(part if isinstance(part, type) else type(part))


def code_of(kind: Any) -> Code:
    """The code of a class or function; read once, and again when an attribute of the class is set to another value.

    Raises:
        Uncacheable: it uses an object that cannot be read.
    """
    return _code_of(kind, _set_on(kind) if isinstance(kind, type) else ())


@functools.lru_cache(maxsize=512)
def _code_of(kind: Any, _: tuple[Any, ...]) -> Code:
    code = written_code(kind)
    return Code(None, "", []) if code is None else Code(digest_of(code), code, context_variables(kind))


def _set_on(cls: type[Any]) -> tuple[Any, ...]:
    """The texts and numbers among the attributes of the application's own classes; no counters."""
    return tuple(
        (name, type(value), value)
        for base in own_bases(cls)
        for name, value in vars(base).items()
        if type(value) in _SCALARS and not name.startswith("__") and name not in _counters(base)
    )


@functools.lru_cache(maxsize=512)
def own_bases(cls: Any) -> tuple[type[Any], ...]:
    """The classes of the application's own that a class is of."""
    return tuple(base for base in cls.__mro__ if not is_installed(base.__module__))


@functools.lru_cache(maxsize=512)
def _counters(cls: Any) -> frozenset[str]:
    """The names of numbers that the methods of a class set themselves."""
    stored = stored_by(one for one in vars(cls).values() if isinstance(one, FunctionType))
    return frozenset(name for name in stored if isinstance(vars(cls).get(name), (int, float)))
