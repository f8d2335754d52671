"""A request on its way, and the promise of whoever makes its answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from askonce.concurrency.singleflight import Flight
from askonce.entries.entry import Miss, Source
from askonce.keys.normal_form import NormalForm
from askonce.options import CacheOptions

if TYPE_CHECKING:  # it loads numpy
    from askonce.semantic.semantic_cache import Attempt


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has a name.

    Attributes:
        namespace: where its answer is kept.
        key: its name there.
        control: the wishes that were in force when it was made.
        sources: the documents that its answer will be made from.
        form: makes its normal form, if another question's answer may do.
    """

    namespace: str
    key: bytes
    options: CacheOptions
    sources: tuple[Source, ...] = ()
    form: Callable[[], NormalForm] | None = None

    @property
    def place(self) -> bytes:
        """What a sealed entry is bound to."""
        return self.key + self.namespace.encode()


@dataclass(frozen=True, slots=True)
class Leader:
    """The caller is to make the answer.

    Attributes:
        miss: why none was found.
        flight: what others wait for; ``None`` if nobody can.
        started: when the making began, on the monotonic clock.
        trial: what is known of the meaning of what is asked.
    """

    miss: Miss
    flight: Flight | None = None
    started: float = field(default_factory=time.monotonic)
    trial: Attempt | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """While the reader of a stream has a chunk and has not asked for the next."""
        if self.flight is None:
            yield
            return
        self.flight.kind, self.flight.idle_since = "stream", time.monotonic()
        yield
        self.flight.idle_since = None
