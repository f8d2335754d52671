"""Where a vector store's documents are: the server, directory, database and collection behind its client.

Two stores of one class and one collection name may be in two places. What the clients of
databases hold is read (``askonce.keys.databases``); one of an unknown class is searched for addresses and paths
among its attributes. Credentials are no part of a place, but whose they are, as far as a name of a user says it.
"""

from __future__ import annotations

import dataclasses
import inspect
import platform
import re
from collections import deque
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple

from askonce.keys.databases import (
    credential_form,
    holds_settings,
    is_client,
    is_loopback,
    location,
    split_credentials,
    without_credentials,
)
from askonce.keys.normal_form import model_form
from askonce.keys.own.objects import says_nothing
from askonce.retrieval.clients import place_of, sent_by
from askonce.retrieval.functions import functions_of
from askonce.retrieval.held import attributes_of
from askonce.retrieval.parts import names_credential, own_bases, own_names

_ADDRESS = re.compile(r"(^|_)(urls?|uri|hosts?|endpoint|address|dsn|connection_string|cloud_id|db_url)$")
_DIRECTORY = re.compile(r"(^|_)(path|dir|directory|folder)$")
_WITHIN = re.compile(
    r"(^|_)(name|full_name|port|tenant|database|db|db_name|keyspace|namespace|schema|region|collection"
    r"|partition_names)$"
)
_CONNECTION = re.compile(r"connection|client_(args|kwargs|settings|config)")
_CLIENT = re.compile(
    r"client|conn|collection|index|table|engine|driver|session|database|server|(^|_)(db|app|env|api|store)$"
)
# What changes as the store works, or is another in each process.
_PASSING = re.compile(
    r"(async_)?alias|cache_key|logger|.*initiali[sz]ed|.*_open|.*_ready|async_init|.*closed|.*_created|created_.*"
    r"|embedding_length|num_dimensions|efficient_filtering_enabled|(dynamic_)?fields|structured_schema|metadata_keys"
)
_CONTAINERS = (list, tuple, set, frozenset, deque, Mapping)
_EMPTY_OR_NOT = (*_CONTAINERS, str)
_SCALARS = (str, int, float, bytes, PurePath, Enum)
_PLAIN = (*_SCALARS, list, tuple)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Setting(NamedTuple):
    """What a store holds beside its place, which is to be read as a part of its retriever.

    Attributes:
        name: of the attribute; of one within a client, after the client's.
        value: what is there.
        is_own: the application's own class adds it to what a package's class holds.
    """

    name: str
    value: Any
    is_own: bool


class Reading(NamedTuple):
    """What the attributes of a store say.

    Attributes:
        form: the place and the plain settings, in normal form.
        rest: the other settings: objects, functions, lists, maps, and all that an own class adds.
        is_placed: they say where the documents are; otherwise only the name of a corpus does.
        is_local: that is on this machine, so that another machine may have the same there.
    """

    form: dict[str, Any]
    rest: list[Setting]
    is_placed: bool
    is_local: bool


def read(attributes: Mapping[str, Any], own: Collection[str] = ()) -> Reading:
    """What the attributes of a store say of where its documents are, and how it is set.

    Args:
        attributes: by name, without those that the caller reads: embeddings, other stores, documents in memory.
        own: the names of those that the application's own class adds: of these nothing is left out.
    """
    form: dict[str, Any] = {}
    apart: dict[str, Any] = {}
    rest: list[Setting] = []
    is_placed = False
    for given, value in sorted(attributes.items()):
        name, is_own = given.strip("_").lower(), given in own
        if value is None or name.startswith("askonce"):
            continue
        if names_credential(name) and (not is_own or _is_secret(value)):
            if is_own and not name.endswith(("password", "passwd")):  # beside a user's name, which counts
                apart[f"credential {given}"] = credential_form(value)
            continue
        if not is_own and _PASSING.fullmatch(name):
            continue
        shown, placed = _attribute(name, value)
        sent = None if shown else sent_by(value)
        if sent is not None and "url" in sent:
            shown, placed = {one: sent[one] for one in ("url", "socket") if one in sent}, True
        is_placed = is_placed or placed
        if sent and is_own:
            rest.append(Setting(given, value, True))
        if is_own and isinstance(value, _SCALARS) and not placed:
            rest.append(Setting(given, value, True))
        elif shown not in (None, {}):
            form[name if isinstance(shown, (str, int, float)) else f"place of {name}"] = shown
            if is_own and isinstance(value, str) and split_credentials(value)[1]:
                apart[f"credential {given}"] = credential_form(value)
            inner = None if isinstance(value, _PLAIN) else _inside(value)
            apart |= {f"{name}.{one}": shown for one, shown in inner.form.items()} if inner else {}
            rest += [one._replace(name=f"{given}.{one.name}") for one in inner.rest] if inner else []
        elif _counts(name, value, is_own=is_own):
            rest.append(Setting(given, value, is_own))
    return Reading({**model_form(form, []), **apart}, rest, is_placed, is_on_this_machine(form))


def _is_secret(value: Any) -> bool:
    return isinstance(value, (str, bytes)) or hasattr(value, "get_secret_value")


def _inside(value: Any) -> Reading | None:
    """What a map of connection arguments, or a client that is more than that, holds beside its place."""
    if isinstance(value, Mapping):
        return read({str(key): item for key, item in value.items()})._replace(form={})
    cls = type(value)
    functions = [Setting(name, one, False) for name, one in functions_of(value).items()]
    if not (holds_settings(cls) or own_bases(cls)):
        return Reading({}, functions, False, False) if functions else None
    held = attributes_of(value)
    names = own_names(value, held)
    if is_client(cls) and not holds_settings(cls):  # of a package's class with more: what it adds
        held = {one: held[one] for one in names}
    reading = read(held, names)
    return reading._replace(rest=[*reading.rest, *functions])


def _counts(name: str, value: Any, *, is_own: bool) -> bool:
    """Whether an attribute says how is searched; not if it is a part of the running program, or holds nothing."""
    if isinstance(value, _EMPTY_OR_NOT):
        return bool(value)
    if isinstance(value, type) or own_bases(type(value)):
        return True
    if inspect.isroutine(value):
        return True
    is_data = dataclasses.is_dataclass(value) or hasattr(type(value), "__pydantic_fields__")
    return not says_nothing(value) and (is_own or is_data or not _CLIENT.search(name))


def without_places(attributes: Mapping[str, Any], others: tuple[type, ...]) -> dict[str, Any]:
    """The attributes of a store that may hold documents in memory: lists and maps, and objects that are no clients.

    Args:
        attributes: by name.
        others: classes of objects that hold no documents of this store.
    """
    is_placed = read({name: one for name, one in attributes.items() if not isinstance(one, others)}).is_placed
    return {
        name: one
        for name, one in attributes.items()
        if isinstance(one, _CONTAINERS) or not (is_placed or isinstance(one, others))
    }


def _attribute(name: str, value: Any) -> tuple[Any, bool]:
    """What of an attribute is shown, and whether that is a place."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (str, int, float, PurePath)):
        return _value(name, value)
    if isinstance(value, (list, tuple)):
        names = _WITHIN.search(name) and all(isinstance(one, str) for one in value)
        return (list(value) if names else None), False
    if isinstance(value, Mapping) and _CONNECTION.search(name):
        inner = read({str(key): item for key, item in value.items()})
        return inner.form, inner.is_placed
    if isinstance(value, Mapping) or not _CLIENT.search(name):
        return None, False
    place = place_of(value) or _searched(value)
    return place, place is not None


def _value(name: str, value: Any) -> tuple[Any, bool]:
    if isinstance(value, PurePath):
        return location(str(value)), True
    if not isinstance(value, str) or value in ("", ":memory:"):
        return value, False
    if _DIRECTORY.search(name) or (name.endswith("uri") and not _SCHEME.match(value)):
        return location(value), True
    is_address = _ADDRESS.search(name) is not None
    return without_credentials(value) if is_address or "://" in value else value, is_address


def is_on_this_machine(form: Any) -> bool:
    """Whether a place is a path, or a server of this machine."""
    if isinstance(form, Mapping):
        return "path" in form or any(is_on_this_machine(value) for value in form.values())
    if isinstance(form, (list, tuple)):
        return any(is_on_this_machine(value) for value in form)
    return isinstance(form, str) and is_loopback(form)


def _searched(client: Any) -> dict[str, Any] | None:
    """Addresses and paths among the attributes of an object of an unknown class, with the names beside them."""
    held = getattr(client, "__dict__", None)
    if not isinstance(held, dict):
        return None
    found, is_placed = {}, False
    for given, value in sorted(held.items()):
        name = given.strip("_").lower()
        says_where = any(one.search(name) for one in (_ADDRESS, _DIRECTORY, _WITHIN))
        if says_where and isinstance(value, (str, int, PurePath)):
            found[name], placed = _value(name, value)
            is_placed = is_placed or placed
    return model_form(found, []) if is_placed else None


def machine_of(store_url: str, *, is_local: bool) -> str | None:
    """The name of this machine, where documents are on it and the cache is shared by machines; else ``None``.

    Args:
        store_url: where the cache is.
        is_local: the documents are at a path, or at a server of this machine.
    """
    scheme = store_url.partition(":")[0]
    if not is_local or scheme in ("sqlite", "memory") or is_loopback(store_url):
        return None
    return platform.node()


def unplaced(store: str) -> str:
    """What is wrong with a store, of that class, whose place cannot be read."""
    return (
        f"{store} does not show where its documents are; name them: CachedRetriever(retriever, corpus='…'), with"
        " another name for each place, or name the retriever: name='…'"
    )
