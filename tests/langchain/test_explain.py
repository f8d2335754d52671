"""Why a request of LangChain is a hit or a miss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from askonce import Cache, Corpus
from askonce.langchain import AskOnceCache, CachedRetriever, cached
from tests.langchain.retrieval.library import library
from tests.support.provider import Provider


@pytest.fixture(params=["AskOnceCache", "cached"])
def pair(request: pytest.FixtureRequest, openai: Callable[..., ChatOpenAI], tmp_path: Path) -> Any:
    with Cache(f"sqlite:///{tmp_path / 'cache.db'}") as cache:
        model = cached(openai(), cache) if request.param == "cached" else openai(cache=AskOnceCache(cache))
        yield cache, model


async def test_a_call_is_explained_without_calling_the_provider(pair: Any, provider: Provider) -> None:
    cache, model = pair
    question = [("system", "Be brief."), ("user", "Why is the sky blue?")]
    miss = cache.explain(lambda: model.invoke(question))
    assert (miss.outcome, miss.reason, miss.model) == ("miss", "absent", "gpt-4o")
    assert "Why is the sky blue?" in str(miss.form) and "sk-" not in str(miss)
    assert not provider.requests
    model.invoke(question)
    assert len(provider.requests) == 1
    for hit in (
        cache.explain(lambda: model.invoke(question)),
        await cache.aexplain(lambda: model.ainvoke(question)),
        cache.explain(lambda: list(model.stream(question))) if type(model) is not ChatOpenAI else None,
    ):
        if hit is not None:
            assert (hit.outcome, hit.key) == ("hit", miss.key)
    warmer = await cache.aexplain(lambda: model.with_config(tags=["x"]).ainvoke([*question[:1], ("user", "Why?")]))
    assert warmer.outcome == "miss" and len(warmer.differs) == 1
    safe = model.with_retry(stop_after_attempt=3).with_fallbacks([model])
    chain = ChatPromptTemplate.from_messages([("user", "{word}?")]) | safe
    assert cache.explain(lambda: chain.invoke({"word": "How"})).outcome == "miss"
    assert cache.explain(lambda: chain.batch([{"word": "How"}, {"word": "Who"}])).outcome == "miss"
    assert len(provider.requests) == 1


def test_an_explanation_shows_the_model(pair: Any, openai: Callable[..., ChatOpenAI]) -> None:
    cache, model = pair
    model.invoke("Why is the sky blue?")
    warmer = cache.explain(lambda: model.bind(temperature=0.9).invoke("Why is the sky blue?"))
    assert "gpt-4o" in json.dumps(warmer.form["model"])
    assert any("temperature" in path for path in warmer.differs)
    assert "model.max_retries" in warmer.left_out


def test_embeddings_and_retrieval_are_explained(tmp_path: Path) -> None:
    with Cache("memory://") as cache:
        embeddings = cached(DeterministicFakeEmbedding(size=4), cache, model="fake")
        assert cache.explain(lambda: embeddings.embed_query("a")).kind == "embedding"
        embeddings.embed_query("a")
        assert cache.explain(lambda: embeddings.embed_query("a")).outcome == "hit"
        documents, _ = library()
        retriever = CachedRetriever(documents.as_retriever(), corpus=Corpus(cache, name="books"))
        found = cache.explain(lambda: retriever.invoke("barks"))
        assert (found.kind, found.outcome) == ("retrieval", "miss")


async def test_the_cache_of_langchain_has_the_methods_of_a_cache(
    openai: Callable[..., ChatOpenAI], provider: Provider
) -> None:
    cache = AskOnceCache("memory://", store_requests=True)
    model = openai(cache=cache)
    miss = cache.explain(lambda: model.invoke("Why is the sky blue?"))
    assert miss.outcome == "miss" and not provider.requests
    model.invoke("Why is the sky blue?")
    assert (await cache.aexplain(lambda: model.ainvoke("Why is the sky blue?"))).outcome == "hit"
    assert [one.kind for one in cache.entries()] == [one.kind async for one in cache.aentries()] == ["answer"]
    assert cache.erase(text="Why is the sky blue?").total == 1
    assert (await cache.aerase(text="Why is the sky blue?")).total == 0
    assert miss.form == dict(cache.form(dumps([HumanMessage("Why is the sky blue?")]), model).plain_body())
