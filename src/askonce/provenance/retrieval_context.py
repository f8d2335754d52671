"""The documents that were retrieved in the running context, on their way to the answers made from them.

A `RetrievalContext` is carried by a context variable. An adapter begins one where the framework begins a run (a
chain, a query engine, an agent), before the run's threads and tasks copy the context: so a retriever deep inside
and a model called later share it. In code that runs under no framework's run, the first retrieval begins a trail,
and the first retrieval after an answer begins anew. Both meet: an answer made in a run is also made from what was
retrieved before the run, and what a run only retrieved is there for answers made after it.
"""

from __future__ import annotations

import hashlib
import threading
from contextvars import ContextVar

import msgspec

from askonce.entries.entry import Source

_MOST_DOCUMENTS = 1000
"""A trail remembers the documents of the last retrievals, and not more than this many."""


class RetrievedDocuments(msgspec.Struct, frozen=True):
    """What a retrieval gives to prompts.

    Attributes:
        texts: the documents, as they are written into prompts.
        scope: names the retriever with its filters: who asks through another one may see other documents.
    """

    texts: tuple[str, ...]
    scope: bytes


class RetrievalContext:
    """What was retrieved. Thread-safe.

    Args:
        lasting: a framework's run begins and ends it; otherwise a retrieval after an answer begins it anew.
        outer: the trail of the code that started the run.
    """

    def __init__(self, *, lasting: bool, outer: RetrievalContext | None = None) -> None:
        self._lasting = lasting
        self._outer = outer
        self._lock = threading.RLock()  # the garbage collector ends streams, whatever this thread is at
        self._sources: list[
            tuple[str, Source, RetrievedDocuments | None]
        ] = []  # with the store that knows its corpus
        self._answered = False
        self._begins_anew = outer is not None and outer._answered
        self._ended = False

    def add(self, source: Source, store: str, found: RetrievedDocuments | None = None) -> None:
        """Note that documents were retrieved."""
        with self._lock:
            if self._begins_anew:
                self._outer, self._begins_anew = None, False
            if self._answered and not self._lasting:
                self._sources.clear()
            self._answered = False
            self._sources.append((store, source, found))
            while sum(len(one.ids) for _, one, _ in self._sources) > _MOST_DOCUMENTS and len(self._sources) > 1:
                del self._sources[0]

    def sources(self, store: str) -> tuple[Source, ...]:
        """What an answer that is made now is made from: for each corpus in a store and each position, all ids."""
        outer = self._outer
        before = () if outer is None else outer.sources(store)
        with self._lock:
            self._answered = True
            ids: dict[tuple[str, int], dict[str, None]] = {}
            for one in (*before, *(source for place, source, _ in self._sources if place == store)):
                ids.setdefault((one.corpus, one.position), {}).update(dict.fromkeys(one.ids))
            return tuple(Source(*place, tuple(its)) for place, its in ids.items())

    def found(self) -> tuple[RetrievedDocuments | None, ...]:
        """What each retrieval gave; ``None`` where that is not known."""
        outer = self._outer
        before = () if outer is None else outer.found()
        with self._lock:
            return (*before, *(found for _, _, found in self._sources))

    def end(self, *, answering: bool = False) -> None:
        """The run ends. What was retrieved and not answered from is left to the code that started it.

        Args:
            answering: an answer is still being made: a stream, which may ask the model only when it is read.
        """
        with self._lock:
            left = [] if (self._answered and not answering) or self._ended else list(self._sources)
            self._ended = True
            if left and self._outer is None:
                self._outer = RetrievalContext(lasting=False)
            outer = self._outer
        for store, source, found in left:
            assert outer is not None
            outer.add(source, store, found)


retrieval_in_effect: ContextVar[RetrievalContext | None] = ContextVar("askonce_retrieval", default=None)
"""What was retrieved in the running context; ``None`` for nothing."""


def _current() -> RetrievalContext | None:
    """The trail of the running context. A run may have ended in another: an asynchronous stream, when abandoned."""
    retrieval_context = retrieval_in_effect.get()
    if retrieval_context is not None and retrieval_context._ended:
        retrieval_context = retrieval_context._outer
        retrieval_in_effect.set(retrieval_context)
    return retrieval_context


def begin_retrieval_context() -> RetrievalContext | None:
    """Begin a trail for a framework's run; ``None`` if a run around it has begun one."""
    outer = _current()
    if outer is not None and outer._lasting:
        return None
    retrieval_context = RetrievalContext(lasting=True, outer=outer)
    retrieval_in_effect.set(retrieval_context)
    return retrieval_context


def enter_retrieval_context(retrieval_context: RetrievalContext) -> None:
    """Go on with a run's trail in a context that was copied before it began."""
    retrieval_in_effect.set(retrieval_context)


def end_retrieval_context(retrieval_context: RetrievalContext | None = None, *, answering: bool = False) -> None:
    """End the trail of a framework's run: one that was begun, or that in the running context.

    Args:
        retrieval_context: the former.
        answering: an answer is still being made, as in `RetrievalContext.end`.
    """
    retrieval_context = retrieval_context or _current()
    if retrieval_context is not None and retrieval_context._lasting:
        retrieval_context.end(answering=answering)


def record_retrieval(source: Source, store: str, found: RetrievedDocuments | None = None) -> None:
    """Note that documents were retrieved in the running context.

    Args:
        source: which.
        store: names the store that their corpus is in: only answers that are kept there can know of changes.
        found: what they give to prompts, if it can be told.
    """
    retrieval_context = _current()
    if retrieval_context is None:
        retrieval_context = RetrievalContext(lasting=False)
        retrieval_in_effect.set(retrieval_context)
    retrieval_context.add(source, store, found)


def current_sources(store: str) -> tuple[Source, ...]:
    """What an answer that is made now in the running context is made from, as far as a store can tell of it."""
    retrieval_context = _current()
    return () if retrieval_context is None else retrieval_context.sources(store)


def current_texts() -> tuple[str, ...]:
    """The texts of the documents that an answer which is made now in the running context may be made from."""
    retrieval_context = _current()
    found = () if retrieval_context is None else retrieval_context.found()
    return tuple(text for one in found if one is not None for text in one.texts)


def current_scope() -> bytes | None:
    """Names the retrievers that found all these documents; ``None`` if there is none, or one is not known."""
    retrieval_context = _current()
    found = () if retrieval_context is None else retrieval_context.found()
    scopes = {None if one is None else one.scope for one in found}
    if not scopes or None in scopes:
        return None
    return hashlib.sha256(b"".join(sorted(scope for scope in scopes if scope is not None))).digest()
