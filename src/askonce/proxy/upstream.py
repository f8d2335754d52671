"""The way to the providers."""

from __future__ import annotations

import asyncio
import os
import re
import urllib.request
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

import aiohttp
import msgspec
from yarl import URL

from askonce.keys.normal_form import is_credential_in_request
from askonce.proxy.config import ProxySettings, UpstreamSettings, proxies_of_network
from askonce.proxy.decoding import DECODED, Decoder, Undecodable
from askonce.proxy.tenants import header_of_key
from askonce.wire.directives import OWN
from askonce.wire.scope import Headers

_OF_ONE_CONNECTION = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    " upgrade".split()
)
_NOT_SENT = _OF_ONE_CONNECTION | OWN | {"host", "expect", "content-length"}
_VERSION = re.compile(r"/v\d+(beta\d*)?/")
_PARENT = re.compile(r"(^|[/\\]|%2f|%5c)(\.|%2e){2}($|[/\\;]|%2f|%5c|%3b)", re.IGNORECASE)
_IDLE_SECONDS = 15.0
_LONGEST_HEADER = 65_536


class UpstreamFailed(Exception):
    """A provider could not be reached, or broke off.

    Attributes:
        status: of the response that says so.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unsendable(UpstreamFailed):
    """A request cannot be sent as it came, whatever others can send."""


class Refused(Exception):
    """A provider replied with another status than 200."""

    def __init__(self, head: Head, body: bytes) -> None:
        super().__init__(f"the upstream replied with status {head.status}")
        self.head, self.body, self.status = head, body, head.status


class Head(msgspec.Struct, frozen=True):
    """The head of a provider's reply.

    Attributes:
        status: of HTTP.
        raw: its headers but those of one connection, in their order; and but ``date``, which the server adds.
    """

    status: int
    raw: list[tuple[bytes, bytes]]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers as texts."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw]


class Reply:
    """A provider's reply, whose body is still to be read.

    Args:
        response: of the client.
        decoded: its body comes without its content encoding, if that is one of `DECODED`.

    Attributes:
        head: its head.
        is_encoded: its body comes with a content encoding.
    """

    def __init__(self, response: aiohttp.ClientResponse, *, decoded: bool) -> None:
        self._response = response
        dropped = {one.encode() for one in _OF_ONE_CONNECTION | _named(response.headers.getall("connection", ()))}
        dropped.add(b"date")
        encodings = response.headers.getall("content-encoding", ())
        self.is_encoded = any(one.lower() != "identity" for one in encodings)
        self._encoding: str | None = None
        if decoded and len(encodings) == 1 and encodings[0].lower() in DECODED:
            self.is_encoded, self._encoding = False, encodings[0].lower()
            dropped |= {b"content-encoding", b"content-length"}
        self.head = Head(
            response.status, [(name, value) for name, value in response.raw_headers if name.lower() not in dropped]
        )

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            UpstreamFailed: it broke off.
        """
        decoder = Decoder(self._encoding)
        try:
            async for part in self._response.content.iter_any():
                for piece in decoder.parts(part):
                    yield piece
            decoder.end()
        except Undecodable as error:
            raise UpstreamFailed(502, f"the upstream's reply cannot be read: {error}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _failed(error) from error

    def close(self) -> None:
        """Be done with it; a connection whose body is not read to its end is closed."""
        self._response.close() if not self._response.content.at_eof() else self._response.release()


class Upstreams:
    """The providers of a proxy. Make and close it within an event loop.

    Args:
        settings: of the proxy.
    """

    def __init__(self, settings: ProxySettings) -> None:
        self._settings = settings
        self._keys = {one.key_env: os.environ[one.key_env] for one in settings.upstreams if one.key_env}
        # No answer waits for a free connection; how many requests a provider takes, it says itself (429).
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
        self._proxies = proxies_of_network()  # not by aiohttp, which would send what ~/.netrc holds, too
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,  # a body that its decoder cannot read to the end would never end
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Content-Type", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.connect_timeout, sock_read=settings.timeout
            ),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def of_path(self, path: str) -> list[tuple[UpstreamSettings, str]]:
        """The upstreams of a path, each with its whole URL: those with its prefix, else those without."""
        ours = self._settings.upstreams
        named = [one for one in ours if one.prefix and (path + "/").startswith(one.prefix + "/")]
        return [(one, _joined(one.base, path[len(one.prefix) :])) for one in named] or [
            (one, _joined(one.base, path)) for one in ours if not one.prefix
        ]

    async def send(
        self,
        upstream: UpstreamSettings,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | AsyncIterable[bytes] | None,
        *,
        decoded: bool = False,
    ) -> Reply:
        """Send a request on, and wait for the head of the reply.

        Args:
            upstream: the provider.
            method: of HTTP.
            url: the whole URL, with the query.
            headers: of the caller.
            body: all of it, or its parts as they come.
            decoded: the body of the reply is to come without a content encoding.

        Raises:
            UpstreamFailed: there is none.
            Unsendable: a header of the caller cannot be passed on.
        """
        headers = list(headers)
        dropped = _NOT_SENT | _named(value for name, value in headers if name == "connection")
        if upstream.key_env:
            sent = [pair for pair in headers if not is_credential_in_request(pair[0])]
            sent.append(header_of_key(headers, url.partition("?")[0], self._keys[upstream.key_env]))
        else:
            sent = headers
        passed = [(name, _as_it_came(name, value)) for name, value in sent if name not in dropped]
        if decoded:
            passed = [pair for pair in passed if pair[0] != "accept-encoding"]
            passed.append(("accept-encoding", "identity"))
        if not isinstance(body, (bytes, type(None))):
            passed += [pair for pair in headers if pair[0] == "content-length"]
        try:
            response = await self._session.request(
                method,
                URL(url, encoded=True),
                headers=passed,
                data=body,
                allow_redirects=False,
                proxy=self._proxy_to(url),
            )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _failed(error) from error
        return Reply(response, decoded=decoded)

    def _proxy_to(self, url: str) -> str | None:
        """The HTTP proxy that the environment names for a URL."""
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme)
        return None if proxy is None or urllib.request.proxy_bypass(parts.netloc) else proxy


def leaves(path: str) -> bool:
    """Whether a path has a ``..`` in it, by which it would leave the base path or prefix of an upstream."""
    return ".." in path.lower().replace("%2e", ".") and _PARENT.search(path) is not None


def chosen(among: list[tuple[UpstreamSettings, str]], model: str | None) -> tuple[UpstreamSettings, str] | None:
    """The upstream of a model: the first one that names it, else the first one that names no models."""
    for one in among:
        if model is not None and any(fnmatchcase(model, pattern) for pattern in one[0].models):
            return one
    return next((one for one in among if not one[0].models), among[0] if len(among) == 1 else None)


def by_model(among: list[tuple[UpstreamSettings, str]]) -> bool:
    """Whether the model of a request decides which of several upstreams gets it."""
    return len(among) > 1 and any(one[0].models for one in among)


def _joined(base: str, path: str) -> str:
    """A URL; if both the base and the path name the version of the API, it is there once."""
    version = _VERSION.match(path)
    if version is not None and base.endswith(version[0].rstrip("/")):
        path = path[version.end() - 1 :]
    return base + path


def _as_it_came(name: str, value: str) -> str:
    """A header, each of whose letters is a byte, so that the client, which writes UTF-8, sends these bytes.

    Raises:
        Unsendable: they are no UTF-8.
    """
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError as error:
        raise Unsendable(
            400, f"the header {name} is neither ASCII nor UTF-8, so that it cannot be sent on"
        ) from error


def _named(values: Iterable[str]) -> frozenset[str]:
    """The headers that ``Connection`` names, which are of one connection too."""
    return frozenset(name.strip().lower() for value in values for name in value.split(","))


def _failed(error: BaseException) -> UpstreamFailed:
    """What a fault of the client means; without the URL, which may hold a key."""
    if isinstance(error, asyncio.TimeoutError):
        return UpstreamFailed(504, "the upstream did not respond in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UpstreamFailed(502, f"the upstream cannot be reached ({type(error.os_error).__name__})")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return UpstreamFailed(502, f"the proxy of HTTPS_PROXY did not connect ({error.status})")
    if isinstance(error, aiohttp.ClientResponseError):
        return UpstreamFailed(502, f"the upstream's reply cannot be read ({error.message})")
    return UpstreamFailed(502, f"the upstream broke off ({type(error).__name__})")
