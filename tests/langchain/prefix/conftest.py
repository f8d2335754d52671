"""The provider says one sentence, and reports what its caches did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.provider import Answer


@pytest.fixture
def talk() -> Callable[[dict[str, Any]], Answer]:
    return lambda request: Answer()
