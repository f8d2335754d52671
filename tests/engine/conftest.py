"""Sync and async callers of a cache."""

from collections.abc import Callable
from typing import Any

import pytest

from askonce import Cache
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support.application import Asker, Both


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def both(request: pytest.FixtureRequest, store: MemoryStore, clock: FakeClock) -> Callable[..., Both]:
    def make(**options: Any) -> Both:
        return Both(Asker(Cache(store, clock=clock, **options)), request.param)

    return make
