"""The synchronous and the asynchronous side of one exchange: how it sends, reads, and calls the engine."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from askonce.concurrency.beside import Prepared, beside_if
from askonce.concurrency.drivers import run
from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Miss
from askonce.httpx.fetched import Fetched
from askonce.httpx.package import async_stream_of, package_of, stream_of
from askonce.wire.requests import WireRequest

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


def _replayed(hit: Hit) -> Iterator[Any]:
    yield hit


def _has_ended(tape: list[Fetched], wire: WireRequest) -> bool:
    """Whether a stream came to its end event; nothing came if its reader left before the head of the reply."""
    return bool(tape) and tape[0].has_ended(wire)


class SyncSide:
    """Every step is done before it returns.

    Args:
        engine: the cache's.
        transport: sends requests.
    """

    def __init__(self, engine: CacheEngine, transport: Any) -> None:
        self.engine, self.transport = engine, transport

    async def beside_if(self, is_large: bool, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work so that it holds up nobody else, if it is large."""
        return work(*arguments)

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; the body of the response is not read."""
        response: httpx2.Response = self.transport.handle_request(request)
        return response

    async def read(self, response: httpx2.Response) -> bytes:
        """The body of a response as it came; the response keeps it."""
        stream: Any = response.stream
        try:
            raw = b"".join(stream)
        finally:
            stream.close()
        response.stream = package_of(response.request).ByteStream(raw)
        return raw

    async def answer(
        self,
        request: Request,
        call: Callable[[], Awaitable[Fetched]],
        pack: Callable[[Fetched], Answer | None],
    ) -> Fetched | Hit:
        """See `CacheEngine.answer`."""

        async def called() -> Fetched:
            return await call()

        return self.engine.answer(request, lambda: run(called()), pack)

    async def lookup_many(
        self, requests: Sequence[Request], length: Callable[[Any], int] | None = None
    ) -> list[Hit | Miss]:
        """See `CacheEngine.lookup_many`."""
        return self.engine.lookup_many(requests, length)

    async def store_many(self, requests: Sequence[Request], answers: Sequence[Answer], seconds: float) -> None:
        """See `CacheEngine.store_many`."""
        self.engine.store_many(requests, answers, seconds)

    async def stream(
        self, request: Request, wire: WireRequest, fetch: Callable[[], Awaitable[Fetched]]
    ) -> Hit | httpx2.Response:
        """A hit, or a response whose body is stored when it has been read.

        Raises:
            RefusedReply: the upstream replied with another status than 200.
        """
        tape: list[Fetched] = []

        def call_model() -> Generator[Any]:
            async def fetched() -> Fetched:
                return await fetch()

            tape.append(run(fetched()))
            stream: Any = tape[0].response.stream
            try:
                yield tape[0]
                for chunk in stream:
                    tape[0].chunks.append(chunk)
                    yield chunk
            finally:
                stream.close()

        items: Any = self.engine.stream(
            request, call_model, lambda: tape[0].packed(wire), _replayed, lambda: _has_ended(tape, wire)
        )
        first = next(items)
        if isinstance(first, Hit):
            return first
        response: httpx2.Response = first.response
        response.stream = stream_of(package_of(response.request), items)
        return response


class AsyncSide(SyncSide):
    """Every step is awaited on the running event loop."""

    async def beside_if(self, is_large: bool, work: Callable[..., T], *arguments: Any) -> T:
        return await beside_if(is_large, work, *arguments)

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = await self.transport.handle_async_request(request)
        return response

    async def read(self, response: httpx2.Response) -> bytes:
        stream: Any = response.stream
        try:
            raw = b"".join([chunk async for chunk in stream])
        finally:
            await stream.aclose()
        response.stream = package_of(response.request).ByteStream(raw)
        return raw

    async def answer(
        self,
        request: Request,
        call: Callable[[], Awaitable[Fetched]],
        pack: Callable[[Fetched], Answer | None],
    ) -> Fetched | Hit:
        packing = Prepared(pack)

        async def called() -> Fetched:
            fetched = await call()
            if fetched.is_large:
                await packing.prepare(fetched)
            return fetched

        return await self.engine.aanswer(request, called, packing.result)

    async def lookup_many(
        self, requests: Sequence[Request], length: Callable[[Any], int] | None = None
    ) -> list[Hit | Miss]:
        return await self.engine.alookup_many(requests, length)

    async def store_many(self, requests: Sequence[Request], answers: Sequence[Answer], seconds: float) -> None:
        await self.engine.astore_many(requests, answers, seconds)

    async def stream(
        self, request: Request, wire: WireRequest, fetch: Callable[[], Awaitable[Fetched]]
    ) -> Hit | httpx2.Response:
        tape: list[Fetched] = []
        packing = Prepared(lambda: tape[0].packed(wire))

        items: Any = self.engine.astream(
            request,
            lambda: _AsyncChunks(fetch, tape, packing),
            packing.result,
            _replayed,
            lambda: _has_ended(tape, wire),
        )
        first = await _first(items)
        if isinstance(first, Hit):
            return first
        response: httpx2.Response = first.response
        response.stream = async_stream_of(package_of(response.request), items)
        return response


class _AsyncChunks:
    """What is fetched, and then its chunks. No generator, which the end of an event loop would close by itself.

    Args:
        fetch: sends the request.
        tape: what was fetched is appended to it.
        packing: is prepared at the end.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[Fetched]], tape: list[Fetched], packing: Prepared[Answer | None]
    ) -> None:
        self._fetch, self._tape, self._packing = fetch, tape, packing
        self._stream: Any = None
        self._chunks: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> _AsyncChunks:
        return self

    async def __anext__(self) -> Any:
        if not self._tape:
            self._tape.append(await self._fetch())
            self._stream = self._tape[0].response.stream  # the response is given another one
            return self._tape[0]
        if self._chunks is None:
            self._chunks = aiter(self._stream)
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if self._tape[0].is_large:
                await self._packing.prepare()
            raise
        self._tape[0].chunks.append(chunk)
        return chunk

    async def aclose(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()


def _first(items: AsyncGenerator[Any]) -> Awaitable[Any]:
    """Begin a stream, which its reader closes: the end of an event loop would close all generators at once."""
    first, finalizer = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, finalizer)
    try:
        return anext(items)
    finally:
        sys.set_asyncgen_hooks(first, finalizer)
