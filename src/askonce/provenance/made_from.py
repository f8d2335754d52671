"""The documents that an answer is made from.

They are those whose texts stand in its prompt, wherever they were retrieved, also in the same thread outside any
run; and those that were retrieved in its own run, or in one that ended in a run around it, of which no prompt
shows anything: a tool may have passed on a summary. What an earlier answer of the run was made from counts where
that answer stands in the prompt.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from askonce.entries.entry import Source
from askonce.keys.normal_form import NormalForm
from askonce.provenance.retrieval_context import Answered, RetrievalContext, around
from askonce.provenance.retrieved import RetrievedDocument, RetrievedTexts
from askonce.provenance.texts import TextIndex

logger = logging.getLogger("askonce")

_FEWEST_WORDS = 3
"""A shorter text of an answer may stand in any prompt."""
_NO_PROMPT = frozenset({"version", "kind", "model", "call", "tools"})
_NO_TEXTS = frozenset({"role", "type", "id", "name", "status", "answers"})


class Found(NamedTuple):
    """What an answer is made from.

    Attributes:
        sources: for each corpus and each position, all documents.
        scope: identifies the retrievers of all these documents; ``None`` if there is none, or one is not known.
        moments: ids of documents, and when those were there, on the monotonic clock.
    """

    sources: tuple[Source, ...]
    scope: bytes | None
    moments: tuple[tuple[tuple[str, ...], float], ...]


class MadeFrom:
    """What an answer is made from, found out when it is first needed.

    Args:
        retrieval_context: in which it is made.
        texts: what else was retrieved lately.
        store: the name of the store where the answer will be.
        form: makes the request's normal form.
        namespace: of the answer.
        has_changed: whether documents that were found are known to have changed since.
        was_deleted: whether what is made from a document, by its ids, was deleted since it was found, at a moment
            of the monotonic clock.
    """

    def __init__(
        self,
        retrieval_context: RetrievalContext | None,
        texts: RetrievedTexts | None,
        store: str,
        form: Callable[[], NormalForm],
        namespace: str = "",
        has_changed: Callable[[Source], bool] = lambda _: False,
        was_deleted: Callable[[tuple[str, ...], float], bool] = lambda _ids, _moment: False,
    ) -> None:
        self._contexts = list(around(retrieval_context))
        self._texts, self._store, self._form = texts, store, form
        self._namespace, self._has_changed, self._was_deleted = namespace, has_changed, was_deleted
        self._stands: tuple[list[RetrievedDocument], list[list[RetrievedDocument]]] | None = None
        self._found: Found | None = None
        self._began = time.monotonic()

    @property
    def found(self) -> Found:
        """What it is."""
        if self._found is None:
            self._found = self._find()
        return self._found

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of `found`."""
        return self.found.sources

    @property
    def scope(self) -> bytes | None:
        """The scope of `found`."""
        return self.found.scope

    def answered(self, payload: bytes, sources: tuple[Source, ...]) -> None:
        """Record for later answers of the same run that the request was answered."""
        if self._contexts:
            moments = () if self._found is None else self._found.moments
            since = min((moment for _, moment in moments), default=self._began)
            self._contexts[0].answered(Answered(payload, sources, since), self._store, self._shown)

    def _shown(self) -> list[RetrievedDocument]:
        """The documents of the running context that the prompt shows."""
        return self._standing()[0]

    def _standing(self) -> tuple[list[RetrievedDocument], list[list[RetrievedDocument]]]:
        if self._stands is not None or self._texts is None:
            return self._stands or ([], [])
        own = [document for one in self._contexts if one.is_run for document, _ in one.documents(self._store)]
        # Who runs in a thread, or is called in a context, need not have to do with what was retrieved there before.
        outside = [one for one in self._contexts if not one.is_run]
        near = [document for one in outside for document, _ in one.documents(self._store)]
        near = [one for one in near if not self._is_outdated(one)]
        self._stands = self._texts.standing_in(
            self._prompt(), own, near, namespace=self._namespace, is_outdated=self._is_outdated
        )
        return self._stands

    def _is_outdated(self, one: RetrievedDocument) -> bool:
        source = Source(one.corpus, one.position, one.ids, any_change=not one.ids)
        return self._has_changed(source) or self._was_deleted(one.ids, one.moment)

    def _current(self, documents: list[RetrievedDocument]) -> list[RetrievedDocument]:
        """Documents of one text without those that have changed since, where it was found again later."""
        if len(documents) < 2:
            return documents
        outdated = [self._is_outdated(one) for one in documents]
        since = max(
            (one.moment for one, is_outdated in zip(documents, outdated, strict=True) if not is_outdated),
            default=0.0,
        )
        return [
            one
            for one, is_outdated in zip(documents, outdated, strict=True)
            if not is_outdated or one.moment >= since
        ]

    def _prompt(self) -> str:
        try:
            body = self._form().body
        except Exception:  # whatever it is, the answer is there and must reach its caller
            logger.warning("askonce: a prompt cannot be read, so its documents are not known", exc_info=True)
            return ""
        return "\n".join(_strings({name: part for name, part in body.items() if name not in _NO_PROMPT}))

    def _find(self) -> Found:
        standing, others = self._standing()
        in_runs = [held for one in self._contexts if one.is_run for held in one.documents(self._store)]
        unseen = [document for document, shown in in_runs if not shown]
        of_text: dict[object, list[RetrievedDocument]] = {}
        for document in _latest(list(dict.fromkeys((*standing, *unseen)))):
            of_text.setdefault(document.text or document, []).append(document)
        made_from = [one for some in (*of_text.values(), *others) for one in self._current(some)]
        made_from = _latest(list(dict.fromkeys(made_from)))
        answers = self._standing_answers()
        moments = [(one.ids, one.moment) for one in made_from]
        moments += [(source.ids, answer.moment) for answer in answers for source in answer.sources]
        sources = _sources(made_from, (source for answer in answers for source in answer.sources))
        return Found(sources, _scope(made_from), tuple(dict.fromkeys(moments)))

    def _standing_answers(self) -> list[Answered]:
        """The earlier answers of the run that stand in the prompt."""
        answers = [answer for one in self._contexts if one.is_run for answer in one.answers()]
        if not answers:
            return []
        index = TextIndex()
        texts = [(text, one) for one in answers for text in _texts(one.payload)]
        for number, (text, _) in enumerate(texts):
            index.add(number, text)
        return [texts[number][1] for numbers in index.standing_in(self._prompt()) for number in numbers]


def _latest(documents: list[RetrievedDocument]) -> list[RetrievedDocument]:
    """Of a document that was found several times with the same text, the last: there it still had that text.

    So what was retrieved outside the run, before the document was written again, makes no answer outdated.
    """
    last: dict[tuple[object, ...], tuple[int, float]] = {}
    for one in documents:
        if one.ids and one.text:  # of those of other requests only the words are known
            last[_version(one)] = max(last.get(_version(one), _when(one)), _when(one))
    return [one for one in documents if last.get(_version(one), _when(one)) == _when(one)]


def _when(one: RetrievedDocument) -> tuple[int, float]:
    return one.position, one.moment


def _scope(documents: list[RetrievedDocument]) -> bytes | None:
    scopes = {one.scope for one in documents}
    if not scopes or None in scopes:
        return None
    return hashlib.sha256(b"".join(sorted(scope for scope in scopes if scope is not None))).digest()


def _version(one: RetrievedDocument) -> tuple[object, ...]:
    return one.corpus, one.ids, one.text, one.body


def _sources(documents: Iterable[RetrievedDocument], more: Iterable[Source]) -> tuple[Source, ...]:
    ids: dict[tuple[str, int, bool], dict[str, None]] = {}
    for one in documents:
        ids.setdefault((one.corpus, one.position, not one.ids), {}).update(dict.fromkeys(one.ids))
    for source in more:
        place = source.corpus, source.position, source.any_change
        ids.setdefault(place, {}).update(dict.fromkeys(source.ids))
    return tuple(
        Source(corpus, position, tuple(its), any_change=any_change)
        for (corpus, position, any_change), its in ids.items()
    )


def _texts(payload: bytes) -> list[str]:
    try:
        plain = msgspec.msgpack.decode(payload)
    except msgspec.DecodeError:
        return []
    return [one for one in _strings(plain) if len(one.split()) >= _FEWEST_WORDS]


def _strings(value: Any) -> Iterator[str]:
    """The texts in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name not in _NO_TEXTS:
                yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
