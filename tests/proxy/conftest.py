"""Real proxies in front of an upstream of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import proxies
from tests.support.proxies import Proxy

Serve = Callable[..., Proxy]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a proxy; arguments are those of `proxies.start`."""
    running: list[Proxy] = []

    def started(upstream: str | None, *arguments: str, **more: Any) -> Proxy:
        running.append(proxies.start(upstream, *arguments, folder=tmp_path, **more))
        return running[-1]

    yield started
    for proxy in running:
        proxy.stop()
