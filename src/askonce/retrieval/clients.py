"""Where the clients of vector databases search, and what clients of HTTP send.

Of what is in memory the object counts, which is nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from askonce.keys import databases
from askonce.keys.databases import InMemory, Place, credential_form, location, without_credentials
from askonce.keys.normal_form import is_credential_in_request
from askonce.keys.own.modules import is_installed_class
from askonce.retrieval.versions import instance

_HTTP = {
    **{f"{package}.{name}": "httpx" for package in ("httpx", "httpx2") for name in ("Client", "AsyncClient")},
    "requests.Session": "requests",
    "aiohttp.ClientSession": "aiohttp",
}
_PLAIN_TRANSPORTS = frozenset({"HTTPTransport", "AsyncHTTPTransport"})
_OF_ATTEMPTS = frozenset("accept accept-encoding connection".split())


def place_of(client: object) -> Place | None:
    """Where a client, a collection, an index or an engine searches; ``None`` if that is not known."""
    place = databases.place_of(client)
    return None if place is None else _named(place)


def _named(place: Any) -> Any:
    if isinstance(place, InMemory):
        return instance(place.part)
    if isinstance(place, dict):
        return {name: _named(one) for name, one in place.items()}
    return [_named(one) for one in place] if type(place) is list else place


def sent_by(client: Any) -> dict[str, Any] | None:
    """Where a client of HTTP sends requests, and what it adds to them; ``None`` if it is none.

    Of credentials there are digests. Functions and objects of the application's own are to be read.
    """
    kind = _http_kind(type(client))
    if kind is None:
        return None
    url = getattr(client, "base_url", None) or getattr(client, "_base_url", None)
    params = getattr(client, "params", None) or {}
    jar = getattr(client, "cookies", None) if kind != "aiohttp" else client.cookie_jar
    sent: dict[str, Any] = {
        "url": None if url is None else without_credentials(str(url)),
        "headers": _headers(client.headers),
        "params": sorted([name, _shown(name, one)] for name, one in _pairs(params)),
        "cookies": sorted(
            credential_form([one.key, one.value] if kind == "aiohttp" else _cookie(one)) for one in _all(jar)
        ),
        "auth": _signing(getattr(client, "auth", None) if kind != "aiohttp" else client._default_auth),
    }
    if kind == "httpx":
        sent["hooks"] = [*client.event_hooks.get("request", ())]
        transports = (client._transport, *client._mounts.values())
        sent["transports"] = [one for one in transports if one is not None and not _is_plain(one)]
        sockets = (getattr(getattr(one, "_pool", None), "_uds", None) for one in transports)
        sent["socket"] = [location(one) for one in sockets if one]
    elif kind == "requests":
        sent["hooks"] = [
            one for hooks in client.hooks.values() for one in (hooks if isinstance(hooks, list) else [hooks])
        ]
        sent["transports"] = [one for one in client.adapters.values() if not is_installed_class(type(one))]
    elif isinstance(path := getattr(client.connector, "path", None), str):
        sent["socket"] = [location(path)]
    return {name: one for name, one in sent.items() if one not in (None, "", {}, [])}


def _kind_of(cls: Any) -> str | None:
    names = (f"{one.__module__.partition('.')[0]}.{one.__name__}" for one in cls.__mro__)
    return next((_HTTP[one] for one in names if one in _HTTP), None)


_http_kind: Callable[[Any], str | None] = functools.lru_cache(maxsize=1024)(_kind_of)


def _headers(headers: Mapping[str, Any]) -> dict[str, str]:
    lower = {name.lower(): str(one) for name, one in headers.items()}
    return {
        name: _shown(name, one)
        for name, one in sorted(lower.items())
        if name not in _OF_ATTEMPTS and not (name == "user-agent" and one.lower().startswith("python"))
    }


def _shown(name: str, value: Any) -> str:
    return credential_form(value) if is_credential_in_request(name) else str(value)


def _pairs(params: Any) -> Iterable[tuple[str, Any]]:
    if hasattr(params, "multi_items"):
        pairs: Iterable[tuple[str, Any]] = params.multi_items()
        return pairs
    return [(str(name), one) for name, one in (params.items() if isinstance(params, Mapping) else params)]


def _all(jar: Any) -> Iterable[Any]:
    return getattr(jar, "jar", jar) or ()  # httpx has the standard library's within its own


def _cookie(cookie: Any) -> list[Any]:
    return [cookie.domain, cookie.path, cookie.name, cookie.value]


def _signing(auth: Any) -> Any:
    """What signs requests: of a package's class whose credentials it holds, of the application's own to be read."""
    if auth is None or not is_installed_class(type(auth)):
        return auth
    held = auth if isinstance(auth, (tuple, list)) else sorted(getattr(auth, "__dict__", {}).items())
    texts = [one for one in _flat(held) if isinstance(one, (str, bytes))]
    return {"of": type(auth).__name__, "credential": credential_form(texts)}


def _flat(held: Any) -> Iterable[Any]:
    for one in held:
        yield from _flat(one) if isinstance(one, (tuple, list)) else [one]


def _is_plain(transport: Any) -> bool:
    """Whether it is a transport to any host."""
    is_own = not is_installed_class(type(transport))
    return not is_own and type(transport).__name__ in _PLAIN_TRANSPORTS
