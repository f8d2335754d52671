"""What the tests of known faults share: a provider on this machine, and a cache."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache

from askonce import Cache
from tests.support.provider import Provider

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    # LlamaIndex looks whether LangChain is there, and langchain-community says that it is being sunset.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("llama_index.core.bridge.langchain")


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


@pytest.fixture
def cache(url: str) -> Iterator[Cache]:
    with Cache(url) as cache:
        yield cache


@pytest.fixture(autouse=True)
def no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)
