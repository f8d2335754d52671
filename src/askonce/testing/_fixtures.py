"""The fixtures that a tested store defines, and those that the tests use."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator

import pytest

from askonce.eviction.policy import Budget
from askonce.stores.base import LOG_LENGTH, Store
from askonce.testing.clock import FakeClock
from askonce.testing.driver import StoreDriver

TIGHT = Budget(max_bytes=16_384, max_entries=256)
"""Room for a good part of what `mixed_work` puts, on sharded stores too."""


class StoreFixtures:
    """The fixtures of ``StoreConformance``."""

    exact_eviction = True
    """Whether victims are chosen over the whole namespace; a sharded store chooses within shards."""
    trace_examples = 40
    """How many random traces each policy is given; each is some 25 calls, and as many scans."""
    work_rounds = 60
    """How many calls each concurrent worker makes on the same records."""
    scan_records = 2_500
    """How many records are read and cleared page by page: more than the store's page has."""

    # -- what a subclass defines -------------------------------------------------------------------------------

    @pytest.fixture
    def open(self) -> Callable[..., Store]:
        """A function of ``clock`` that returns a store over the same data each time it is called."""
        raise NotImplementedError("a subclass of StoreConformance defines the fixture `open`")

    @pytest.fixture
    def url(self) -> str | None:
        """For `open_store` in other processes; ``None`` where data is not shared between processes."""
        return None

    @pytest.fixture
    def log_length(self) -> int:
        """How many events are retained at least; a slow store patches its constant and returns a smaller one."""
        return LOG_LENGTH

    # -- what the tests use ----------------------------------------------------------------------------------

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def space(self) -> str:
        return uuid.uuid4().hex

    @pytest.fixture(params=["sync", "async"])
    def loop(self, request: pytest.FixtureRequest) -> Iterator[asyncio.Runner | None]:
        if request.param == "sync":
            yield None
        else:
            with asyncio.Runner() as runner:
                yield runner

    @pytest.fixture
    def store(
        self, open: Callable[..., Store], clock: FakeClock, loop: asyncio.Runner | None
    ) -> Iterator[StoreDriver]:
        driver = StoreDriver(open(clock=clock), loop)
        driver.store.check()
        yield driver
        driver.close()
        driver.store.close()
