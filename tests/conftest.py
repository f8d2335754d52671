"""What all tests share."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from askonce.provenance import retrieval_context as sources
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from askonce.totals import writer
from tests.support.environments import NEWEST_OPENAI, runs_here
from tests.support.provider import Answer, Provider, Talk

# How long an example takes is no property of what is tested: machines are slow, and busy.
settings.register_profile("tests", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """Of what the command line names, too, each environment runs its own."""
    folder = config.invocation_params.dir
    config.args = [one for one in config.args if runs_here((folder / one.partition("::")[0]).resolve())]


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return None if runs_here(collection_path) else True


def pytest_report_header() -> str:
    return f"environment: {'LangChain, newest openai' if NEWEST_OPENAI else 'LlamaIndex, openai < 3'}"


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes only when a test says so."""
    return FakeClock()


@pytest.fixture
def talk() -> Callable[[dict[str, Any]], Answer]:
    """What the provider says."""
    return Talk()


@pytest.fixture
def provider(clock: FakeClock, talk: Callable[[dict[str, Any]], Answer]) -> Iterator[Provider]:
    """The provider that the real clients of a test call."""
    with Provider(clock, answer=talk) as provider:
        yield provider


@pytest.fixture
def quick_collector() -> Iterator[None]:
    """What earlier tests left is set aside: on a busy machine the collector takes many seconds to look at it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="session")
def no_patience() -> Iterator[None]:
    """A cache that one test leaves over a store that fails would wait for it, and log, during the next one."""
    before, writer.PATIENCE_SECONDS = writer.PATIENCE_SECONDS, 0.0
    yield
    writer.PATIENCE_SECONDS = before


@pytest.fixture(autouse=True)
def no_retrieval_context() -> Iterator[None]:
    """What one test retrieves is no source of what the next one answers: they run in one context."""
    yield
    sources.retrieval_in_effect.set(None)


_with_clients_of_others: set[Any] = set()  # modules


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Asynchronous SDK clients leave sockets open that are collected during a later test: nobody is blamed."""
    tests = [item for item in items if isinstance(item, pytest.Function)]
    _with_clients_of_others.update(
        test.module
        for test in tests
        if hasattr(test.module, "Provider") or not {"provider", "openai"}.isdisjoint(test.fixturenames)
    )
    for test in tests:
        if test.module in _with_clients_of_others:
            test.add_marker(pytest.mark.filterwarnings(r"ignore:unclosed (<s|transport):ResourceWarning"))


@pytest.fixture(autouse=True, scope="module")
def clients_of_others_are_gone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Before the tests of another module, which may be blamed."""
    yield
    if request.module in _with_clients_of_others:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def event_loop_to_leave() -> Iterator[None]:
    """LlamaIndex's synchronous calls make an event loop where there is none, and leave it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
