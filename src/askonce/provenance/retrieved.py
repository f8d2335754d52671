"""Documents that were retrieved lately in this process: found again in a prompt by their texts.

So an answer has its sources wherever it is made: in another thread, in a later request that resumes a run, in plain
code. Stores and tenants are apart.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from askonce.provenance.texts import TextIndex
from askonce.stores.fork import fork_lock

_MOST_TEXTS, _MOST_TEXTS_OF_ALL = 10_000, 50_000


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
        texts: the documents by their corpora and texts' numbers.
    """

    moment: float
    texts: list[tuple[int, str, tuple[RetrievedDocument, ...]]] = field(default_factory=list)


class RetrievedTexts:
    """The texts that were retrieved lately from the corpora of one store, for some tenants. Thread-safe."""

    def __init__(self) -> None:
        self._index = TextIndex()
        self._results: dict[object, _Result] = {}
        self._documents: OrderedDict[int, dict[str, tuple[_Result, tuple[RetrievedDocument, ...]]]] = OrderedDict()
        self._size = 0  # of the results
        self._lock = fork_lock()

    def __len__(self) -> int:
        return len(self._documents)

    def add(self, documents: Sequence[RetrievedDocument], result: object) -> None:
        """Add what one retrieval found. Of documents of one text and corpus the latest count.

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
                for number, corpus, those in known.texts:
                    self._documents[number][corpus] = known, those
                    self._documents.move_to_end(number)
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
                held = self._documents.get(number)
                if held is None:
                    held = self._documents[number] = {}
                    self._index.add(number, text)
                else:
                    self._documents.move_to_end(number)
                held[some[0].corpus] = new, tuple(some)
                new.texts.append((number, some[0].corpus, tuple(some)))
            while len(self._documents) > _MOST_TEXTS:
                self._index.remove(self._documents.popitem(last=False)[0])
                self._size = _MOST_TEXTS_OF_ALL  # a result may have lost a text
            self._size += len(new.texts) + 1
            if self._size > _MOST_TEXTS_OF_ALL:
                self._results.clear()
                self._size = 0
            if result is not None:
                self._results[result] = new

    def standing_in(
        self, prompt: str, own: Collection[RetrievedDocument], near: Collection[RetrievedDocument] = ()
    ) -> tuple[list[RetrievedDocument], list[list[RetrievedDocument]]]:
        """The documents whose texts stand in a prompt: those of ``own``, and of each other text those it is of.

        Args:
            prompt: the prompt.
            own: documents that were found for it.
            near: documents that may have been: of one text they count, and no others.
        """
        texts, of_near = _by_text(own), _by_text(near)
        with self._lock:
            standing = self._index.standing_in(prompt, texts.keys())
            others = [
                _chosen(of_near.get(number, ()), self._documents[number].values())
                for number in standing
                if number not in texts
            ]
        return [one for number in standing for one in texts.get(number, ())], others


def _chosen(
    near: Sequence[RetrievedDocument], found: Iterable[tuple[_Result, tuple[RetrievedDocument, ...]]]
) -> list[RetrievedDocument]:
    """Of the documents that have a text those that are near, as they were found last; or all, if none is."""
    last = [msgspec.structs.replace(one, moment=result.moment) for result, some in found for one in some]
    if not near:
        return last
    by_ids = {(one.corpus, one.ids): one for one in last if one.ids}
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
