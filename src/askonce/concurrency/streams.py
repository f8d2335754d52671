"""Streams that are closed when nobody reads them any more: one holds its connection until it is collected."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def closing(chunks: Iterator[T]) -> Iterator[Iterator[T]]:
    """Close a stream at the end, if it can be closed."""
    try:
        yield chunks
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


class aclosing(Generic[T]):
    """Asynchronous `closing`.

    No generator: the end of an event loop would close it by itself.
    """

    def __init__(self, chunks: AsyncIterator[T]) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> AsyncIterator[T]:
        return self._chunks

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()
