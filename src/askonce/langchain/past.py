"""`learn`: a cache starts with what was answered in the past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from askonce.cache import Cache
from askonce.engine.past import learn as learn_past
from askonce.entries.entry import Answer
from askonce.langchain.global_cache import AskOnceCache
from askonce.langchain.models.answers import pack
from askonce.langchain.warming import form_of_plain
from askonce.semantic.types import LearnReport

PastRequest = str | Sequence[Mapping[str, Any]]


def learn(
    model: Any, pairs: Iterable[tuple[PastRequest, str]], cache: Cache | AskOnceCache, *, compared: int = 2000
) -> LearnReport:
    """Store past answers, and teach semantic caching with them, before anything is served.

        learn(ChatOpenAI(model="…"), [("How do I reset my password?", "Open Settings …"), …], cache)

    The model is not called. Each question is compared with the nearest of those before it: the judge says whether
    their answers are the same, and the cache learns from that as from fresh answers. The bound on wrong answers
    holds for what is served later, as without this. A request that has an answer in the cache is skipped.

    Args:
        model: that answers such requests from now on, a chat model or a completion model.
        pairs: requests and the texts of their answers, oldest first. A request is a prompt, or messages with
            ``role`` and ``content``; system prompt and earlier messages must be as they will be later.
        cache: with semantic caching.
        compared: so many of the latest are compared. The judge compares at most two pairs of answers for each; a
            `ChatJudge` calls its model once for a pair, or three times if the verdict surprises.

    Returns:
        how many were stored and compared, and what the judge cost.

    Raises:
        ConfigError: semantic caching is off, or an argument is wrong.
        StoreError: the store failed.
        Exception: what the embeddings raise.
    """

    def packed(request: PastRequest, answer: str) -> Answer | None:
        completes = isinstance(model, BaseLLM)
        return pack([Generation(text=answer) if completes else ChatGeneration(message=AIMessage(answer))])

    engine = (cache.cache if isinstance(cache, AskOnceCache) else cache).engine
    return learn_past(engine, pairs, lambda request: form_of_plain(model, request), packed, compared)


async def alearn(
    model: Any, pairs: Iterable[tuple[PastRequest, str]], cache: Cache | AskOnceCache, *, compared: int = 2000
) -> LearnReport:
    """Asynchronous `learn`."""
    import asyncio

    return await asyncio.to_thread(learn, model, pairs, cache, compared=compared)
