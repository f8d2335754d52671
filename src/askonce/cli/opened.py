"""The store that a command reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from askonce.errors import ConfigError
from askonce.stores import Store, default_url, open_store

_TIMEOUT_SECONDS = 5.0


@contextmanager
def opened(url: str | None) -> Iterator[Store]:
    """Open a store that exists already; ``None`` for the default one.

    Raises:
        ConfigError: there is no such file, or the URL is wrong.
    """
    url = default_url() if url is None else url
    scheme, _, path = url.partition(":///")
    if scheme.lower() == "sqlite" and path and not Path(path).is_file():
        raise ConfigError(f"there is no store in {path}: give the store of the application with --store URL")
    store = open_store(url, timeout_seconds=_TIMEOUT_SECONDS)
    try:
        yield store
    finally:
        store.close()
