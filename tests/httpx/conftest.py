"""Clients of either package, and the SDKs over them."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest

from askonce import Cache
from askonce.httpx import CachedTransport
from tests.support.environments import NEWEST_OPENAI


@pytest.fixture(params=["httpx", *(["httpx2"] if NEWEST_OPENAI else [])])
def package(request: pytest.FixtureRequest) -> Any:
    """A package whose clients the installed openai takes."""
    return importlib.import_module(request.param)


@pytest.fixture
def cache(store: Any, clock: Any) -> Cache:
    return Cache(store, clock=clock)


Connect = Callable[..., Any]


@pytest.fixture
async def connect(package: Any, cache: Cache) -> AsyncIterator[Connect]:
    """Makes the SDK's client over a cached transport, of which ``share``, ``transport`` and ``cache`` are."""
    made: list[Any] = []

    def connected(url: str, api_key: str = "sk-1", *, asynchronous: bool = False, **more: Any) -> Any:
        settings = {name: more.pop(name) for name in ("transport", "share") if name in more}
        transport = CachedTransport(more.pop("cache", cache), **settings)
        http = (package.AsyncClient if asynchronous else package.Client)(transport=transport)
        sdk = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        made.append(sdk(api_key=api_key, base_url=url, http_client=http, max_retries=0, **more))
        return made[-1]

    yield connected
    for client in made:
        closed = client.close()
        if closed is not None:
            await closed
