"""The documents that were retrieved in the running context, on their way to the answers made from them.

A `Trail` is carried by a context variable. An adapter begins one where the framework begins a run (a chain, a
query engine, an agent), before the run's threads and tasks copy the context: so a retriever deep inside and a model
called later share it. In code that runs under no framework's run, the first retrieval begins a trail, and the first
retrieval after an answer begins anew.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token

from askonce.entry import Source

_MOST_DOCUMENTS = 1000
"""A trail remembers the documents of the last retrievals, and not more than this many."""


class Trail:
    """What was retrieved. Thread-safe.

    Args:
        lasting: a framework's run begins and ends it; otherwise a retrieval after an answer begins it anew.
    """

    def __init__(self, *, lasting: bool) -> None:
        self._lasting = lasting
        self._lock = threading.Lock()
        self._sources: list[Source] = []
        self._answered = False

    def add(self, source: Source) -> None:
        """Note that documents were retrieved."""
        with self._lock:
            if self._answered and not self._lasting:
                self._sources.clear()
            self._answered = False
            self._sources.append(source)
            while sum(len(one.ids) for one in self._sources) > _MOST_DOCUMENTS and len(self._sources) > 1:
                del self._sources[0]

    def sources(self) -> tuple[Source, ...]:
        """What an answer that is made now is made from: for each corpus, the oldest position and all ids."""
        with self._lock:
            self._answered = True
            merged: dict[str, Source] = {}
            for one in self._sources:
                known = merged.get(one.corpus)
                ids = one.ids if known is None else tuple(dict.fromkeys(known.ids + one.ids))
                position = one.position if known is None else min(known.position, one.position)
                merged[one.corpus] = Source(one.corpus, position, ids)
            return tuple(merged.values())


_trail: ContextVar[Trail | None] = ContextVar("askonce_trail", default=None)


def begin_trail() -> Token[Trail | None] | None:
    """Begin a trail for a framework's run; ``None`` if a run around it has begun one."""
    trail = _trail.get()
    return None if trail is not None and trail._lasting else _trail.set(Trail(lasting=True))


def end_trail() -> None:
    """End the trail of a framework's run in the running context."""
    _trail.set(None)


def note_retrieval(source: Source) -> None:
    """Note that documents were retrieved in the running context."""
    trail = _trail.get()
    if trail is None:
        trail = Trail(lasting=False)
        _trail.set(trail)
    trail.add(source)


def current_sources() -> tuple[Source, ...]:
    """What an answer that is made now in the running context is made from."""
    trail = _trail.get()
    return () if trail is None else trail.sources()
