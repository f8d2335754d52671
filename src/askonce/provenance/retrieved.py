"""Documents that were retrieved lately in this process: found again in a prompt by their texts.

So an answer has its sources wherever it is made: in another thread, in a later request that resumes a run, in plain
code. Stores and tenants are apart.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from askonce.provenance.texts import Rank, TextIndex
from askonce.stores.fork import fork_lock

_MOST_TEXTS, _MOST_TEXTS_OF_ALL = 10_000, 50_000
_MOST_OF_A_TEXT = 100
"""Documents that have the same text."""


class RetrievedDocument(msgspec.Struct, frozen=True):
    """A document that was retrieved.

    Attributes:
        corpus: the namespace of its corpus's change log.
        position: in that log, up to which the text is valid.
        ids: every id by which a change of it may be announced.
        text: what it gives to prompts.
        body: its own text alone, without metadata.
        scope: identifies the retriever with its filters: another one may return other documents; ``None`` if that
            is not known.
        moment: when it was there, on the monotonic clock: before it was looked for.
    """

    corpus: str
    position: int
    ids: tuple[str, ...]
    text: str
    body: str
    scope: bytes | None = None
    moment: float = msgspec.field(default_factory=time.monotonic)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts by which it is found in a prompt."""
        return (self.text,) if self.text == self.body else (self.text, self.body)


@dataclass(slots=True)
class _Result:
    """What one retrieval found.

    Attributes:
        moment: when it was found last.
        texts: the documents by their texts' numbers.
    """

    moment: float
    texts: list[tuple[int, list[RetrievedDocument]]] = field(default_factory=list)


_Named = dict[tuple[str, tuple[str, ...]], tuple[_Result, RetrievedDocument]]
"""Documents of one text by their corpora and ids, each as it was found last, the latest last."""


class RetrievedTexts:
    """The texts that were retrieved lately from the corpora of one store, for some tenants. Thread-safe."""

    def __init__(self) -> None:
        self._index = TextIndex()
        self._results: dict[object, _Result] = {}
        self._documents: OrderedDict[int, _Named] = OrderedDict()
        self._size = 0  # of the results
        self._lock = fork_lock()

    def __len__(self) -> int:
        return len(self._documents)

    def add(self, documents: Sequence[RetrievedDocument], result: object) -> None:
        """Add what one retrieval found. Of one document with one text the latest counts.

        Args:
            documents: what was found.
            result: identifies the stored result that they are from, whose texts need not be read twice; ``None``:
                a new one.
        """
        moment = documents[0].moment if documents else 0.0
        with self._lock:
            known = self._results.get(result)
            if known is not None:
                known.moment = moment
                for number, some in known.texts:
                    self._hold(number, some, known)
                return
        new = _Result(moment)
        by_text: dict[str, list[RetrievedDocument]] = {}
        for one in documents:
            bare = msgspec.structs.replace(one, text="", body="")
            for text in one.texts:
                by_text.setdefault(text, []).append(bare)
        with self._lock:
            for text, some in by_text.items():
                number = hash(text)
                if number not in self._documents:
                    self._documents[number] = {}
                    self._index.add(number, text)
                self._hold(number, some, new)
                new.texts.append((number, some))
            while len(self._documents) > _MOST_TEXTS:
                self._index.remove(self._documents.popitem(last=False)[0])
                self._size = _MOST_TEXTS_OF_ALL  # a result may have lost a text
            self._size += len(new.texts) + 1
            if self._size > _MOST_TEXTS_OF_ALL:
                self._results.clear()
                self._size = 0
            if result is not None:
                self._results[result] = new

    def _hold(self, number: int, documents: Iterable[RetrievedDocument], result: _Result) -> None:
        held = self._documents[number]
        for one in documents:
            held.pop((one.corpus, one.ids), None)
            held[one.corpus, one.ids] = result, one
        while len(held) > _MOST_OF_A_TEXT:
            del held[next(iter(held))]
        self._documents.move_to_end(number)

    def standing_in(
        self,
        prompt: str,
        own: Collection[RetrievedDocument],
        near: Collection[RetrievedDocument] = (),
        *,
        namespace: str = "",
        is_outdated: Callable[[RetrievedDocument], bool] = lambda _: False,
    ) -> tuple[list[RetrievedDocument], list[list[RetrievedDocument]]]:
        """The documents whose texts stand in a prompt: those of ``own``, and of each other text those it is of.

        Args:
            prompt: the prompt.
            own: documents that were found for it.
            near: documents that may have been: of one text they count, and no others.
            namespace: of the answer: of one text documents in its corpora count, if there are any.
            is_outdated: whether a document is known to have changed since.
        """
        texts, of_near = _by_text(own), _by_text(near)

        def held(numbers: Iterable[int]) -> list[RetrievedDocument]:
            found = (pair for number in numbers for pair in self._documents[number].values())
            return [msgspec.structs.replace(one, moment=result.moment) for result, one in found]

        def rank(numbers: Sequence[int]) -> Rank:
            some = held(numbers)
            is_near = any(number in of_near for number in numbers)
            return Rank(is_near, not all(map(is_outdated, some)), max(one.moment for one in some))

        standing, others = list[RetrievedDocument](), list[list[RetrievedDocument]]()
        with self._lock:
            for numbers in self._index.standing_in(prompt, texts.keys(), of_near.keys(), rank):
                shown = [one for number in numbers for one in texts.get(number, ())]
                standing += shown
                if not shown:
                    near_ones = [one for number in numbers for one in of_near.get(number, ())]
                    others.append(_chosen(near_ones, held(numbers), f"{namespace}:"))
        return standing, others


def _chosen(
    near: Sequence[RetrievedDocument], found: Sequence[RetrievedDocument], home: str
) -> list[RetrievedDocument]:
    """Of the documents that have a text those that are near, as they were found last; or all, if none is.

    Those of the namespace of the answer come first: of another one, which may be another customer's, it has its
    documents only where it has not found the text itself.
    """
    if any(one.corpus.startswith(home) for one in found):
        near, found = ([one for one in some if one.corpus.startswith(home)] for some in (near, found))
    if not near:
        return list(dict.fromkeys(found))
    by_ids = {(one.corpus, one.ids): one for one in found if one.ids}
    later = (by_ids.get((one.corpus, one.ids), one) for one in near)
    return [other if other.moment > one.moment else one for one, other in zip(near, later, strict=True)]


def _by_text(documents: Iterable[RetrievedDocument]) -> dict[int, list[RetrievedDocument]]:
    found: dict[int, list[RetrievedDocument]] = {}
    for one in documents:
        for text in one.texts:
            found.setdefault(hash(text), []).append(one)
    return found


retrieved: OrderedDict[tuple[str, tuple[str, ...]], RetrievedTexts] = OrderedDict()
"""By store and tenants, in the order of their last retrievals."""
_lock = fork_lock()


def remember(
    documents: Sequence[RetrievedDocument], store: str, tenants: tuple[str, ...], result: object = None
) -> None:
    """Add what one retrieval found in a store for some tenants; ``result`` as in `RetrievedTexts.add`."""
    with _lock:
        texts = retrieved.setdefault((store, tenants), RetrievedTexts())
        retrieved.move_to_end((store, tenants))
    before = len(texts)
    texts.add(documents, result)
    if len(texts) > before and len(retrieved) > 1:
        with _lock:
            while len(retrieved) > 1 and sum(len(one) for one in retrieved.values()) > _MOST_TEXTS_OF_ALL:
                retrieved.popitem(last=False)
