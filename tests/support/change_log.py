"""The change log of a corpus, read as a store holds it."""

from __future__ import annotations

from askonce import Corpus
from askonce.changelog.journal import Journal
from askonce.provenance.changes import Change


def changes_of(corpus: Corpus) -> list[Change]:
    journal = Journal(corpus.cache.engine.codec, corpus.log)
    return [journal.read(event, Change) for _, event in corpus.cache.store.log_read(corpus.log, 0, 100_000).events]


def shown(change: Change) -> str:
    """``[`` a write begins, ``]`` it has ended, ``*`` any document or the ids, ``+`` an addition."""
    ids = "*" if change.ids is None else ",".join(change.ids)
    return "[" * bool(change.begins) + ids + "+" * change.added + "]" * bool(change.ends)
