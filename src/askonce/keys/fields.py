"""All that an object of a framework's holds, as plain data: its fields, its private attributes, its clients.

What cannot be read is not left out, since two objects that differ in it would be one: `Uncacheable` is raised.
Clients are no fields: where they send their requests is read by ``askonce.keys.endpoints``.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import PurePath
from typing import Any

from askonce.keys.clients import FoundClients
from askonce.keys.counters import changed_by_calls, counters_as_at_first, without_counted_items
from askonce.keys.endpoints import function_form, is_client
from askonce.keys.normal_form import Uncacheable, is_credential, is_credential_in_data, is_neutral, model_form
from askonce.keys.own.changes import is_computed
from askonce.keys.own.code import class_form, code_of
from askonce.keys.own.modules import is_installed_class
from askonce.keys.own.names import own_names
from askonce.keys.own.objects import NOTHING
from askonce.keys.own_fields import OwnValues, held_by, note_members, says_no_more

_SCALARS = (str, int, float, bool, bytes, bytearray, enum.Enum, type(None))
_SHOWN = (PurePath, decimal.Decimal, uuid.UUID, datetime.date, datetime.time, datetime.timedelta)
# Parts of the running program, which say nothing of a model.
_INERT = frozenset(
    "_thread threading logging asyncio concurrent weakref _weakref _weakrefset _asyncio queue".split()
)
# A text in one of these fields is a setting of the application's own.
_HOLDERS = frozenset(
    "client async_client root_client root_async_client http_client http_async_client profile metadata tags".split()
)


class FieldReader:
    """Reads objects, and collects the clients in them.

    Args:
        cls: the class of the object.
        way_out: what to do about a model that cannot be read, for people.
        special: reads some objects in its own way; it returns ``None`` for any other.
        private: all private attributes count, and not only texts; in the application's own class, as far as they
            can be read.

    Attributes:
        clients: those that were found.
        names: what names mean, if the object is of the application's own class.
    """

    def __init__(
        self,
        cls: type,
        way_out: str,
        special: Callable[[Any], Any] = lambda value: None,
        *,
        private: bool = True,
    ) -> None:
        self._cls, self._way_out, self._special, self._private = cls, way_out, special, private
        self._within: list[int] = []
        self.clients, self.names = FoundClients(), own_names(cls)
        self._own_values = OwnValues(cls, self.clients, way_out, special)

    def fields(self, owner: Any, skipped: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The fields of an object, less the neutral ones, credentials, and what is false by default.

        Raises:
            Uncacheable: one of them cannot be read.
        """
        if id(owner) in self._within:
            return {}
        read = self._data_fields if self._within else self._fields
        self._within.append(id(owner))
        try:
            return read(owner, skipped)
        finally:
            self._within.pop()

    def own_fields(
        self, owner: Any, skipped: frozenset[str] = frozenset(), only: Set[str] | None = None
    ) -> dict[str, Any]:
        """What an object of the application's own class holds of its own: nothing of it is left out.

        Args:
            owner: the object.
            skipped: what does not count all the same.
            only: these alone count.

        Raises:
            Uncacheable: one of them cannot be read.
        """
        if self.names is None:
            return {}
        cls, changed = type(owner), changed_by_calls(owner)
        form: dict[str, Any] = {}
        note_members(owner)
        for name, value in held_by(owner).items():
            if name in skipped or name in changed or (only is not None and name not in only):
                continue
            if not self.names.has(name, value):
                continue
            computed = is_computed(cls, name)
            if computed and says_no_more(cls, name, value):
                continue
            try:
                form[name] = self._own_values.field(name, without_counted_items(owner, name, value))
            except Uncacheable:
                if not computed and (self._private or not name.startswith("_")):
                    raise
        return form

    def as_at_first(
        self, owner: Any, fields: dict[str, Any], own: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Both kinds of fields, with what an object changes of itself during calls as it was at first."""
        private = hasattr(type(owner), "__pydantic_fields__")
        read = counters_as_at_first(owner, fields | own, private=private, parts=self._own_values.parts)
        of_its_own = {name for name in read if name in own or name not in fields}
        return (
            {name: value for name, value in read.items() if name not in of_its_own},
            {name: value for name, value in read.items() if name in of_its_own},
        )

    def own_arguments(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Those arguments of a call that count for an object of the application's own class, whatever their names.

        Raises:
            Uncacheable: one of them cannot be read.
        """
        if self.names is None:
            return {}
        clients = FoundClients()
        values = OwnValues(self._cls, clients, self._way_out, self._special)
        own = {name: value for name, value in call.items() if self.names.has_argument(name, value)}
        form = {name: values.field(name, value) for name, value in own.items()}
        places = [one for mode in (False, True) for one in clients.endpoints(asynchronous=mode)]
        return form | ({"(endpoints)": [model_form(one, []) for one in places]} if places else {})

    def _fields(self, owner: Any, skipped: frozenset[str]) -> dict[str, Any]:
        """Of an object of a framework's, whose names have a known meaning."""
        form: dict[str, Any] = {}
        for name, value in _members(owner, skipped):
            if self.names is not None and self.names.has(name, value):
                continue  # read by `own_fields`
            if is_client(value):
                self.clients.add(name, value)
            elif not self._private and name.startswith("_"):
                if isinstance(value, (str, bytes)):
                    form[name] = value
            elif name in _HOLDERS:
                if isinstance(value, str):
                    form[f"own {name}"] = value
                elif "client" in name:
                    raise self._unread(owner, name, value)
            elif not is_neutral(name, value) and not (is_credential(name) and not isinstance(value, (list, dict))):
                read = self._read(value, owner, name)
                if read is not NOTHING:
                    form[name] = read
        return form

    def _data_fields(self, owner: Any, skipped: frozenset[str]) -> dict[str, Any]:
        """Of an object within a model, where "tags" may mean anything."""
        form: dict[str, Any] = {}
        for name, value in _members(owner, skipped):
            if is_client(value):
                self.clients.add(name, value)
                continue
            if isinstance(value, str) and is_credential_in_data(name):
                continue
            try:
                read = self._read(value, owner, name)
            except Uncacheable:
                is_private = name.startswith("_") and not self._private
                if is_private or ((is_neutral(name) or is_credential(name)) and "client" not in name):
                    continue  # callbacks, what gives a token
                raise
            if read is not NOTHING:
                form[name] = read
        return form

    def _read(self, value: Any, owner: Any, name: str) -> Any:
        """A value as plain data, or `NOTHING`.

        Raises:
            Uncacheable: it cannot be read.
        """
        try:
            return self._value(value, owner, name)
        except Uncacheable:
            raise
        except Exception as error:  # whatever an object in it raises
            raise self._unread(owner, name, value) from error

    def _value(self, value: Any, owner: Any, name: str) -> Any:
        """A value as `_read` gives it."""
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, Mapping):
            items = ((key, self._value(item, owner, name)) for key, item in value.items())
            return {key: item for key, item in items if item is not NOTHING}
        if isinstance(value, (list, tuple, set, frozenset)):
            read = [item for one in value if (item := self._value(one, owner, name)) is not NOTHING]
            return set(map(_hashable, read)) if isinstance(value, (set, frozenset)) else read
        if hasattr(type(value), "get_secret_value") or type(value).__module__.partition(".")[0] in _INERT:
            return NOTHING
        if is_client(value):
            self.clients.add(name, value)
            return NOTHING
        return self._object(value, owner, name)

    def _object(self, value: Any, owner: Any, name: str) -> Any:
        special = self._special(value)
        if special is not None:
            return special
        if isinstance(value, _SHOWN):
            return str(value)
        if isinstance(value, re.Pattern):
            return {"pattern": value.pattern, "flags": value.flags}
        if isinstance(value, type) and callable(getattr(value, "model_json_schema", None)):
            # Its schema is what a provider is sent of it; an own model may call its code.
            code = None if all(is_installed_class(one) for one in type(owner).__mro__) else code_of(value)
            return value if code is None else {"schema": value, "code": code}
        if inspect.isroutine(value) or isinstance(value, type):
            return {"named": self._name(value, owner, name)}
        kind = type(value)
        if hasattr(kind, "__pydantic_fields__") or dataclasses.is_dataclass(kind):
            return {**class_form(kind), **self.fields(value)}
        raise self._unread(owner, name, value)

    def _name(self, value: Any, owner: Any, name: str) -> str | dict[str, str]:
        try:
            return function_form(value)
        except Uncacheable as error:
            raise self._unread(owner, name, value) from error

    def _unread(self, owner: Any, name: str, value: Any) -> Uncacheable:
        kind = type(value)
        return Uncacheable(
            f"{type(owner).__qualname__}.{name} holds a {kind.__module__}.{kind.__qualname__}, which cannot be"
            f" read; {self._way_out}"
        )


def _members(owner: Any, skipped: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """What an object holds, but what is nothing, or false by default."""
    declared = getattr(type(owner), "__pydantic_fields__", {})
    for name, value in members_of(owner).items():
        if name not in skipped and value is not None and not _is_false_by_default(declared.get(name), value):
            yield name, value


def members_of(owner: Any) -> dict[str, Any]:
    """What an object holds: its own dict, and pydantic's private and further attributes."""
    cls, members = type(owner), {**getattr(owner, "__dict__", {})}
    if hasattr(cls, "__pydantic_fields__"):  # any name of a proxy's says something
        members |= owner.__pydantic_extra__ or {}
        members |= owner.__pydantic_private__ or {}
    # What is computed once and stored among them is computed from the others.
    return {
        name: value
        for name, value in members.items()
        if not isinstance(getattr(cls, name, None), functools.cached_property) or is_client(value)
    }


def _is_false_by_default(field: Any, value: Any) -> bool:
    """Whether a value is false, as it is by default: so a field that a new version adds loses nothing."""
    if field is None or not isinstance(value, (bool, int, float, str, dict, list, tuple, set)) or value:
        return False
    default = field.default_factory() if field.default_factory in (dict, list, tuple, set) else field.default
    return type(default) is type(value) and bool(default == value)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, _SCALARS) else repr(value)
