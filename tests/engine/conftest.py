"""Sync and async callers of a cache."""

from collections.abc import Callable
from typing import Any

import pytest

from askonce import Cache
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support.application import Application, Both


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def both(request: pytest.FixtureRequest, store: MemoryStore, clock: FakeClock) -> Callable[..., Both]:
    def make(**options: Any) -> Both:
        return Both(Application(Cache(store, clock=clock, **options)), request.param)

    return make
