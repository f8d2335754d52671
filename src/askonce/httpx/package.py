"""The package that a request is of, httpx or httpx2, and what is made of its classes."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from askonce.wire.refusals import Refusal

if TYPE_CHECKING:
    import httpx2


def package_of(request: httpx2.Request) -> Any:
    """The package whose client made a request."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def reply(request: httpx2.Request, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> httpx2.Response:
    """A response whose body is known."""
    package = package_of(request)
    response: httpx2.Response = package.Response(
        status,
        headers=[*headers, ("content-length", str(len(body)))],
        stream=package.ByteStream(body),
        request=request,
    )
    return response


def refused(request: httpx2.Request, refusal: Refusal) -> httpx2.Response:
    """A response of the cache's own."""
    return reply(request, refusal.status, refusal.headers, refusal.body)


def say(response: httpx2.Response, *headers: tuple[str, str]) -> None:
    """Add headers to a response."""
    for name, value in headers:
        given = response.headers.get(name)
        response.headers[name] = value if given is None else f"{given}, {value}"


def decoded(response: httpx2.Response, raw: bytes) -> bytes:
    """The body of a response without its content encoding.

    Raises:
        Exception: it is not so encoded, or the package cannot decode it.
    """
    encoding = response.headers.get("content-encoding")
    if not encoding or encoding.lower() == "identity":
        return raw
    cls = type(response)
    return cls(200, headers={"content-encoding": encoding}, content=raw).content


def stream_of(package: Any, chunks: Generator[Any]) -> Any:
    """A stream of the package over chunks; closing it closes these."""
    return _stream_classes(package)[0](chunks)


def async_stream_of(package: Any, chunks: AsyncGenerator[Any]) -> Any:
    """Asynchronous `stream_of`."""
    return _stream_classes(package)[1](chunks)


@functools.lru_cache(maxsize=4)
def _stream_classes(package: ModuleType) -> tuple[type[Any], type[Any]]:
    sync: Any = package.SyncByteStream
    asynchronous: Any = package.AsyncByteStream

    class CachingStream(sync):  # type: ignore[misc]
        def __init__(self, chunks: Generator[bytes]) -> None:
            self._chunks = chunks

        def __iter__(self) -> Generator[bytes]:
            return self._chunks

        def close(self) -> None:
            self._chunks.close()

    class AsyncCachingStream(asynchronous):  # type: ignore[misc]
        def __init__(self, chunks: AsyncGenerator[bytes]) -> None:
            self._chunks: Any = chunks

        def __aiter__(self) -> Any:
            return self._chunks

        async def aclose(self) -> None:
            if not self._chunks.ag_running:  # else somebody reads or closes it just now
                await self._chunks.aclose()

    return CachingStream, AsyncCachingStream
