"""Why a request of LlamaIndex is a hit or a miss."""

from __future__ import annotations

from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI

from askonce import Cache
from askonce.llama_index import cached
from tests.support.provider import Provider


async def test_a_call_is_explained_without_calling_the_provider(
    openai: OpenAI, cache: Cache, provider: Provider
) -> None:
    llm, question = cached(openai, cache), [ChatMessage("Why is the sky blue?")]
    miss = cache.explain(lambda: llm.chat(question))
    assert (miss.outcome, miss.reason, miss.model) == ("miss", "absent", "gpt-4o")
    assert "Why is the sky blue?" in str(miss.form)
    assert not provider.requests
    llm.chat(question)
    for hit in (
        cache.explain(lambda: llm.chat(question)),
        cache.explain(lambda: list(llm.stream_chat(question))),
        await cache.aexplain(lambda: llm.achat(question)),
    ):
        assert (hit.outcome, hit.key) == ("hit", miss.key)
    other = await cache.aexplain(lambda: llm.achat([ChatMessage("Why?")]))
    assert other.outcome == "miss" and len(other.differs) == 1
    assert cache.explain(lambda: llm.complete("Why?")).outcome == "miss"
    assert len(provider.requests) == 1


async def test_embeddings_are_explained(embedding: OpenAIEmbedding, cache: Cache, provider: Provider) -> None:
    model = cached(embedding, cache)
    assert cache.explain(lambda: model.get_text_embedding("a")).outcome == "miss"
    assert not provider.requests
    model.get_text_embedding("a")
    explained = await cache.aexplain(lambda: model.aget_text_embedding("a"))
    assert (explained.kind, explained.outcome) == ("embedding", "hit")
