"""What must hold of a store whose records somebody else has damaged."""

from __future__ import annotations

from collections.abc import Callable

from askonce import Cache
from tests.support.application import Application


def answers_anew(cache: Cache, damage: Callable[[], object]) -> None:
    """See that damaged answers are misses, are written anew, and are evicted like others.

    Args:
        cache: an empty one of at most ten entries.
        damage: damages all records that are stored.
    """
    application = Application(cache)
    questions = [f"question {number}" for number in range(6)]
    for question in questions:
        application.answer(question)
    cache.flush()
    damage()
    for question in questions:
        assert application.answer(question).endswith(f"{question}!")
    for question in questions:
        assert application.answer(question) == f"exact: {question}!"
    for number in range(12):  # evicts
        application.answer(f"another {number}")
    cache.flush()
    assert 0 < len(list(cache.entries())) <= 10
    assert cache.stats().store == "up"
