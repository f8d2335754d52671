"""What compiled code says: what it does, which names it uses, and what it changes itself."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, NamedTuple

_HAS_DOCSTRING = 0x4000000
# What a constructor sets is a setting; what it counts up (`instances += 1`), or fills in, is none.
_CONSTRUCTORS = frozenset("__init__ __new__ __post_init__ __attrs_post_init__ __setstate__ model_post_init".split())
ADDING = frozenset("append appendleft extend extendleft insert add".split())
_CHANGING = ADDING | frozenset(
    "update pop popleft popitem clear remove discard setdefault subtract sort reverse rotate".split()
)
# Functions of Python's that change their first argument.
_CHANGING_ARGUMENT = frozenset(
    "heappush heappop heapreplace heappushpop insort insort_left insort_right shuffle".split()
)
_GIVING_AN_ITEM = frozenset("get setdefault pop".split())
_BETWEEN = frozenset("CACHE COPY SWAP NOP EXTENDED_ARG RESUME PUSH_NULL PRECALL NOT_TAKEN".split())
_ROOTS = ("LOAD_FAST", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF")
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_OF_AN_OBJECT = _ATTRIBUTES | {"STORE_ATTR", "DELETE_ATTR"}
_READING = _ATTRIBUTES | frozenset("LOAD_FAST LOAD_FAST_BORROW LOAD_GLOBAL LOAD_NAME LOAD_DEREF".split())

_OF_A_MODULE = frozenset(
    "LOAD_GLOBAL STORE_GLOBAL DELETE_GLOBAL LOAD_NAME LOAD_FROM_DICT_OR_GLOBALS".split()
)  # a name in a class within a function may be one of the module's
_STORING = frozenset("STORE_ATTR STORE_GLOBAL STORE_DEREF STORE_SUBSCR".split())
_DISPLAYS = frozenset("BUILD_MAP BUILD_CONST_KEY_MAP BUILD_LIST BUILD_SET".split())
_CLOCKS = frozenset("time monotonic perf_counter time_ns monotonic_ns perf_counter_ns".split())

ITEM, CALLED = "[]", "()"
ANY = "*"
"""Any item; one whose key does not stand in the code."""
SELF, UNKNOWN = "self", "?"


class OwnChange(NamedTuple):
    """What code assigns or changes.

    Attributes:
        path: of a variable (`SELF`, ``global x``, ``around x``, ``argument x``, `UNKNOWN`) and of attributes in it;
            ``[]`` for items.
        key: the item that is changed, `ANY` if it is not known which; ``None``: what the path names is assigned.
        grows: it becomes more or less by what is added, as a counter or a log does, or what a clock shows.
        fills: that counts only where nothing was there before: a constructor keeps what it makes, as a singleton.
        in_place: what is assigned is what was there, which may have been changed in place, as by ``+=``.
    """

    path: tuple[str, ...]
    key: str | None
    grows: bool
    fills: bool = False
    in_place: bool = False


class Use(NamedTuple):
    """A member of an object that code reads, calls or assigns, or an operator that it uses on one.

    Attributes:
        path: what stands for the object, as of `OwnChange`; `CALLED` for what the call of it gives.
        name: of the member.
        is_assigned: it is assigned.
    """

    path: tuple[str, ...]
    name: str
    is_assigned: bool = False


_Place = tuple[int, int]
"""A line and a column."""
_OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "@": "matmul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow",
    "<<": "lshift", ">>": "rshift", "&": "and", "|": "or", "^": "xor",
}  # fmt: skip
ACTING = frozenset(
    "__call__ __enter__ __exit__ __aenter__ __aexit__ __setitem__ __delitem__ __setattr__ __delattr__".split()
) | {f"__{prefix}{name}__" for name in _OPERATORS.values() for prefix in ("", "i", "r")}
"""Methods with which a program changes an object: own code calls them only where that stands in it."""


class _Line(NamedTuple):
    """An instruction, and where what it computes stands in the source."""

    name: str
    value: Any
    begin: _Place | None
    end: _Place | None

    def is_within(self, other: _Line) -> bool:
        if self.begin is None or self.end is None or other.begin is None or other.end is None:
            return False
        return self.begin >= other.begin and self.end <= other.end


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
    return {*code.co_names}.union(*map(names_in, _inner(code)))


@functools.lru_cache(maxsize=4096)
def variables_in(code: CodeType) -> frozenset[str]:
    """Those of `names_in` that are variables of its module, and not only attributes of something."""
    lines = (line for line in dis.get_instructions(code) if line.opname in _OF_A_MODULE)
    return frozenset(line.argval for line in lines).union(*map(variables_in, _inner(code)))


def assigned_by(functions: Iterable[FunctionType]) -> set[str]:
    """The attributes, and the variables of enclosing functions, that functions assign, constructors too."""
    return set().union(*(_assigned_in(one.__code__) for one in functions))


def _assigned_in(code: CodeType) -> set[str]:
    stored = {line.argval for line in dis.get_instructions(code) if line.opname in ("STORE_ATTR", "STORE_DEREF")}
    return stored.union(*map(_assigned_in, _inner(code)))


@functools.lru_cache(maxsize=4096)
def names_used(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The names that code reads or may call, also as a text; and the attributes that it assigns."""
    read, assigned = {*code.co_names, *code.co_freevars}, set[str]()
    for line in dis.get_instructions(code):
        if line.opname == "STORE_ATTR":
            assigned.add(line.argval)
    read |= {one for one in code.co_consts if isinstance(one, str) and one.isidentifier()}
    for inner in map(names_used, _inner(code)):
        read |= inner[0]
        assigned |= inner[1]
    return frozenset(read), frozenset(() if code.co_name in _CONSTRUCTORS else assigned)


@functools.lru_cache(maxsize=4096)
def uses_in(code: CodeType) -> frozenset[Use]:
    """What code uses of objects, as far as it says of which."""
    return frozenset(_reading(code).uses())


def _reading(code: CodeType) -> _CodeReading:
    return _CodeReading(code, code.co_varnames[0] if code.co_argcount else None, frozenset(code.co_freevars))


@functools.lru_cache(maxsize=4096)
def changed_in(code: CodeType) -> frozenset[OwnChange]:
    """The attributes, variables around it and items that code assigns or changes itself, such as counters."""
    found = _reading(code).changes()
    if code.co_name not in _CONSTRUCTORS:
        return frozenset(found)
    return frozenset(one for one in map(functools.partial(_in_constructor, code.co_name), found) if one is not None)


def _in_constructor(name: str, change: OwnChange) -> OwnChange | None:
    """A change that a constructor makes; of the object that is being made nothing is a counter."""
    path = change.path
    if path[0] == SELF and not change.fills:
        # The first argument of `__new__` is the class; what is in an object there is of the one that is made.
        is_of_class = len(path) == 2 if name == "__new__" else path[1:2] == ("__class__",) and len(path) == 3
        if not is_of_class:
            return None
    return change if change.grows or change.key is not None else change._replace(fills=True)


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (one for one in code.co_consts if isinstance(one, CodeType))


def _lines(code: CodeType) -> list[_Line]:
    """The instructions that compute something, one for each name."""
    found: list[_Line] = []
    for one in dis.get_instructions(code):
        if one.opname in _BETWEEN:
            continue
        begin, end = _span(one)
        if one.opname == "CALL" and found and found[-1] == _Line("LOAD_CONST", None, begin, end):
            continue  # of the method that ends a block, which Python 3.13 places at the block's object
        value = one.argrepr if one.opname == "BINARY_OP" else one.argval
        if isinstance(value, tuple) and one.opname.count("_FAST") == 2:  # two in one instruction
            kinds = ["LOAD_FAST" if part.startswith("LOAD") else "STORE_FAST" for part in _two(one.opname)]
            found.append(_Line(kinds[0], value[0], begin, end))
            found.append(_Line(kinds[1], value[1], None, None))
        else:
            found.append(_Line(one.opname, value, begin, end))
    for at in range(len(found) - 1):
        if found[at].begin is None and found[at].name.startswith("LOAD_FAST"):
            begin = _object_at(found[at + 1 : at + 3])
            found[at] = found[at]._replace(begin=begin, end=begin)
    return found


def _object_at(following: Sequence[_Line]) -> _Place | None:
    """Where the second of two variables stands, if it is the object of what follows; an argument is of no use."""
    first, second = following[0], following[-1]
    if first.name in _OF_AN_OBJECT:
        return first.begin
    is_item = second.name in ("STORE_SUBSCR", "DELETE_SUBSCR") and first.name.startswith(("LOAD_CONST", *_ROOTS))
    return second.begin if is_item else None


def _span(one: dis.Instruction) -> tuple[_Place | None, _Place | None]:
    span = one.positions
    if span is None or span.lineno is None or span.col_offset is None:
        return None, None
    if span.end_lineno is None or span.end_col_offset is None:
        return None, None
    return (span.lineno, span.col_offset), (span.end_lineno, span.end_col_offset)


def _two(name: str) -> tuple[str, str]:
    at = max(name.rfind("_LOAD_FAST"), name.rfind("_STORE_FAST"))
    return name[:at], name[at + 1 :]


class _CodeReading:
    """Reads what one piece of code changes.

    Args:
        code: it.
        first: the first argument of the function that it is in: in a method, the object.
        around: the variables around that function.
        known: what variables of the code around it stand for; ``None``: it is the function itself.
    """

    def __init__(
        self,
        code: CodeType,
        first: str | None,
        around: frozenset[str],
        known: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._code, self._first, self._around, self._is_inner = code, first, around, known is not None
        self._lines = _lines(code)
        self._by_begin: dict[_Place | None, list[_Line]] = {}
        for line in self._lines:
            self._by_begin.setdefault(line.begin, []).append(line)
        count = 0 if self._is_inner else code.co_argcount + code.co_kwonlyargcount
        self._arguments = frozenset(code.co_varnames[:count])
        self._clocks: set[str] = set()  # variables that hold what a clock shows
        self._made = self._made_here()
        self._known: dict[str, tuple[str, ...]] = {**(known or {})}
        for before, line in zip(self._lines, self._lines[1:], strict=False):
            if line.name in ("STORE_FAST", "STORE_DEREF") and line.value not in {*self._known, *around}:
                path = self._path(before.begin, before.end)
                # Python 3.13 places a loop's instruction at what it goes over.
                if path[0] != UNKNOWN and before.name != "FOR_ITER":
                    self._known[line.value] = path
            if line.name == "STORE_FAST" and self._is_of_a_clock(before):
                self._clocks.add(line.value)

    def _made_here(self) -> frozenset[str]:
        """The variables that hold maps, lists and sets which this code alone makes and fills, such as a payload."""
        code = self._code
        keywords = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
        made = {code.co_varnames[keywords]} if code.co_flags & inspect.CO_VARKEYWORDS else set[str]()
        others = set[str]()
        for at, (before, line) in enumerate(zip(self._lines, self._lines[1:], strict=False), 1):
            if line.name == "STORE_FAST":
                whole = (one for one in self._by_begin[before.begin] if one.end == before.end)
                is_made = before.begin is not None and any(one.name in _DISPLAYS for one in whole)
                (made if is_made else others).add(line.value)
            elif line.name in _STORING:  # what is put elsewhere is not of this code alone
                while at > 0 and self._lines[at - 1].is_within(line):
                    at -= 1
                others |= {
                    one.value for one in self._lines[max(at - 1, 0) : at] if one.name.startswith("LOAD_FAST")
                }
        return frozenset(made - others)

    def _is_of_what_is_made_here(self, line: _Line) -> bool:
        root = next((one for one in self._by_begin[line.begin] if one.name.startswith(_ROOTS)), None)
        return root is not None and root.name.startswith("LOAD_FAST") and root.value in self._made

    def changes(self) -> set[OwnChange]:
        found: set[OwnChange] = set()
        for at, line in enumerate(self._lines):
            change = self._change(at, line)
            if change is not None and not (change.path == (UNKNOWN,) and self._is_of_what_is_made_here(line)):
                found.add(change._replace(in_place=self._is_in_place(at)))
        if {"setattr", "__setattr__"} & {*self._code.co_names}:
            named = (one for one in self._code.co_consts if isinstance(one, str) and one.isidentifier())
            found |= {OwnChange((UNKNOWN, one), None, False) for one in named}
        for inner in _inner(self._code):
            found |= _CodeReading(inner, self._first, self._around, self._known).changes()
        return found

    def uses(self) -> Iterator[Use]:
        for at, line in enumerate(self._lines):
            name, value = line.name, line.value
            if name in ("STORE_ATTR", "DELETE_ATTR"):
                path = self._object(line)
                yield Use(path, value, is_assigned=True)
                yield Use(path, "__setattr__" if name == "STORE_ATTR" else "__delattr__")
            elif name in _ATTRIBUTES or name.startswith("LOAD_SUPER"):
                yield Use(self._object(line), value)
            elif name.startswith("CALL"):
                yield Use(self._object(line), "__call__")
            elif name in ("STORE_SUBSCR", "DELETE_SUBSCR"):
                yield Use(self._object(line), "__setitem__" if name == "STORE_SUBSCR" else "__delitem__")
            elif name == "BINARY_OP" and (operator := _OPERATORS.get(value.removesuffix("="))):
                path = self._object(line)
                yield Use(path, f"__{operator}__")
                yield Use(path, f"__i{operator}__")
            elif name in ("BEFORE_WITH", "BEFORE_ASYNC_WITH"):
                before, kind = self._lines[at - 1], "a" if "ASYNC" in name else ""
                path = self._path(before.begin, before.end, calls=True)
                yield Use(path, f"__{kind}enter__")
                yield Use(path, f"__{kind}exit__")
        for inner in _inner(self._code):
            yield from _CodeReading(inner, self._first, self._around, self._known).uses()

    def _object(self, line: _Line) -> tuple[str, ...]:
        return self._path(line.begin, line.end, within=True, calls=True)

    def _change(self, at: int, line: _Line) -> OwnChange | None:
        name, value = line.name, line.value
        if name == "STORE_ATTR" and value == "__dict__" and (shared := self._shared(at, line)) is not None:
            return OwnChange(shared, ANY, grows=False, fills=True)
        if name in ("STORE_ATTR", "DELETE_ATTR"):
            path = (*self._path(line.begin, line.end, within=True), value)
            return OwnChange(path, None, self._grows(at, line, path))
        if name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            path = (f"global {value}",)
            return OwnChange(path, None, self._grows(at, line, path))
        if name == "STORE_DEREF" and value in self._around:
            path = (f"around {value}",)
            return OwnChange(path, None, self._grows(at, line, path))
        if name in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"):
            path, key = self._path(line.begin, line.end, within=True), self._key(at, line)
            if path[-1] == "__dict__" and key != ANY:
                return OwnChange((*path[:-1], key), None, self._grows(at, line, path))
            return OwnChange(path, key, self._grows(at, line, path))
        if name in _ATTRIBUTES and value in _CHANGING:
            path = self._path(line.begin, line.end, within=True)
            key = self._first_argument(at) if value in ("setdefault", "pop") else ANY
            return OwnChange(path, key, value in ADDING)
        if name in _READING and value in _CHANGING_ARGUMENT:
            return OwnChange(self._argument(at, line), ANY, False)
        return None

    def _path(
        self, begin: _Place | None, end: _Place | None, *, within: bool = False, calls: bool = False
    ) -> tuple[str, ...]:
        """What an expression between two places stands for.

        Args:
            begin: where it begins.
            end: where it ends.
            within: what stands before its end is meant.
            calls: what a call gives is shown as such.
        """
        path: tuple[str, ...] | None = None
        if begin is None or end is None:
            return (UNKNOWN,)
        for line in self._by_begin[begin]:
            if line.end is None or line.end > end or (within and line.end == end):
                continue
            if line.name.startswith(_ROOTS):
                path = self._root(line)
            elif path is None:
                continue
            elif line.name in _ATTRIBUTES:
                path = (*path, line.value)
            elif line.name == "BINARY_SUBSCR" or (line.name == "BINARY_OP" and line.value == "[]"):
                path = (*path, ITEM)
            elif calls and line.name.startswith("CALL"):
                path = (*path, CALLED)
            elif line.name.startswith("CALL"):
                path = (*path[:-1], ITEM) if path[-1] in _GIVING_AN_ITEM else (UNKNOWN,)
        return path or (UNKNOWN,)

    def _root(self, line: _Line) -> tuple[str, ...]:
        name = line.value
        is_local = line.name.startswith("LOAD_FAST")
        if name == self._first and not (is_local and self._is_inner):
            return (SELF,)
        if line.name in ("LOAD_GLOBAL", "LOAD_NAME"):
            return (f"global {name}",)
        if not is_local and name in self._around:
            return (f"around {name}",)
        if name in self._known or not is_local:
            return self._known.get(name, (UNKNOWN,))
        return (f"argument {name}",) if name in self._arguments else (UNKNOWN,)

    def _key(self, at: int, line: _Line) -> str:
        """The key of the item that is assigned, if it is a text in the code."""
        inner = [one for one in self._lines[:at] if one.is_within(line) and one is not line]
        ends = [one.end for one in inner if one.begin == line.begin and one.end is not None and one.end != line.end]
        base = max(ends, default=None)
        keys = {one for one in inner if base is not None and one.begin is not None and one.begin > base}
        if len(keys) == 1 and (key := keys.pop()).name == "LOAD_CONST" and isinstance(key.value, str):
            return key.value
        return ANY

    def _first_argument(self, at: int) -> str:
        """The first argument of the method that a line reads, if it is a text in the code."""
        given, *others = self._lines[at + 1 :]
        if given.name != "LOAD_CONST" or not isinstance(given.value, str):
            return ANY
        is_part = any(given.is_within(one) and one.begin == given.begin for one in others)
        return ANY if is_part else given.value

    def _argument(self, at: int, line: _Line) -> tuple[str, ...]:
        """What the first argument of a call stands for, of the function that a line reads."""
        for call in self._lines[at + 1 :]:
            if call.name.startswith("CALL") and line.is_within(call):
                given = (one for one in self._lines[at + 1 :] if one.is_within(call) and one.begin != call.begin)
                first = next(given, None)
                return (UNKNOWN,) if first is None else self._path(first.begin, call.end)
        return (UNKNOWN,)

    def _shared(self, at: int, line: _Line) -> tuple[str, ...] | None:
        """The map that an object has its attributes in from now on; ``None`` if the code does not say which."""
        before = at - 1
        while before > 0 and self._lines[before].is_within(line):
            before -= 1
        path = self._path(self._lines[before].begin, self._lines[before].end)
        is_named = len(path) > 1 or path[0].startswith(("global ", "around "))
        return path if is_named and path[0] != UNKNOWN and ITEM not in path else None

    def _is_in_place(self, at: int) -> bool:
        """Whether what is assigned is what was there, as with ``+=``, which changes a list or a map in place."""
        value = self._lines[at - 1] if at else self._lines[at]
        return value.name == "BINARY_OP" and value.value.endswith("=")

    def _grows(self, at: int, line: _Line, path: tuple[str, ...]) -> bool:
        """Whether what is assigned is what was there and more or less, as with ``+=``, or what a clock shows."""
        value = self._lines[at - 1] if at else line
        if value.name == "BINARY_OP" and value.value in ("+=", "-="):
            return True
        before = at - 1
        while before > 0 and self._lines[before].is_within(line):
            before -= 1
        value = self._lines[before]
        if self._is_of_a_clock(value):
            return True
        if value.name != "BINARY_OP" or value.value not in ("+", "-"):
            return False
        parts = [one for one in self._lines[:before] if one.is_within(value)]
        if any(map(self._is_of_a_clock, parts)):
            return True
        return any(self._path(one.begin, one.end) == path for one in parts if one.name in _READING)

    def _is_of_a_clock(self, line: _Line) -> bool:
        """Whether it is what a clock of Python's shows, or a variable that holds that."""
        if line.name.startswith("LOAD_FAST"):
            return line.value in self._clocks
        path = self._path(line.begin, line.end, calls=True) if line.name.startswith("CALL") else ()
        return path[-1:] == (CALLED,) and path[-2].removeprefix("global ") in _CLOCKS
