"""The documents that were retrieved in the running context, for the answers made from them.

An adapter begins a `RetrievalContext` for each run of its framework (a chain, a tool, a query engine, an agent),
with that of the run around it as its outer one. It is carried by a context variable, so that a retriever deep
inside and a model called later share it. Outside any run, the first retrieval begins a context, and the first one
after an answer another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from itertools import islice

import msgspec

from askonce.entries.entry import Source
from askonce.provenance.retrieved import RetrievedDocument, remember
from askonce.stores.fork import fork_lock

_MOST_DOCUMENTS = 1000
"""The most documents that a context holds, from the latest retrievals."""
_MOST_ANSWERS = 100


_reading = fork_lock()
"""Held while prompts are read: by one thread at a time, since a run's are read with those of the runs around it."""

_Name = tuple[str, str, tuple[str, ...]]
"""Of a document in a context: store, corpus, and its ids, or its text if it has none."""
_Held = tuple[RetrievedDocument, bool]
"""A document, and whether a prompt showed it."""


class Answered(msgspec.Struct, frozen=True):
    """An answer of a run: its entry's payload, what it was made from, and when that was there."""

    payload: bytes
    sources: tuple[Source, ...]
    moment: float = msgspec.field(default_factory=time.monotonic)


class RetrievalContext:
    """What was retrieved, and what was answered. Thread-safe.

    Args:
        is_run: a framework's run begins and ends it; otherwise a retrieval after an answer clears it.
        outer: the context of the code that started the run.
        is_tool: what it returns may show nothing of what it was made from.
        caller: identifies the code that started the run: another run that it starts is not part of this one.
    """

    def __init__(
        self,
        *,
        is_run: bool = True,
        outer: RetrievalContext | None = None,
        is_tool: bool = False,
        caller: object = None,
    ) -> None:
        self.is_run, self.outer, self.caller = is_run, outer, caller
        self._is_tool = is_tool
        self._lock = fork_lock()  # the garbage collector ends streams at any moment of this thread
        self._documents: dict[_Name, _Held] = {}
        self._answers: list[Answered] = []
        self._unread: list[tuple[str, Callable[[], Iterable[RetrievedDocument]]]] = []
        self._is_being_read = False
        self._answered = False
        self.ended = False

    def add(self, documents: Sequence[RetrievedDocument], store: str) -> None:
        """Record that documents of a corpus in a store were retrieved."""
        with self._lock:
            if self._answered and not self.is_run:
                self._documents.clear()
            self._answered = False
            for one in documents:
                name = store, one.corpus, one.ids or (one.text,)
                self._documents.pop(name, None)  # of one document, what was found last counts
                self._documents[name] = one, False
            self._bound()

    def _bound(self) -> None:
        for name in list(islice(self._documents, max(len(self._documents) - _MOST_DOCUMENTS, 0))):
            del self._documents[name]
        del self._answers[:-_MOST_ANSWERS]

    def documents(self, store: str | None = None) -> list[_Held]:
        """What was retrieved from a store, or from all; and whether a prompt showed it."""
        with _reading:  # what another thread is looking at counts as it will be
            if not self._is_being_read:
                self._is_being_read = True  # to see what a prompt shows takes the documents, too
                try:
                    self._read()
                finally:
                    self._is_being_read = False
        with self._lock:
            return [held for name, held in self._documents.items() if store in (None, name[0])]

    def _read(self) -> None:
        with self._lock:
            unread = list(self._unread)
        for place, shown in unread:
            documents = set(shown())
            with self._lock:
                for name, (one, _) in self._documents.items():
                    if name[0] == place and one in documents:
                        self._documents[name] = one, True
        with self._lock:
            del self._unread[: len(unread)]  # only now: a run that ends meanwhile passes them on

    def answers(self) -> list[Answered]:
        """The answers of the run."""
        with self._lock:
            return list(self._answers)

    def answered(self, answer: Answered, store: str, shown: Callable[[], Iterable[RetrievedDocument]]) -> None:
        """Record an answer, of which the prompt showed documents of a store; which they are, is found out later."""
        with self._lock:
            self._answered = True
            if self.is_run and answer.sources:
                self._answers.append(answer)
        for one in around(self):
            if not one.is_run:
                with one._lock:
                    one._answered = True
                return
            with one._lock:
                one._unread.append((store, shown))
                is_long = len(one._unread) > _MOST_ANSWERS
            if is_long:
                one.documents()
            if one._is_tool:  # around it, what it returns need not show what it was shown
                return

    def end(self) -> None:
        """End the run. What was retrieved and answered in it passes to the run around it, if there is one."""
        with self._lock:
            if self.ended:
                return
            self.ended = True
            documents, answers = dict(self._documents), list(self._answers)
            unread = [] if self._is_tool else list(self._unread)
        outer = self.outer
        if outer is not None and outer.is_run:
            with outer._lock:
                for name, (one, shown) in documents.items():
                    outer._documents[name] = one, shown and not self._is_tool
                outer._answers += answers
                outer._unread += unread  # it may have read them before it had these documents
                outer._bound()


retrieval_in_effect: ContextVar[RetrievalContext | None] = ContextVar("askonce_retrieval", default=None)
"""What was retrieved in the running context; ``None`` for nothing."""


def current_retrieval_context() -> RetrievalContext | None:
    """The one in effect. A run may have ended elsewhere: an abandoned asynchronous stream."""
    one = retrieval_in_effect.get()
    if one is not None and one.ended:
        while one is not None and one.ended:
            one = one.outer
        retrieval_in_effect.set(one)
    return one


def begin_retrieval_context(
    outer: RetrievalContext | None, *, is_tool: bool = False, caller: object = None
) -> RetrievalContext:
    """Begin one for a framework's run, and use it in the running context."""
    one = RetrievalContext(outer=outer, is_tool=is_tool, caller=caller)
    retrieval_in_effect.set(one)
    return one


def enter_retrieval_context(retrieval_context: RetrievalContext | None) -> None:
    """Use a run's retrieval context in a context that was copied before it began."""
    retrieval_in_effect.set(retrieval_context)


def leave_to_stream(run: RetrievalContext) -> None:
    """What a run retrieved stays in effect after it, for the prompt of the stream that it returned."""
    outer = current_retrieval_context()
    if outer is None or not outer.is_run:
        one = RetrievalContext(is_run=False)
        one._documents = dict(run._documents)
        retrieval_in_effect.set(one)


def record_retrieval(
    documents: Sequence[RetrievedDocument], store: str, tenants: tuple[str, ...], result: object = None
) -> None:
    """Record that documents were retrieved in the running context.

    Args:
        documents: which.
        store: the name of their corpus's store: changes can invalidate only answers that are stored there.
        tenants: for whom.
        result: identifies the stored result that they are from; ``None``: a new one.
    """
    one = current_retrieval_context()
    if one is None:
        one = RetrievalContext(is_run=False)
        retrieval_in_effect.set(one)
    one.add(documents, store)
    remember(documents, store, tenants, result)


def current_texts() -> tuple[str, ...]:
    """The texts of the documents that an answer made now in the running context may be made from."""
    return tuple(one.text for outer in around(current_retrieval_context()) for one, _ in outer.documents())


def around(one: RetrievalContext | None) -> Iterator[RetrievalContext]:
    """A context, and all around it."""
    while one is not None:
        yield one
        one = one.outer
