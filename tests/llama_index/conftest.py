"""A provider on this machine, LlamaIndex's clients for it, and a cache in memory."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
from llama_index.core.bridge.pydantic import Field
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

from askonce import Cache
from tests.support.provider import Provider

if TYPE_CHECKING:  # pytest loads this file in the environment without the package too
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai import OpenAI

with warnings.catch_warnings(), contextlib.suppress(ImportError):
    # LlamaIndex looks whether LangChain is there, and langchain-community says that it is being sunset.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("llama_index.core.bridge.langchain")

API_KEY = "sk-this-must-never-be-seen"

# LlamaIndex's own: in its workflows, in structured output, and its chat memory never closes its database.
LLAMA_INDEX_WARNINGS = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*aiosqlite:ResourceWarning"),
]


@pytest_asyncio.fixture
async def openai(provider: Provider) -> AsyncIterator[OpenAI]:
    from llama_index.llms.openai import OpenAI

    with httpx.Client() as client:
        async with httpx.AsyncClient() as aclient:
            yield OpenAI(
                model="gpt-4o",
                api_base=provider.openai_url,
                api_key=API_KEY,
                max_retries=0,
                http_client=client,
                async_http_client=aclient,
                additional_kwargs={"stream_options": {"include_usage": True}},
            )


@pytest_asyncio.fixture
async def embedding(provider: Provider) -> AsyncIterator[OpenAIEmbedding]:
    from llama_index.embeddings.openai import OpenAIEmbedding

    with httpx.Client() as client:
        async with httpx.AsyncClient() as aclient:
            yield OpenAIEmbedding(
                api_base=provider.openai_url,
                api_key=API_KEY,
                http_client=client,
                async_http_client=aclient,
                max_retries=0,
            )


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


class Events(BaseEventHandler):
    """Remembers every event."""

    seen: list[Any] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.seen.append(event)

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.seen]


@pytest.fixture
def events() -> Iterator[Events]:
    handler, root = Events(), get_dispatcher()
    root.event_handlers.append(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    handler, root = SimpleSpanHandler(), get_dispatcher()
    root.span_handlers.append(handler)
    yield handler
    root.span_handlers.remove(handler)
