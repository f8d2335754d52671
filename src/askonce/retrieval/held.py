"""What a retriever holds, at any depth: where its stores and documents are among its parts."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from askonce.errors import AskOnceError
from askonce.keys.fields import members_of
from askonce.keys.own.modules import is_installed_class

_MOST_PARTS = 1000
_SCALARS = (str, bytes, int, float)
_CONTAINERS = (Sequence, Set)
_FRAMEWORKS = ("langchain", "langgraph", "llama_index")
_WRAPPER = type(functools.lru_cache(len))


def found_within(root: Any, is_found: Callable[[Any], bool]) -> Iterator[Any]:
    """The parts of an object that are looked for, the nearest first; nothing inside them is looked at.

    Read are lists and maps, what functions are bound to, enclose or have as defaults, and the attributes, private
    ones too, of objects of the application's and the frameworks' classes; of all these the nearest thousand. What
    raises when it is looked at, as a proxy may, is left out.
    """
    waiting, seen = deque([root]), set[int]()
    while waiting and len(seen) < _MOST_PARTS:
        part = waiting.popleft()
        if id(part) in seen:
            continue
        seen.add(id(part))
        try:
            found = is_found(part)
            inside = [] if found else [one for one in islice(_inside(part), _MOST_PARTS) if _is_part(one)]
        except AskOnceError:
            raise
        except Exception:
            continue
        if found:
            yield part
        waiting.extend(inside)


def is_opened(cls: type) -> bool:
    """Whether the attributes of objects of a class are read: of the application, or derived from a framework's."""
    return is_plain(cls) or any(one.__module__.startswith(_FRAMEWORKS) for one in cls.__mro__)


def is_plain(cls: type) -> bool:
    """Whether objects of a class are of the application's own making."""
    return cls is SimpleNamespace or not is_installed_class(cls)


def attributes_of(part: Any) -> dict[str, Any]:
    """All attributes of an object, also those in slots."""
    slots = [
        name for cls in type(part).__mro__ for name in vars(cls) if inspect.ismemberdescriptor(vars(cls)[name])
    ]
    held = {**{name: getattr(part, name, None) for name in slots}, **members_of(part)}
    return {name: one for name, one in held.items() if not name.startswith(("__", "_askonce"))}


def _is_part(part: Any) -> bool:
    return part is not None and not isinstance(part, _SCALARS)


def _inside(part: Any) -> Iterable[Any]:
    if isinstance(part, Mapping):
        return _items(part.values())
    if isinstance(part, _CONTAINERS):
        return _items(part)
    if isinstance(part, MethodType):
        return [part.__self__, part.__func__]
    if isinstance(part, BuiltinMethodType):  # of a context variable, a list
        return [] if isinstance(part.__self__, ModuleType) else [part.__self__]
    if isinstance(part, functools.partial):
        return [part.func, part.args, part.keywords]
    if isinstance(part, FunctionType):
        defaults = [part.__defaults__ or (), part.__kwdefaults__ or {}]
        return [*map(_content, part.__closure__ or ()), *defaults, *vars(part).values()]
    if isinstance(part, _WRAPPER):
        return [part.__wrapped__]
    if isinstance(part, weakref.ref):
        return [part()]
    if type(part).__module__.startswith("askonce."):  # a cached retriever
        return [getattr(part, "retriever", None)]
    return [] if isinstance(part, type) or not is_opened(type(part)) else attributes_of(part).values()


def _items(container: Iterable[Any]) -> Iterable[Any]:
    """What is in a list or map; nothing of one of texts or numbers, which may be long."""
    return () if isinstance(next(iter(container), None), _SCALARS) else container


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None
