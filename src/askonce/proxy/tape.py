"""What one call of a provider gives, as far as it came: for all who wait for it in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from askonce.entries.entry import Answer, Miss

T = TypeVar("T")

_MOST_AHEAD = 16
"""Parts of a reply that is not held as a whole, each as large as a read from the network."""


class Tape(Generic[T]):
    """It is written by one task and read by many, each from the beginning.

    One that is not held as a whole is read by those alone who have come.

    Args:
        scope: of the caller for whom it is made.
        rules: how old a stored answer may be for him.
        abandoned: called when the last reader left before the end.

    Attributes:
        items: what came, as far as it is held.
        ended: nothing more comes.
        error: why it ended before its end.
        answer: what is stored of it.
        failure: why the provider gave nothing, also where a stale answer stands in.
        found: what is stored, for each rules: ``None`` where it is not known.
        is_behind: it is made while a stale answer is served.
        is_whole: all came; what is still to be done with it does not depend on who reads.
        is_dropped: what all readers have read is not held any longer.
    """

    def __init__(self, scope: str | None, rules: object, abandoned: Callable[[], object]) -> None:
        self.scope, self.rules = scope, rules
        self._abandoned: Callable[[], object] | None = abandoned
        self.items: list[T] = []
        self.ended = False
        self.error: BaseException | None = None
        self.answer: Answer | None = None
        self.failure: Exception | None = None
        self.found: dict[object, Miss | None] = {}
        self.is_behind = self.is_whole = self.is_dropped = False
        self._start = 0
        self._has_room = asyncio.Event()
        self._readers: set[TapeReader[T]] = set()

    def add(self, item: T) -> None:
        """Append what came."""
        self.items.append(item)
        self._wake()

    def drop(self) -> None:
        """Hold from now on only what a reader has not read yet."""
        self.is_dropped = True
        self._trim()

    async def write(self, item: T) -> None:
        """Append what came, and if the tape is not held as a whole, wait until little is held that nobody has read.

        Nobody waits for a reader who is slower than others.
        """
        self.add(item)
        while self.is_dropped and self._readers and len(self.items) - self._read_by(max) > _MOST_AHEAD:
            self._has_room.clear()
            await self._has_room.wait()

    def item(self, at: int) -> T | None:
        """What came at a position; ``None``: nothing yet."""
        return self.items[at - self._start] if at - self._start < len(self.items) else None

    def has_read(self) -> None:
        """A reader has read something."""
        if self.is_dropped:
            self._trim()
            self._has_room.set()

    def _read_by(self, which: Callable[..., int]) -> int:
        """How many of the items that are held the fastest reader has read, or the slowest."""
        return which((reader.at for reader in self._readers), default=self._start + len(self.items)) - self._start

    def _trim(self) -> None:
        read = self._read_by(min)
        del self.items[:read]
        self._start += read

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; only the first time counts."""
        if not self.ended:
            self.ended, self.error = True, error
            self._abandoned = None  # which refers to the tape
            self._forget_calls()
            self._wake()

    def reader(self) -> TapeReader[T]:
        """A new reader, from the beginning."""
        reader = TapeReader(self)
        self._readers.add(reader)
        return reader

    def leave(self, reader: TapeReader[T]) -> None:
        """A reader reads no more."""
        self._readers.discard(reader)
        self.has_read()
        self._forget_calls()
        if self._abandoned is not None and not self._readers and not self.is_whole:
            self._abandoned()

    def _forget_calls(self) -> None:
        """Whoever was given an error is in its traceback with all that he holds, and holds the tape."""
        for error in (self.error, self.failure):
            if error is not None:
                error.__traceback__ = None

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()


class TapeReader(Generic[T]):
    """One who reads a tape.

    Attributes:
        at: how much was read.
    """

    def __init__(self, tape: Tape[T]) -> None:
        self._tape, self.at, self._gone = tape, 0, False
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There is something new."""
        self._news.set()

    def go(self, _: object = None) -> None:
        """The client of this reader is gone: `next` ends."""
        self._gone = True
        self._news.set()

    async def next(self) -> T | None:
        """What comes next; ``None`` at the end.

        Raises:
            BaseException: what the tape ended with.
        """
        tape = self._tape
        while not self._gone:
            if (item := tape.item(self.at)) is not None:
                self.at += 1
                tape.has_read()
                return item
            if tape.ended:
                if tape.error is not None:
                    raise tape.error
                return None
            self._news.clear()
            await self._news.wait()
        return None

    @property
    def gone(self) -> bool:
        """Whether its client is gone."""
        return self._gone
