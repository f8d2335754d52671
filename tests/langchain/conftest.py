"""What the tests of the LangChain adapter share: a provider on this machine, and models that call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_openai import ChatOpenAI

from askonce.langchain import AskOnceCache, cached
from tests.support.provider import Provider, Talk

API_KEY = "sk-not-to-be-seen-1234567890"


@pytest.fixture
def talk() -> Talk:
    """What the provider says, as a test sets it; it never says a thing twice."""
    return Talk("Answer {number} to {prompt}", integer=None)


@pytest.fixture
def openai(provider: Provider) -> Callable[..., ChatOpenAI]:
    """Makes real clients of the provider."""

    def make(**fields: Any) -> ChatOpenAI:
        settings = {"model": "gpt-4o", "temperature": 0.5, "max_retries": 0, "stream_usage": True}
        return ChatOpenAI(api_key=API_KEY, base_url=provider.openai_url, **(settings | fields))

    return make


@pytest.fixture(params=["AskOnceCache", "cached"])
def model(
    request: pytest.FixtureRequest, openai: Callable[..., ChatOpenAI], tmp_path: Path
) -> Iterator[Callable[..., ChatOpenAI]]:
    """Makes models that are cached, by each of the two ways."""
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    caches: list[Any] = []

    def make(**options: Any) -> ChatOpenAI:
        fields = options.pop("fields", {})
        if request.param == "cached":
            made = cached(openai(**fields), url, **options)
            caches.append(type(made)._askonce_cache)
            return made
        cache = AskOnceCache(url, **options)
        caches.append(cache)
        return openai(**fields, cache=cache)

    yield make
    for cache in caches:
        cache.close()


@pytest.fixture(autouse=True)
def no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)
