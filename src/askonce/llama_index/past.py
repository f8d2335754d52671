"""`learn`: a cache starts with what was answered in the past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole

from askonce.cache import Cache
from askonce.engine.past import learn as learn_past
from askonce.entries.entry import Answer
from askonce.llama_index.global_cache import Installation
from askonce.llama_index.models.answers import pack
from askonce.llama_index.warming import form_of_plain
from askonce.semantic.types import LearnReport

PastRequest = str | Sequence[Mapping[str, Any]]


def learn(
    llm: Any, pairs: Iterable[tuple[PastRequest, str]], cache: Cache | Installation, *, compared: int = 2000
) -> LearnReport:
    """Store past answers, and teach semantic caching with them, before anything is served.

    As `askonce.langchain.learn`: a request is a prompt (`complete`), or messages with ``role`` and ``content``
    (`chat`). The cache may be what `install` returned.

    Raises:
        ConfigError: semantic caching is off, or an argument is wrong.
        StoreError: the store failed.
        Exception: what the embeddings raise.
    """

    def packed(request: PastRequest, answer: str) -> Answer | None:
        if isinstance(request, str):
            return pack(CompletionResponse(text=answer), None)
        return pack(ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=answer)), None)

    engine = (cache.cache if isinstance(cache, Installation) else cache).engine
    return learn_past(engine, pairs, lambda request: form_of_plain(llm, request), packed, compared)


async def alearn(
    llm: Any, pairs: Iterable[tuple[PastRequest, str]], cache: Cache | Installation, *, compared: int = 2000
) -> LearnReport:
    """Asynchronous `learn`."""
    import asyncio

    return await asyncio.to_thread(learn, llm, pairs, cache, compared=compared)
