"""What one call of a provider gives, as far as it came: for all who wait for it in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from askonce.entries.entry import Answer, Miss

T = TypeVar("T")


class Tape(Generic[T]):
    """It is written by one task and read by many, each from the beginning.

    Args:
        scope: of the caller for whom it is made.
        rules: how old a stored answer may be for him.
        abandoned: called when the last reader left before the end.

    Attributes:
        items: what came.
        ended: nothing more comes.
        error: why it ended before its end.
        answer: what is stored of it.
        failure: why the provider gave nothing, also where a stale answer stands in.
        found: what is stored, for each rules: ``None`` where it is not known.
        is_behind: it is made while a stale answer is served.
    """

    def __init__(self, scope: str | None, rules: object, abandoned: Callable[[], object]) -> None:
        self.scope, self.rules, self._abandoned = scope, rules, abandoned
        self.items: list[T] = []
        self.ended = False
        self.error: BaseException | None = None
        self.answer: Answer | None = None
        self.failure: Exception | None = None
        self.found: dict[object, Miss | None] = {}
        self.is_behind = False
        self._readers: set[TapeReader[T]] = set()

    def add(self, item: T) -> None:
        """Append what came."""
        self.items.append(item)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; only the first time counts."""
        if not self.ended:
            self.ended, self.error = True, error
            self._wake()

    def reader(self) -> TapeReader[T]:
        """A new reader, from the beginning."""
        reader = TapeReader(self)
        self._readers.add(reader)
        return reader

    def leave(self, reader: TapeReader[T]) -> None:
        """A reader reads no more."""
        self._readers.discard(reader)
        if not self._readers and not self.ended:
            self._abandoned()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()


class TapeReader(Generic[T]):
    """One who reads a tape."""

    def __init__(self, tape: Tape[T]) -> None:
        self._tape, self._at, self._gone = tape, 0, False
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
            if self._at < len(tape.items):
                self._at += 1
                return tape.items[self._at - 1]
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
