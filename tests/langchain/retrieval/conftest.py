"""The words that were embedded."""

from __future__ import annotations

import pytest

from tests.langchain.retrieval.library import Words


@pytest.fixture(autouse=True)
def words() -> list[str]:
    Words.embedded.clear()
    return Words.embedded
