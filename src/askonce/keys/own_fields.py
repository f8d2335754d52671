"""What the fields of an application's own class say, as exactly as its code can see it.

Its code may show a value in a prompt, so that ``1`` is not ``1.0``, nothing is not an empty text, and the order of
a map counts. Objects say what they say to code that uses them as variables (`askonce.keys.own.code`), but what
objects of the application hold counts as it is now.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import enum
import inspect
import re
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import PurePath
from types import MappingProxyType, MemberDescriptorType, MethodType, SimpleNamespace
from typing import Any

from askonce.keys.clients import FoundClients
from askonce.keys.counters import changed_by_calls, counters_as_at_first, without_counted_items
from askonce.keys.endpoints import importable_name, is_client
from askonce.keys.model_identity import show_inside
from askonce.keys.normal_form import Uncacheable, is_credential_in_request, media_url, plain, text
from askonce.keys.own.changes import is_computed, is_computed_by_own_code
from askonce.keys.own.code import class_form, code_of, digest_of
from askonce.keys.own.in_place import data_now
from askonce.keys.own.modules import is_installed_class
from askonce.keys.own.objects import NOTHING, contents_of, says_nothing
from askonce.keys.own.state import collected

_SEQUENCES = (list, tuple, deque)
_SETS = (set, frozenset)
_SHOWN = (PurePath, decimal.Decimal, uuid.UUID, datetime.date, datetime.time, datetime.timedelta)


class OwnValues:
    """Reads the values of an application's own object.

    Args:
        cls: its class.
        clients: where clients are collected.
        way_out: what to do about an object that cannot be read, for people.
        special: reads some objects in its own way; it returns ``None`` for any other.

    Attributes:
        parts: the application's own objects in it, which may have counters.
    """

    def __init__(
        self, cls: type, clients: FoundClients, way_out: str, special: Callable[[Any], Any] = lambda value: None
    ) -> None:
        self._clients, self._way_out, self._special = clients, way_out, special
        self._path = [cls.__qualname__]
        self._within: list[int] = []
        self._kinds = [cls]
        self.parts: list[Any] = []

    def field(self, name: str, value: Any) -> Any:
        """What a field says, as plain data; ``None`` if it says nothing.

        Raises:
            Uncacheable: it cannot be read. The message names the field.
        """
        self._path.append(name)
        try:
            read = self._value(value, name)
            return None if read is NOTHING else plain(read)
        except Uncacheable as error:
            raise error if str(error).endswith(self._way_out) else self._unread(value, str(error)) from error
        except Exception as error:  # whatever an object of the application's raises
            raise self._unread(value, type(error).__name__) from error
        finally:
            self._path.pop()

    def _unread(self, value: Any, why: str = "") -> Uncacheable:
        kind = type(value)
        reason = f" ({why})" if why else ""
        return Uncacheable(
            f"{'.'.join(self._path)} holds a {kind.__module__}.{kind.__qualname__}, which cannot be read{reason};"
            f" {self._way_out}"
        )

    def _value(self, value: Any, name: str) -> Any:
        kind = type(value)
        if kind in (int, bool, type(None), bytes):
            return value
        if kind is float:
            if value == 0:
                return {"float": repr(value)}  # -0.0 is shown otherwise than 0.0
            return {"float": value} if value.is_integer() or value - value != 0 else value
        if kind is str:
            return _text(value, name)
        if hasattr(type(value), "get_secret_value"):
            return _credential(value.get_secret_value())
        if is_client(value):
            self._clients.add(self._path[1], value)
            return NOTHING
        is_own = _is_own(value)
        if not is_own and not isinstance(value, type) and not _has_fields(kind) and says_nothing(value):
            return self._shown_to_code(value, name)
        special = self._special(value)
        if special is not None:
            return special if "class" in special or "named" in special else self._tool(value, special, name, is_own)
        if is_own:
            return self._own_object(value, name)
        read = self._items(value, name)
        return self._object(value, name) if read is NOTHING else read

    def _tool(self, value: Any, sent: Any, name: str, is_own: bool) -> dict[str, Any]:
        """A tool, which a provider is sent, and the application's own code may call."""
        if is_own:
            return {"sent": sent, "called": self._own_object(value, name)}
        functions = [getattr(value, one, None) for one in ("func", "coroutine", "_fn", "_async_fn")]
        return {"sent": sent, "called": [self._value(one, name) for one in functions if inspect.isroutine(one)]}

    def _items(self, value: Any, name: str) -> Any:
        """What a container or a member of an enumeration holds; `NOTHING` if it is neither."""
        if isinstance(value, enum.Enum):
            return {"member": value.name, "value": self._value(value.value, name)}
        if isinstance(value, (Mapping, MappingProxyType)):
            pairs = [
                [self._value(key, ""), read]
                for key, one in list(value.items())
                if (read := self._value(one, key if isinstance(key, str) else name)) is not NOTHING
            ]
            made = self._value(value.default_factory, name) if isinstance(value, defaultdict) else None
            return {"items": pairs, **_kind(value, dict), **({"default": made} if made is not None else {})}
        if isinstance(value, _SEQUENCES):
            if isinstance(value, deque):
                show_inside(type(value), list)
            read = [one for item in list(value) if (one := self._value(item, name)) is not NOTHING]
            longest = {"longest": value.maxlen} if isinstance(value, deque) else {}
            return read if type(value) is list else {"items": read, **_kind(value, list), **longest}
        if isinstance(value, _SETS):
            return {"set": sorted((plain(self._value(one, name)) for one in value), key=repr), **_kind(value, set)}
        if isinstance(value, str):
            return {"value": _text(str.__str__(value), name)}
        if isinstance(value, bytearray):
            return {"value": bytes(value), **_kind(value, bytes)}
        if isinstance(value, bytes):
            return {"value": bytes(value)}
        if isinstance(value, (int, float)):
            return {"value": (int if isinstance(value, int) else float).__repr__(value)}
        return NOTHING

    def _own_object(self, value: Any, name: str) -> Any:
        """An object of a class of the application's: its class with its code, and what it holds."""
        if id(value) in self._within:
            return {"within": self._within.index(id(value))}
        kind = type(value)
        self._within.append(id(value))
        try:
            form: dict[str, Any] = {**class_form(kind)}
            items = self._items(value, name)
            if items is not NOTHING:
                form["contents"] = items
            if not isinstance(value, enum.Enum):
                form["fields"] = self._fields(value)
            return form
        finally:
            self._within.pop()

    def _fields(self, value: Any) -> dict[str, Any]:
        kind, changed = type(value), changed_by_calls(value)
        show_inside(kind, _looked_at)
        note_members(value)
        self.parts.append(value)
        form: dict[str, Any] = {}
        self._kinds.append(kind)
        try:
            for one, held in held_by(value).items():
                computed = is_computed(kind, one)
                if one in changed or _is_a_time(kind, one, held) or (computed and says_no_more(kind, one, held)):
                    continue
                with contextlib.suppress(*[Uncacheable] if computed else []):
                    form[one] = self.field(one, without_counted_items(value, one, held))
        finally:
            self._kinds.pop()
        return counters_as_at_first(value, form, private=False)

    def _object(self, value: Any, name: str) -> Any:
        """An object of an installed class."""
        kind = type(value)
        if isinstance(value, _SHOWN):
            return [kind.__name__, str(value)]
        if isinstance(value, re.Pattern):
            return {"pattern": value.pattern, "flags": int(value.flags)}
        if isinstance(value, type) and callable(getattr(value, "model_json_schema", None)):
            return {"schema": value, "code": code_of(value)}
        if isinstance(value, MethodType):
            show_inside(MethodType, attrgetter("__class__", "__self__"))
            return {"method": value.__qualname__, "code": code_of(value), "of": self._value(value.__self__, name)}
        if inspect.isroutine(value) or isinstance(value, type):
            return _function(value, name)
        named = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(value, SimpleNamespace) or _has_fields(kind):
            if id(value) in self._within:
                return {"within": self._within.index(id(value))}
            self._within.append(id(value))
            try:
                return {"class": named, "fields": self._fields(value)}
            finally:
                self._within.pop()
        data = data_now(value, self._kinds[-1], ("", f".{self._path[-1]}"))
        if data is not NOTHING:
            return {"data": [self._value(one, "") for one in data]}
        if not is_installed_class(kind):  # compiled, in a module that is not loaded by that name
            return {"class": named, "contents": [self._value(one, name) for one in contents_of(value)]}
        return self._shown_to_code(value, name)

    def _shown_to_code(self, value: Any, name: str) -> Any:
        """What an object says as a variable that code uses; `NOTHING` if it says nothing."""
        try:
            shown = _says({name or "value": value})
        except Uncacheable as error:
            raise self._unread(value) from error
        if shown == _says({}):
            return NOTHING
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", "says": shown}


def _is_own(value: Any) -> bool:
    """Whether an object is of a class that is written in the application."""
    kind = type(value)
    if is_installed_class(kind) or isinstance(value, type) or inspect.isroutine(value):
        return False
    return hasattr(value, "__dict__") or any("__slots__" in vars(base) for base in kind.__mro__)


def _text(value: str, name: str) -> Any:
    """A text; a credential stands for the one whose it is, and no text of it is to be seen."""
    if is_credential_in_request(name):
        return _credential(value)
    shown = media_url(value)
    if shown != text(value):
        return {"url": shown, **_credential(value)}
    # Its code sees how accents and line ends are written, and half of a pair.
    written = value.encode("utf-8", "surrogatepass")
    is_sound = value.isascii() or written == value.encode("utf-8", "replace")
    return value if shown == value and is_sound else {"written": written}


def _credential(value: Any) -> dict[str, str]:
    return {"credential": digest_of(f"credential {value!r}")}


def _kind(value: Any, usual: type) -> dict[str, str]:
    kind = type(value)
    return {} if kind is usual else {"class": f"{kind.__module__}.{kind.__qualname__}"}


def _function(value: Any, name: str) -> Any:
    """A function or class: its name, if it stands in a module, and of the application's own its code."""
    code = code_of(value)
    try:
        named = importable_name(value)
    except Uncacheable:
        return {"says": _says({name or "value": value})} if code is None else {"code": code}
    return {"named": named} if code is None else {"named": named, "code": code}


def _says(variables: dict[str, Any]) -> str | None:
    """What variables say to code that uses them: they are read as the defaults of a function's arguments."""

    def using() -> None: ...

    using.__module__, using.__kwdefaults__ = "", variables
    return code_of(using)


def says_no_more(cls: type, name: str, value: Any) -> bool:
    """Whether what is computed from other fields says no more than they do: it cannot be changed in place."""
    fixed = (str, bytes, int, float, type(None), tuple, frozenset, type)
    return isinstance(value, fixed) or inspect.isroutine(value) or not is_computed_by_own_code(cls, name)


def _has_fields(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or hasattr(kind, "__pydantic_fields__")


def held_by(value: Any) -> dict[str, Any]:
    """What an object holds: its own dict, its slots, and pydantic's private and further attributes."""
    held = dict(getattr(value, "__dict__", None) or {})
    for name in _slots(type(value)):
        if (one := getattr(value, name, NOTHING)) is not NOTHING:
            held[name] = one
    for more in ("__pydantic_extra__", "__pydantic_private__"):
        held |= getattr(value, more, None) or {}
    return held


def note_members(value: Any) -> None:
    """Note what an object holds, whose methods own code may call."""
    observed = collected()
    if observed is not None:
        observed.changes.add_members(held_by(value))


def _is_a_time(kind: type, name: str, value: Any) -> bool:
    """Whether the code counts a number, such as when a limiter was last used, which is another at each start."""
    observed = collected() if type(value) is float else None
    return observed is not None and observed.changes.is_counter(kind, ("", f".{name}"))


def _looked_at(value: Any) -> Iterator[Any]:
    """What of an object is looked at again at each call."""
    for name in ("__dict__", "__pydantic_extra__", "__pydantic_private__"):
        yield getattr(value, name, None)
    for name in _slots(type(value)):
        yield getattr(value, name, None)


def _slots(kind: type) -> list[str]:
    own = [base for base in kind.__mro__ if not is_installed_class(base)]
    return [name for base in own for name, one in vars(base).items() if isinstance(one, MemberDescriptorType)]
