"""A request, and the promise of whoever makes its answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from askonce.concurrency.drivers import SyncDriver
from askonce.concurrency.flight import Flight
from askonce.concurrency.waits import lead, leading
from askonce.entries.entry import Entry, Miss, Place, RequestKind, Source
from askonce.keys.normal_form import NormalForm
from askonce.options import CacheOptions
from askonce.provenance.made_from import MadeFrom
from askonce.storage.freshness import Freshness

if TYPE_CHECKING:  # it loads numpy
    from askonce.semantic.semantic_cache import Attempt


T = TypeVar("T")
_END: Any = object()


class Request(msgspec.Struct, frozen=True):
    """A request that has a key.

    Attributes:
        place: where its answer is stored.
        kind: what is requested, such as ``answer``.
        options: the options that were in effect when it was made.
        form: makes its normal form.
        model: the model that it calls, if known.
        made_from: what its answer will be made from; ``None``: of nothing that was retrieved.
        is_semantic: the answer to a question of the same meaning may be used.
        unpack: turns a stored payload into what the adapter returns; what it raises makes the entry a miss
            (`Incomplete`: one that is not counted as an error).
        freshness: the rules for this request; ``None``: those of the cache.
        is_large: reading its form takes long, and holding it much memory.
    """

    place: Place
    kind: RequestKind
    options: CacheOptions
    form: Callable[[], NormalForm]
    model: str | None = None
    made_from: MadeFrom | None = None
    is_semantic: bool = False
    unpack: Callable[[bytes], Any] | None = None
    freshness: Freshness | None = None
    is_large: bool = False

    @property
    def sources(self) -> tuple[Source, ...]:
        """The documents that its answer will be made from."""
        return () if self.made_from is None else self.made_from.sources

    @property
    def scope(self) -> bytes | None:
        """Identifies the retrievers of all these documents, if they are known."""
        return None if self.made_from is None else self.made_from.scope

    def answered(self, entry: Entry) -> None:
        """Record for later answers of the same run that this one was given."""
        if self.made_from is not None:
            self.made_from.answered(entry.payload, entry.sources)


class Leader(msgspec.Struct, frozen=True):
    """The caller is to make the answer.

    Attributes:
        miss: why none was found.
        flight: what others wait for; ``None`` if nobody can.
        started: when the making began, on the monotonic clock.
        attempt: what is known of the meaning of the question.
        driver: with what is left of the request's time for the store.
    """

    miss: Miss
    flight: Flight | None = None
    started: float = msgspec.field(default_factory=time.monotonic)
    attempt: Attempt | None = None
    driver: SyncDriver | None = None

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        """While the model is called: what is called within it does not wait for this very call."""
        before = leading.get() if self.flight is None else lead(self.flight)
        try:
            yield
        finally:
            leading.set(before)

    def chunks_of(self, stream: Iterable[T]) -> Iterator[T]:
        """The chunks of a model's stream, each made as in `calling`."""
        chunks = iter(stream)
        while True:
            with self.calling():
                chunk = next(chunks, _END)
            if chunk is _END:
                return
            yield chunk

    async def achunks_of(self, stream: AsyncIterable[T]) -> AsyncIterator[T]:
        """Asynchronous `chunks_of`."""
        chunks = aiter(stream)
        while True:
            with self.calling():
                chunk = await anext(chunks, _END)
            if chunk is _END:
                return
            yield chunk

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """While the reader of a stream has a chunk and has not requested the next."""
        if self.flight is None:
            yield
            return
        self.flight.kind, self.flight.idle_since = "stream", time.monotonic()
        yield
        self.flight.idle_since = None
