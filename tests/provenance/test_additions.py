"""Additions with vectors concern only the retrievals of near questions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce import Cache, ConfigError
from askonce.changelog.journal import Journal
from askonce.entries.entry import Near, Source
from askonce.provenance.additions import AddedVectors, Additions, added_vectors, near, rows_of, similarity
from askonce.provenance.changes import Change, Changes, ChangesPage
from askonce.retrieval.corpus import Corpus
from askonce.stores.memory import MemoryStore

numbers = st.floats(-10, 10, width=32)
vector = st.lists(numbers, min_size=3, max_size=3).filter(lambda one: float(np.linalg.norm(one)) > 1e-3)


ADDED = Change(added=True)
several = st.lists(vector, min_size=1, max_size=5)


def event(rows: Any) -> Change:
    return Change(added=True, vectors=added_vectors(rows))


def cosines(question: list[float], rows: list[list[float]]) -> np.ndarray:
    target, matrix = np.asarray(question, np.float64), np.asarray(rows, np.float64)
    found: np.ndarray = matrix @ target / np.linalg.norm(matrix, axis=1) / np.linalg.norm(target)
    return found


@given(
    vector, st.lists(vector, min_size=1, max_size=5), st.lists(vector, min_size=1, max_size=5), st.floats(0, 0.5)
)
def test_an_addition_concerns_exactly_the_retrievals_that_would_find_it(
    question: list[float], found: list[list[float]], added: list[list[float]], margin: float
) -> None:
    least = similarity(question, found, cosine=True)
    nearness = near(question, least, margin)
    changes = Changes()
    changes.learn(0, ChangesPage([(1, event([found[0]])), (2, event(added))], 2))
    concerned = changes.concern(Source("c", 1, ("a",), whole=True, near=nearness))
    excess = cosines(question, added).max() - cosines(question, found).min() + margin
    assert concerned or excess < 1e-6
    assert not concerned or excess > -0.002
    assert not changes.concern(Source("c", 2, ("a",), whole=True, near=nearness))
    assert not changes.concern(Source("c", 1, ("a",)))  # an answer


def test_unknown_vectors_count_as_near() -> None:
    changes = Changes()
    changes.learn(0, ChangesPage([(1, event([[1.0, 0.0]])), (2, event([[0.0, 1.0]]))], 2))
    nearness = near([1.0, 0.0], 0.5, 0.0)
    assert not changes.concern(Source("c", 1, (), whole=True, near=nearness))
    assert changes.concern(Source("c", 1, (), whole=True))
    assert changes.concern(Source("c", 1, (), whole=True, near=near([1.0, 0.0, 0.0], 0.5, 0.0)))
    assert changes.concern(Source("c", 1, (), whole=True, any_change=True, near=nearness))
    assert changes.concern(Source("c", 0, (), whole=True, near=nearness))
    changes.learn(2, ChangesPage([(3, ADDED)], 3))
    assert changes.concern(Source("c", 2, (), whole=True, near=nearness))
    changes.learn(
        3,
        ChangesPage([(4, event([[0.0, 1.0, 0.0]])), (5, Change(added=True, vectors=AddedVectors(3, b"12345")))], 5),
    )
    assert changes.concern(Source("c", 3, (), whole=True, near=nearness))
    assert changes.concern(Source("c", 4, (), whole=True, near=nearness))


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_a_question_without_a_last_score_is_near_to_everything(score: float | None) -> None:
    assert near([1.0, 0.0], score, 0.0) is None
    assert near([0.0, 0.0], 0.5, 0.0) is None


def test_other_measures_than_the_cosine_need_vectors_of_length_one() -> None:
    assert similarity([1.0, 0.0], [[0.6, 0.8], [0.8, 0.6]], cosine=False) == pytest.approx(0.6)
    assert similarity([1.0, 0.0], [[0.6, 0.8], [8.0, 6.0]], cosine=False) is None
    assert similarity([2.0, 0.0], [[0.6, 0.8]], cosine=False) is None
    assert similarity([1.0, 0.0], [], cosine=True) is None


def test_unusable_vectors_are_left_out_of_the_event() -> None:
    assert event([]) == event([[]]) == ADDED
    assert event([[0.0, 0.0]]) == event([[float("nan"), 1.0]]) == ADDED
    assert event(np.ones((300, 1000))) == ADDED
    vectors = added_vectors(np.ones((200, 1000)))  # type: ignore[arg-type]
    assert vectors is not None and rows_of(vectors).shape == (200, 1000)
    for wrong in ([1.0, 2.0], [[1.0], [1.0, 2.0]], [["x"]]):
        with pytest.raises(ConfigError, match="embeddings"):
            event(wrong)


def test_the_oldest_vectors_are_dropped_and_entries_as_old_are_outdated() -> None:
    additions = Additions()
    far = near([1.0] + [0.0] * 999, 0.5, 0.0)
    rows = np.zeros((100, 1000), np.float32)
    rows[:, 1] = 1.0
    for sequence in range(1, 101):
        additions.add(sequence, rows)
        assert not additions.concern(far, max(sequence - 5, 0))
    assert 0 < additions.known_from < 95
    assert additions.concern(far, additions.known_from - 1)
    assert not additions.concern(far, additions.known_from)
    assert additions.concern(Near(b"", 0.5), 99)


async def test_a_corpus_publishes_additions_with_their_embeddings() -> None:
    corpus = Corpus(Cache(MemoryStore()), near_margin=0.1)
    corpus.added([[1.0, 0.0]])
    await corpus.aadded(np.eye(2))  # type: ignore[arg-type]
    corpus.added()
    journal = Journal(corpus.cache.engine.codec, corpus.log)
    changes = [journal.read(one, Change) for _, one in corpus.cache.store.log_read(corpus.log, 0).events]
    assert [one.vectors is None for one in changes] == [False, False, True]
    with pytest.raises(ConfigError, match="near_margin"):
        Corpus(Cache(MemoryStore()), near_margin=-0.1)
