"""What all tests share."""

from __future__ import annotations

import pytest

from askonce.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes only when a test says so."""
    return FakeClock()
