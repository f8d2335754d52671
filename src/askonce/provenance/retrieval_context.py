"""The documents that were retrieved in the running context, for the answers made from them.

A `RetrievalContext` is carried by a context variable. An adapter begins one where the framework begins a run (a
chain, a query engine, an agent), before the run's threads and tasks copy the context: so a retriever deep inside
and a model called later share it. Outside any framework's run, the first retrieval begins a context, and the first
retrieval after an answer begins another one. The two combine: an answer made in a run is also made from what was
retrieved before the run, and documents that a run only retrieved are available to later answers.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar

import msgspec

from askonce.entries.entry import Source
from askonce.stores.fork import fork_rlock

_MOST_DOCUMENTS = 1000
"""The most documents that a context holds, from the latest retrievals."""


class RetrievedDocuments(msgspec.Struct, frozen=True):
    """What a retrieval contributes to prompts.

    Attributes:
        texts: the documents, as they are written into prompts.
        scope: identifies the retriever with its filters: another one may return other documents.
    """

    texts: tuple[str, ...]
    scope: bytes


class RetrievalContext:
    """What was retrieved. Thread-safe.

    Args:
        lasting: a framework's run begins and ends it; otherwise a retrieval after an answer clears it.
        outer: the context of the code that started the run.
    """

    def __init__(self, *, lasting: bool, outer: RetrievalContext | None = None) -> None:
        self._lasting = lasting
        self._outer = outer
        self._lock = fork_rlock()  # the garbage collector ends streams at any moment of this thread
        self._sources: list[tuple[str, Source, RetrievedDocuments | None]] = []  # with the store of its corpus
        self._answered = False
        self._starts_over = outer is not None and outer._answered
        self._ended = False

    def add(self, source: Source, store: str, found: RetrievedDocuments | None = None) -> None:
        """Record that documents were retrieved."""
        with self._lock:
            if self._starts_over:
                self._outer, self._starts_over = None, False
            if self._answered and not self._lasting:
                self._sources.clear()
            self._answered = False
            self._sources.append((store, source, found))
            while sum(len(one.ids) for _, one, _ in self._sources) > _MOST_DOCUMENTS and len(self._sources) > 1:
                del self._sources[0]

    def sources(self, store: str) -> tuple[Source, ...]:
        """The sources of an answer made now: for each corpus in a store and each position, all ids."""
        outer = self._outer
        before = () if outer is None else outer.sources(store)
        with self._lock:
            self._answered = True
            ids: dict[tuple[str, int], dict[str, None]] = {}
            for one in (*before, *(source for place, source, _ in self._sources if place == store)):
                ids.setdefault((one.corpus, one.position), {}).update(dict.fromkeys(one.ids))
            return tuple(Source(*place, tuple(its)) for place, its in ids.items())

    def found(self) -> tuple[RetrievedDocuments | None, ...]:
        """The documents of each retrieval; ``None`` where they are not known."""
        outer = self._outer
        before = () if outer is None else outer.found()
        with self._lock:
            return (*before, *(found for _, _, found in self._sources))

    def end(self, *, answering: bool = False) -> None:
        """End the run. Documents retrieved after its last answer pass to the code that started it.

        Args:
            answering: an answer is still being made: a stream, which may call the model only when it is read.
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
    """The one in effect. A run may have ended elsewhere: an abandoned asynchronous stream."""
    retrieval_context = retrieval_in_effect.get()
    if retrieval_context is not None and retrieval_context._ended:
        retrieval_context = retrieval_context._outer
        retrieval_in_effect.set(retrieval_context)
    return retrieval_context


def begin_retrieval_context() -> RetrievalContext | None:
    """Begin one for a framework's run; ``None`` if a run around it has begun one."""
    outer = _current()
    if outer is not None and outer._lasting:
        return None
    retrieval_context = RetrievalContext(lasting=True, outer=outer)
    retrieval_in_effect.set(retrieval_context)
    return retrieval_context


def enter_retrieval_context(retrieval_context: RetrievalContext) -> None:
    """Use a run's retrieval context in a context that was copied before it began."""
    retrieval_in_effect.set(retrieval_context)


def end_retrieval_context(retrieval_context: RetrievalContext | None = None, *, answering: bool = False) -> None:
    """End the retrieval context of a framework's run.

    Args:
        retrieval_context: which; ``None`` for the one in effect.
        answering: an answer is still being made, as in `RetrievalContext.end`.
    """
    retrieval_context = retrieval_context or _current()
    if retrieval_context is not None and retrieval_context._lasting:
        retrieval_context.end(answering=answering)


def record_retrieval(source: Source, store: str, found: RetrievedDocuments | None = None) -> None:
    """Record that documents were retrieved in the running context.

    Args:
        source: which.
        store: the name of their corpus's store: changes can invalidate only answers that are stored there.
        found: what they contribute to prompts, if known.
    """
    retrieval_context = _current()
    if retrieval_context is None:
        retrieval_context = RetrievalContext(lasting=False)
        retrieval_in_effect.set(retrieval_context)
    retrieval_context.add(source, store, found)


def current_sources(store: str) -> tuple[Source, ...]:
    """The sources in a store of an answer made now in the running context."""
    retrieval_context = _current()
    return () if retrieval_context is None else retrieval_context.sources(store)


def current_texts() -> tuple[str, ...]:
    """The texts of the documents that an answer made now in the running context may be made from."""
    retrieval_context = _current()
    found = () if retrieval_context is None else retrieval_context.found()
    return tuple(text for one in found if one is not None for text in one.texts)


def current_scope() -> bytes | None:
    """Identifies the retrievers of all these documents; ``None`` if there is none, or one is not known."""
    retrieval_context = _current()
    found = () if retrieval_context is None else retrieval_context.found()
    scopes = {None if one is None else one.scope for one in found}
    if not scopes or None in scopes:
        return None
    return hashlib.sha256(b"".join(sorted(scope for scope in scopes if scope is not None))).digest()
