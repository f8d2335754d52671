"""What the tests of known faults share: providers on this machine, and the two ways to cache a LangChain model."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache

from askonce import Cache
from askonce.langchain import AskOnceCache, cached
from tests.support.provider import Provider

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    # LlamaIndex looks whether LangChain is there, and langchain-community says that it is being sunset.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("llama_index.core.bridge.langchain")

Keep = Callable[[Any], Any]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def other_provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


@pytest.fixture
def cache(url: str) -> Iterator[Cache]:
    with Cache(url) as cache:
        yield cache


@pytest.fixture(params=["cached", "set_llm_cache"])
def keep(request: pytest.FixtureRequest, cache: Cache) -> Keep:
    """Has a model's answers kept, by each of the two ways."""
    if request.param == "cached":
        return lambda model: cached(model, cache)
    set_llm_cache(AskOnceCache(cache))
    return lambda model: model


@pytest.fixture(autouse=True)
def no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)
