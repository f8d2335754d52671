"""Real stores for commands, and an application that filled one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from askonce import Cache, cache_options
from askonce.cli.app import app
from askonce.stores import open_store
from tests.support import servers

Run = Callable[..., Any]
NAMES = ["sqlite", "redis-8.2", "redis-cluster", "mongodb"]


@pytest.fixture(autouse=True)
def _no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASKONCE_STORE", "ASKONCE_ENCRYPTION_KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture(params=NAMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cache.db'}"
    if reason := servers.available(request.param):
        pytest.skip(reason)
    return servers.start(request.param).url


@pytest.fixture
def namespace(url: str) -> Iterator[str]:
    name = f"cli{uuid.uuid4().hex[:12]}"
    yield name
    if url.startswith("sqlite"):
        return
    store = open_store(url, timeout_seconds=20)
    store.erase({one: None for one in store.namespaces() if one.startswith(name)})
    store.close()


@pytest.fixture
def run(url: str, namespace: str) -> Run:
    """Runs a command on the store."""

    def run(*arguments: str, input: str | None = None) -> Any:
        own = () if arguments[0] in ("bench", "import") else ("--namespace", namespace)
        return CliRunner().invoke(app, [*arguments, "--store", url, *own], input=input)

    return run


@pytest.fixture
def cache(url: str, namespace: str) -> Iterator[Cache]:
    with Cache(url, namespace=namespace, timeout_seconds=20, store_requests=True) as cache:
        yield cache


def in_tenant(name: str) -> cache_options:
    return cache_options(namespace=name)
