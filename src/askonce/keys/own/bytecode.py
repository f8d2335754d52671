"""What compiled code says: what it does, which names it uses, and what it changes itself."""

from __future__ import annotations

import dis
import functools
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

_HAS_DOCSTRING = 0x4000000
# What a constructor sets is a setting; what it counts up (`instances += 1`) is none.
_CONSTRUCTORS = frozenset("__init__ __new__ __post_init__ __attrs_post_init__ __setstate__ model_post_init".split())
_CHANGING = frozenset(
    "append appendleft extend extendleft insert add update pop popleft popitem clear remove discard setdefault"
    " subtract sort reverse rotate".split()
)
_LOADS = frozenset("LOAD_GLOBAL LOAD_NAME LOAD_DEREF LOAD_ATTR LOAD_METHOD LOAD_FAST".split())


def code_form(code: CodeType) -> Iterator[Any]:
    """What code does; neither lines nor files nor how it is laid out."""
    yield code.co_name
    yield code.co_code
    yield code.co_names
    yield code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_HAS_DOCSTRING
    yield code.co_varnames, code.co_cellvars, code.co_freevars, code.co_exceptiontable
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_form(constant)
        else:
            yield sorted(map(repr, constant)) if isinstance(constant, frozenset) else repr(constant)


def names_in(code: CodeType) -> set[str]:
    """The names that code uses, other than its own variables."""
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return {*code.co_names}.union(*map(names_in, inner))


def assigned_by(functions: Iterable[FunctionType]) -> set[str]:
    """The attributes, and the variables of enclosing functions, that functions assign, constructors too."""
    return set().union(*(_assigned_in(one.__code__) for one in functions))


def _assigned_in(code: CodeType) -> set[str]:
    stored = {line.argval for line in dis.get_instructions(code) if line.opname in ("STORE_ATTR", "STORE_DEREF")}
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return stored.union(*map(_assigned_in, inner))


@functools.lru_cache(maxsize=4096)
def changed_in(code: CodeType) -> frozenset[str]:
    """The attributes, variables around it and items that code assigns or changes itself, such as counters."""
    found: set[str] = set()
    lines = list(dis.get_instructions(code))
    for at, line in enumerate(lines):
        if line.opname == "STORE_ATTR":
            if code.co_name not in _CONSTRUCTORS or _counts_up(lines, at):
                found.add(line.argval)
        elif line.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            found.add(line.argval)
        elif line.opname == "STORE_DEREF":
            if line.argval in code.co_freevars or _counts_up(lines, at):
                found.add(line.argval)
        elif line.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"):
            found |= _held_by(lines, line, by_key=True)
        elif line.opname in ("LOAD_ATTR", "LOAD_METHOD") and line.argval in _CHANGING:
            found |= _held_by(lines, line, by_key=False)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= changed_in(constant)
    return frozenset(found)


def _counts_up(lines: list[dis.Instruction], at: int) -> bool:
    """Whether what is stored was computed of what is there, as ``+=`` does."""
    return any(one.opname == "BINARY_OP" and one.argrepr.endswith("=") for one in lines[max(0, at - 3) : at])


def _held_by(lines: list[dis.Instruction], line: dis.Instruction, *, by_key: bool) -> set[str]:
    """The keys in an expression such as ``stats["calls"]``; if it has none, what the expression names."""
    span = line.positions
    if span is None or span.lineno is None or span.col_offset is None:
        return {one.argval for one in lines if one.opname in _LOADS}
    names: set[str] = set()
    keys: set[str] = set()
    for one in lines:
        if one is line or not _is_within(one.positions, span):
            continue
        if one.opname in _LOADS:
            names.add(one.argval)
        elif by_key and one.opname == "LOAD_CONST" and isinstance(one.argval, str):
            keys.add(one.argval)
    return keys or names - {line.argval, "self", "cls"}


def _is_within(inner: Any, outer: Any) -> bool:
    if inner is None or inner.lineno is None or inner.col_offset is None:
        return False
    begins = (inner.lineno, inner.col_offset) >= (outer.lineno, outer.col_offset)
    return begins and (inner.end_lineno, inner.end_col_offset) <= (outer.end_lineno, outer.end_col_offset)
