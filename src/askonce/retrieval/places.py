"""Where a vector store's documents are: the server, directory, database and collection behind its client.

Two stores of one class and one collection name may be in two places. What the clients of
databases hold is read (``askonce.keys.databases``); one of an unknown class is searched for addresses and paths
among its attributes. Credentials are no part of a place.
"""

from __future__ import annotations

import platform
import re
from collections import deque
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple

from askonce.keys.databases import is_loopback, location, without_credentials
from askonce.keys.normal_form import is_credential, model_form
from askonce.retrieval.clients import place_of

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
    r"askonce.*|.*alias|cache_key|logger|.*initiali[sz]ed|.*_open|.*_ready|async_init|.*closed|.*_created|created_.*|embedding_length"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Reading(NamedTuple):
    """What the attributes of a store say.

    Attributes:
        form: the place and the settings, in normal form.
        is_placed: they say where the documents are; otherwise only the name of a corpus does.
        is_local: that is on this machine, so that another machine may have the same there.
    """

    form: dict[str, Any]
    is_placed: bool
    is_local: bool


def read(attributes: Mapping[str, Any]) -> Reading:
    """What the attributes of a store say of where its documents are, and how it is set.

    Args:
        attributes: by name, without those that the caller reads: embeddings, other stores, documents in memory.
    """
    form: dict[str, Any] = {}
    is_placed = False
    for given, value in sorted(attributes.items()):
        name = given.strip("_").lower()
        if _PASSING.fullmatch(name) or is_credential(name):
            continue
        shown, placed = _attribute(name, value)
        if shown not in (None, {}):
            form[name if isinstance(shown, (str, int, float)) else f"place of {name}"] = shown
            is_placed = is_placed or placed
    return Reading(model_form(form, []), is_placed, is_on_this_machine(form))


def without_places(attributes: Mapping[str, Any], others: tuple[type, ...]) -> dict[str, Any]:
    """The attributes of a store that may hold documents in memory: lists and maps, and objects that are no clients.

    Args:
        attributes: by name.
        others: classes of objects that hold no documents of this store.
    """
    is_placed = read({name: one for name, one in attributes.items() if not isinstance(one, others)}).is_placed
    containers = (list, tuple, set, frozenset, deque, Mapping)
    return {
        name: one
        for name, one in attributes.items()
        if isinstance(one, containers) or not (is_placed or isinstance(one, others))
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
