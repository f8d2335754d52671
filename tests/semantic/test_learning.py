"""What a fresh answer teaches, and in which order."""

from __future__ import annotations

import pytest

from askonce.entries.entry import Entry, SemanticEntry
from askonce.semantic.decision.decision import Decision
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.learning.learning import Learning, TrainingExample
from askonce.semantic.types import Comparison, IndexedQuery, Question
from tests.semantic.faq import embed


class _Index:
    """Records which questions were indexed."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, query: IndexedQuery, vector: object) -> None:
        self.texts.append(query.text)


class _Entries:
    def get(self, namespace: str, key: bytes) -> Entry:
        return _entry("indexed before")


def _entry(text: str) -> Entry:
    return Entry(b"", 0.0, semantic=SemanticEntry(text, b"p" * 16, b"", "words", f"about {text}"))


def _example(text: str, action: str = "miss") -> TrainingExample:
    near = IndexedQuery(b"k", b"k", "n", b"p" * 16, "indexed before")
    decision = Decision(action, "doubtful", near, features=embed(text)[:23])  # type: ignore[arg-type]
    vector = embed(text).astype("float32")
    return TrainingExample("n", text.encode(), Question(text, b"p" * 16), vector, decision, _entry(text), text)


def test_questions_are_indexed_before_any_is_judged_and_audits_are_judged_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("askonce.semantic.learning.learning._MOST_WAITING", 2)
    index, judged = _Index(), []

    def judge(comparison: Comparison) -> None:
        judged.append((comparison.question, len(index.texts)))

    learning = Learning(DecisionRule(0.01), index, judge, None, _Entries())  # type: ignore[arg-type]
    for text in ("one", "two", "three"):
        learning.add(_example(text))
    learning.add(_example("audit", "audit"))
    learning.step()
    assert judged == [("audit", 4), ("one", 4), ("two", 4)] and learning.dropped == 1
