"""The documents that an answer is made from.

They are those whose texts stand in its prompt, wherever they were retrieved, and those that were retrieved in its
own run, or in one that ended in a run around it, of which no prompt shows anything: a tool may have passed on a
summary. What an earlier answer of the run was made from counts where that answer stands in the prompt.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

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


class MadeFrom:
    """What an answer is made from, found out when it is first needed.

    Args:
        retrieval_context: in which it is made.
        texts: what else was retrieved lately.
        store: the name of the store where the answer will be.
        form: makes the request's normal form.
    """

    def __init__(
        self,
        retrieval_context: RetrievalContext | None,
        texts: RetrievedTexts | None,
        store: str,
        form: Callable[[], NormalForm],
    ) -> None:
        self._contexts = list(around(retrieval_context))
        self._texts, self._store, self._form = texts, store, form
        self._stands: tuple[list[RetrievedDocument], list[RetrievedDocument]] | None = None
        self._found: tuple[tuple[Source, ...], bytes | None] | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """For each corpus and each position, all documents."""
        if self._found is None:
            self._found = self._find()
        return self._found[0]

    @property
    def scope(self) -> bytes | None:
        """Identifies the retrievers of all these documents; ``None`` if there is none, or one is not known."""
        if self._found is None:
            self._found = self._find()
        return self._found[1]

    def answered(self, payload: bytes, sources: tuple[Source, ...]) -> None:
        """Record for later answers of the same run that the request was answered."""
        if self._contexts:
            self._contexts[0].answered(Answered(payload, sources), self._store, self._shown)

    def _shown(self) -> list[RetrievedDocument]:
        """The documents of the running context that the prompt shows."""
        return self._standing()[0]

    def _standing(self) -> tuple[list[RetrievedDocument], list[RetrievedDocument]]:
        if self._stands is not None or self._texts is None:
            return self._stands or ([], [])
        own = [document for one in self._contexts for document, _ in one.documents(self._store)]
        self._stands = self._texts.standing_in(self._prompt(), own)
        return self._stands

    def _prompt(self) -> str:
        try:
            body = self._form().body
        except Exception:  # whatever it is, the answer is there and must reach its caller
            logger.warning("askonce: a prompt cannot be read, so its documents are not known", exc_info=True)
            return ""
        return "\n".join(_strings({name: part for name, part in body.items() if name not in _NO_PROMPT}))

    def _find(self) -> tuple[tuple[Source, ...], bytes | None]:
        standing, others = self._standing()
        in_runs = [held for one in self._contexts if one.is_run for held in one.documents(self._store)]
        unseen = [document for document, shown in in_runs if not shown]
        made_from = list(dict.fromkeys((*standing, *unseen, *others)))
        found = _sources(_latest(made_from), self._sources_of_answers())
        scopes = {one.scope for one in made_from}
        if not scopes or None in scopes:
            return found, None
        return found, hashlib.sha256(b"".join(sorted(scope for scope in scopes if scope is not None))).digest()

    def _sources_of_answers(self) -> list[Source]:
        """What earlier answers of the run were made from that stand in the prompt."""
        answers = [answer for one in self._contexts if one.is_run for answer in one.answers()]
        if not answers:
            return []
        index = TextIndex()
        texts = [(text, one) for one in answers for text in _texts(one.payload)]
        for number, (text, _) in enumerate(texts):
            index.add(number, text)
        standing = index.standing_in(self._prompt(), ())
        return [source for number in standing for source in texts[number][1].sources]


def _latest(documents: list[RetrievedDocument]) -> list[RetrievedDocument]:
    """Of a document that was found several times with the same text, the last: there it still had that text.

    So what was retrieved outside the run, before the document was written again, makes no answer outdated.
    """
    last: dict[tuple[object, ...], int] = {}
    for one in documents:
        if one.ids and one.text:  # of those of other requests only the words are known
            last[_version(one)] = max(last.get(_version(one), one.position), one.position)
    return [one for one in documents if last.get(_version(one), one.position) == one.position]


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
