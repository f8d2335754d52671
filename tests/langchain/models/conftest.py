"""A cached model that streams; both ways to have answers stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_openai import ChatOpenAI

from askonce import Cache
from askonce.langchain import AskOnceCache, cached
from tests.langchain.samples import CALLS, Make

Store = Callable[[Any], Any]


@pytest.fixture
def streamed(openai: Make, tmp_path: Path) -> ChatOpenAI:
    return cached(openai(), f"sqlite:///{tmp_path / 'cache.db'}")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


@pytest.fixture(params=["cached", "set_llm_cache"])
def store(request: pytest.FixtureRequest, cache: Cache) -> Store:
    """Has a model's answers stored, by each of the two ways."""
    if request.param == "cached":
        return lambda model: cached(model, cache)
    set_llm_cache(AskOnceCache(cache))
    return lambda model: model
