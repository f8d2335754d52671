"""A proxy for all clients of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clients import Proxied, proxied


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with proxied(tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy
