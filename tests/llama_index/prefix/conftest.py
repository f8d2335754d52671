"""Real clients of the provider, which says one sentence and reports what its caches did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Union, get_origin

import httpx
import pytest
import pytest_asyncio
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.anthropic import utils as anthropic_messages
from llama_index.llms.openai import OpenAI, OpenAIResponses

from tests.support.provider import Answer, Provider

Make = Callable[..., Any]


@pytest.fixture
def talk() -> Callable[[dict[str, Any]], Answer]:
    return lambda request: Answer()


@pytest.fixture(autouse=True)
def anthropic_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama-index-llms-anthropic 0.12 calls `MessageParam(...)`, which the newest SDK has made a union."""
    if get_origin(vars(anthropic_messages)["MessageParam"]) is Union:
        monkeypatch.setattr(anthropic_messages, "MessageParam", dict)


@pytest_asyncio.fixture
async def make(provider: Provider) -> AsyncIterator[Make]:
    """Makes the real clients of the provider."""
    with httpx.Client() as client:
        async with httpx.AsyncClient() as aclient:
            openai: dict[str, Any] = {
                "model": "gpt-4o",
                "api_base": provider.openai_url,
                "api_key": "sk-none",
                "max_retries": 0,
                "http_client": client,
                "async_http_client": aclient,
            }
            usage = {"additional_kwargs": {"stream_options": {"include_usage": True}}}
            made: list[Any] = []

            def make(kind: str, **fields: Any) -> Any:
                if kind == "chat":
                    return OpenAI(**openai | usage | fields)
                if kind == "responses":
                    return OpenAIResponses(**openai | fields)
                llm = Anthropic(
                    model="claude-opus-4-8", base_url=provider.anthropic_url, api_key="sk-none", max_retries=0
                )
                made.append(llm)
                return llm

            yield make
            for llm in made:
                llm._client.close()
                await llm._aclient.close()
