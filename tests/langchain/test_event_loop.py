"""Where blocking calls are forbidden on the event loop, as under ``langgraph dev``: as many hits as elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from askonce import Cache
from askonce.langchain import AskOnceCache, cached

blockbuster = pytest.importorskip("blockbuster")  # CI has it: it is locked


def model() -> Any:
    return FakeListChatModel(responses=[str(number) for number in range(100)])


@pytest.mark.parametrize("scanned", [None, "langchain_core"], ids=["everywhere", "as LangChain's tests"])
@pytest.mark.parametrize("store", ["absolute", "relative", "default"])
async def test_nothing_blocks_the_event_loop(
    scanned: str | None, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    urls = {"absolute": f"sqlite:///{tmp_path / 'cache.db'}", "relative": "sqlite:///cache.db", "default": None}
    try:
        with blockbuster.blockbuster_ctx(scanned):
            if scanned is None:
                with pytest.raises(blockbuster.BlockingError):
                    time.sleep(0.001)  # noqa: ASYNC251
            cache = Cache(urls[store], namespace="loop", timeout_seconds=5)
            await cache.aclear()
            own = cached(model(), cache)
            for _ in range(2):
                for question in "abc":
                    await own.ainvoke(question)
            for _ in range(2):
                assert "".join([chunk.text async for chunk in own.astream("streamed")]) == "3"
            set_llm_cache(AskOnceCache(cache))
            any_model = model()
            assert [(await any_model.ainvoke("d")).text for _ in range(2)] == ["0", "0"]
            assert len([entry async for entry in cache.aentries()]) == 5
            assert await cache.ainvalidate("no such tag") == 0
            stats = await cache.astats()
            assert (stats.hits, stats.stored, stats.errors, stats.entries) == (5, 5, 0, 5)
            await cache.aclear()
            await cache.aclose()
    finally:
        set_llm_cache(None)


@pytest.mark.parametrize("scanned", [None, "langchain_core"], ids=["everywhere", "as LangChain's tests"])
async def test_synchronous_calls_on_the_event_loop_are_cached_too(scanned: str | None, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with blockbuster.blockbuster_ctx(scanned):
        cache = Cache(url, timeout_seconds=5)
        own = cached(model(), cache)
        assert [own.invoke("a").text for _ in range(3)] == ["0"] * 3
        assert (await own.ainvoke("a")).text == "0"
        stats = await cache.astats()
        assert (stats.hits, stats.stored, stats.errors) == (3, 1, 0)
        await cache.aclose()
