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
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from askonce.keys.code import class_form, code_of
from askonce.keys.endpoints import endpoint_of, function_form, is_asynchronous, is_client
from askonce.keys.normal_form import Uncacheable, is_credential, is_credential_in_data, is_neutral
from askonce.keys.own_modules import is_installed

NOTHING: Any = object()
"""In place of a value that says nothing of what is answered, such as a lock or a secret."""

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

_WORDS = frozenset("cache verbose tags metadata profile".split())
"""Neutral in LangChain's models alone."""


class FieldReader:
    """Reads objects, and collects the clients in them.

    Args:
        way_out: what to do about a model that cannot be read, for people.
        special: reads some objects in its own way; it returns ``None`` for any other.
        private: all private attributes count, and not only texts.
        own: the object is of the application's own class: no name in it has LangChain's meaning, and private
            attributes count as far as they can be read.

    Attributes:
        clients: those that were found, by the field that holds them.
    """

    def __init__(
        self,
        way_out: str,
        special: Callable[[Any], Any] = lambda value: None,
        *,
        private: bool = True,
        own: bool = False,
    ) -> None:
        self._way_out, self._special, self._private, self._own = way_out, special, private, own
        self._within: list[int] = []
        self.clients: dict[str, list[Any]] = {}

    def fields(self, owner: Any, skipped: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The fields of an object, less the neutral ones, credentials, and what is false by default.

        Raises:
            Uncacheable: one of them cannot be read.
        """
        if id(owner) in self._within:
            return {}
        read = self._data_fields if self._own or self._within else self._fields
        self._within.append(id(owner))
        try:
            return read(owner, skipped)
        finally:
            self._within.pop()

    def _fields(self, owner: Any, skipped: frozenset[str]) -> dict[str, Any]:
        """Of an object of a framework's, whose names have a known meaning."""
        form: dict[str, Any] = {}
        for name, value in _members(owner, skipped):
            if is_client(value):
                self._found(name, value)
            elif not self._private and name.startswith("_"):
                if isinstance(value, (str, bytes)):
                    form[name] = value
            elif name in _HOLDERS:
                if isinstance(value, str):
                    form[f"own {name}"] = value
                elif "client" in name:
                    raise self._unread(owner, name, value)
            elif not is_neutral(name, value) and not (is_credential(name) and not isinstance(value, (list, dict))):
                read = self.value(value, owner, name)
                if read is not NOTHING:
                    form[name] = read
        return form

    def _data_fields(self, owner: Any, skipped: frozenset[str]) -> dict[str, Any]:
        """Of an object of the application's, or one within a model, where "tags" may mean anything."""
        form: dict[str, Any] = {}
        for name, value in _members(owner, skipped):
            if is_client(value):
                self._found(name, value)
                continue
            if isinstance(value, str) and is_credential_in_data(name):
                continue
            if self._own and is_neutral(name, value) and name not in _WORDS and not isinstance(value, str):
                continue  # timeouts, retries, callbacks
            try:
                read = self.value(value, owner, name)
            except Uncacheable:
                is_private = name.startswith("_") and not self._private
                if is_private or ((is_neutral(name) or is_credential(name)) and "client" not in name):
                    continue  # callbacks, what gives a token
                raise
            if read is not NOTHING:
                form[f"own {name}" if self._own and is_neutral(name) else name] = read
        return form

    def value(self, value: Any, owner: Any, name: str) -> Any:
        """A value as plain data, or `NOTHING`.

        Raises:
            Uncacheable: it cannot be read.
        """
        if isinstance(value, _SCALARS):
            return value
        if isinstance(value, Mapping):
            items = ((key, self.value(item, owner, name)) for key, item in value.items())
            return {key: item for key, item in items if item is not NOTHING}
        if isinstance(value, (list, tuple, set, frozenset)):
            read = [item for one in value if (item := self.value(one, owner, name)) is not NOTHING]
            return set(map(_hashable, read)) if isinstance(value, (set, frozenset)) else read
        if hasattr(value, "get_secret_value") or type(value).__module__.partition(".")[0] in _INERT:
            return NOTHING
        if is_client(value):
            self._found(name, value)
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
            code = None if all(is_installed(one.__module__) for one in type(owner).__mro__) else code_of(value)
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

    def endpoints(self, *, asynchronous: bool) -> list[dict[str, Any]]:
        """Where the clients send the requests of one kind of calls; each place once, those of one field together.

        Raises:
            Uncacheable: a function, which cannot be read, may change the requests.
        """
        places: list[dict[str, Any]] = []
        modes = {name: is_asynchronous(clients[0]) for name, clients in self.clients.items()}
        fitting = [name for name, mode in modes.items() if mode in (None, asynchronous)] or list(modes)
        for name in fitting:
            several = [endpoint for client in self.clients[name] if (endpoint := endpoint_of(client))]
            place = {str(at): one for at, one in enumerate(several)} if len(several) > 1 else (several or [{}])[0]
            if place and place not in places:
                places.append(place)
        return places

    def _found(self, name: str, client: Any) -> None:
        clients = self.clients.setdefault(name, [])
        if not any(one is client for one in clients):
            clients.append(client)


def _members(owner: Any, skipped: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """What an object holds, but what is nothing, or false by default."""
    declared = getattr(type(owner), "__pydantic_fields__", {})
    for name, value in members_of(owner).items():
        if name not in skipped and value is not None and not _is_false_by_default(declared.get(name), value):
            yield name, value


def members_of(owner: Any) -> dict[str, Any]:
    """What an object holds: its own dict, and pydantic's private and further attributes."""
    members = {
        **getattr(owner, "__dict__", {}),
        **(getattr(owner, "__pydantic_extra__", None) or {}),
        **(getattr(owner, "__pydantic_private__", None) or {}),
    }
    cls = type(owner)
    # What is computed once and stored among them is computed from the others.
    return {
        name: value
        for name, value in members.items()
        if not isinstance(getattr(cls, name, None), functools.cached_property) or is_client(value)
    }


def _is_false_by_default(field: Any, value: Any) -> bool:
    """Whether a value is false, as it is by default: so a field that a new version adds loses nothing."""
    if value or field is None or not isinstance(value, (bool, int, float, str, dict, list, tuple, set)):
        return False
    default = field.default_factory() if field.default_factory in (dict, list, tuple, set) else field.default
    return type(default) is type(value) and bool(default == value)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, _SCALARS) else repr(value)
