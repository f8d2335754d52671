"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from askonce import sources
from askonce.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes only when a test says so."""
    return FakeClock()


@pytest.fixture(autouse=True)
def no_trail() -> Iterator[None]:
    """What one test retrieves is no source of what the next one answers: they run in one context."""
    yield
    sources._trail.set(None)
