"""`CachedTransport`: one class for httpx and httpx2, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from askonce.cache import Cache, shared_cache
from askonce.concurrency.drivers import run
from askonce.engine.settings import Settings
from askonce.httpx.exchange import Exchange
from askonce.httpx.package import package_of, refused, say
from askonce.httpx.sides import AsyncSide, SyncSide
from askonce.options import check_switch
from askonce.stores import Client, Store
from askonce.wire.apis import api_of
from askonce.wire.directives import OWN, read_directives
from askonce.wire.headers import of_forwarded
from askonce.wire.refusals import nothing_cached
from askonce.wire.requests import WireRequest, read_request

if TYPE_CHECKING:
    import httpx2

    class _Transport(httpx2.BaseTransport, httpx2.AsyncBaseTransport): ...
else:
    _Transport = object


class CachedTransport(_Transport):
    """A transport that answers a client's requests from a cache.

        http = httpx2.Client(transport=CachedTransport("sqlite:///cache.db", ttl=3600))
        client = OpenAI(http_client=http)

    Cached are OpenAI's chat completions, embeddings and responses and Anthropic's messages, at any base URL, plain
    and streamed. All else is passed on as it is. Callers with different credentials share nothing.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for the default.
        transport: sends what is not answered from the cache: any transport of the client's package, synchronous or
            asynchronous as the client is. ``None``: the package's own.
        share: callers share answers, whatever credentials they show, also if they show none.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        cache: the `Cache` in use.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(
        self,
        store: str | Store | Client | Cache | None = None,
        transport: httpx2.BaseTransport | httpx2.AsyncBaseTransport | None = None,
        *,
        share: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        check_switch("share", share)
        self.cache = shared_cache(store, settings)
        self._share, self._given = share, transport
        self._own: dict[str, Any] = {}
        self._own_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Any]]
        self._own_of_loops = weakref.WeakKeyDictionary()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request of a synchronous client."""
        side = SyncSide(self.cache.engine, self._given or _made(self._own, request, "HTTPTransport"))
        if is_known := api_of(request.method, request.url.path) is not None:
            request.read()
        return run(self._response(request, side, is_known))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request of an asynchronous client."""
        transport = self._given or _made(self._own_of_loop(), request, "AsyncHTTPTransport")
        side = AsyncSide(self.cache.engine, transport)
        if is_known := api_of(request.method, request.url.path) is not None:
            await request.aread()
        return await self._response(request, side, is_known)

    async def _response(self, request: httpx2.Request, side: SyncSide, is_known: bool) -> httpx2.Response:
        """The response to a request; one to an API that is known was read."""
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw]
        wire: WireRequest | None = None
        if is_known:
            wire = read_request(request.method, str(request.url), headers, request.content, share=self._share)
        for name in OWN.intersection(name for name, _ in headers):
            del request.headers[name]
        if wire is not None:
            return await Exchange(wire, request, side).response()
        if read_directives(headers).only_if_cached:
            return refused(request, nothing_cached("such a request is never cached"))
        response = await side.send(request)
        if is_known:
            say(response, of_forwarded("bypass", status=response.status_code, detail="unreadable"))
        return response

    def _own_of_loop(self) -> dict[str, Any]:
        """The transports of the running event loop: connections of one are of no use to another."""
        loop = asyncio.get_running_loop()
        own = self._own_of_loops.get(loop)
        if own is None:
            for one in list(self._own_of_loops):
                if one.is_closed():  # whose connections would hold it
                    self._own_of_loops.pop(one, None)
            own = self._own_of_loops.setdefault(loop, {})
        return own

    def close(self) -> None:
        """Close the transport that sends."""
        for transport in filter(None, (self._given, *self._own.values())):
            if hasattr(transport, "close"):
                transport.close()

    async def aclose(self) -> None:
        """Asynchronous `close`: of what sends on the running event loop."""
        for transport in filter(None, (self._given, *self._own_of_loop().values())):
            if hasattr(transport, "aclose"):
                await transport.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


def _made(own: dict[str, Any], request: httpx2.Request, name: str) -> Any:
    """The own transport of a request's package, made when it is first needed."""
    package = package_of(request)
    place = f"{package.__name__}.{name}"
    if place not in own:
        own.setdefault(place, getattr(package, name)())
    return own[place]
