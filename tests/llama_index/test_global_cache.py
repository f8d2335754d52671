"""`install` under LlamaIndex's Settings."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

import pytest
from llama_index.core import Settings, SummaryIndex
from llama_index.core.callbacks import CallbackManager
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms.mock import MockLLM
from llama_index.core.schema import Document
from llama_index.llms.openai import OpenAI

from askonce import Cache, ConfigError, MissingExtraError
from askonce.llama_index import cached, install
from askonce.llama_index.models.twin import Twin
from tests.llama_index.samples import Album
from tests.support.provider import Provider


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Settings, "_llm", None)
    monkeypatch.setattr(Settings, "_embed_model", None)
    monkeypatch.setattr(Settings, "_callback_manager", None)
    cls = type(Settings)
    yield
    assert type(Settings) is cls


def test_the_present_and_later_models_are_cached_and_restored(
    openai: OpenAI, provider: Provider, cache: Cache
) -> None:
    embed_model = MockEmbedding(embed_dim=2)
    Settings.llm, Settings.embed_model = openai, embed_model
    with install(cache) as installation:
        assert isinstance(Settings.llm, OpenAI) and Settings.llm is not openai
        index = SummaryIndex.from_documents([Document(text="one")])
        for _ in range(2):
            index.as_query_engine().query("what?")
        Settings.embed_model.get_query_embedding("hi")
        assert provider.count == 1 and installation.stats().hits == 1 and installation.cache is cache
        later = MockLLM(max_tokens=2)
        Settings.llm = later
        for _ in range(2):
            Settings.llm.complete("hi")
        assert cache.stats().hits == 2
        Settings.llm.max_tokens = 3
    assert (Settings.llm, Settings.embed_model) == (later, embed_model)
    assert Settings.llm is later and Settings.embed_model is embed_model
    assert later.max_tokens == 3, "what was set meanwhile stays"
    Settings.llm.complete("hi")
    assert cache.stats().hits == 2


async def test_an_installation_has_the_methods_of_a_cache(openai: OpenAI, provider: Provider, cache: Cache) -> None:
    Settings.llm = openai
    with install(cache) as installation:
        assert installation.explain(lambda: Settings.llm.complete("hi")).outcome == "miss"
        Settings.llm.complete("hi")
        assert (await installation.aexplain(lambda: Settings.llm.acomplete("hi"))).outcome == "hit"
        assert [one.kind for one in installation.entries()] == ["answer"] and provider.count == 1
        assert installation.erase(text="hi").total == 1
        assert not [one async for one in installation.aentries()]


def test_the_default_is_not_made_before_it_is_used(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with install(cache):
        with pytest.raises(ValueError, match="OPENAI_API_KEY"):
            _ = Settings.llm
        monkeypatch.setenv("IS_TESTING", "1")
        assert isinstance(Settings.llm, MockLLM) and isinstance(Settings.llm, Twin)
        assert isinstance(Settings.embed_model, MockEmbedding) and isinstance(Settings.embed_model, Twin)
    assert not isinstance(Settings.llm, Twin) and not isinstance(Settings.embed_model, Twin)


def test_installing_twice_is_installing_once() -> None:
    installation = install("memory://", namespace="shop")
    assert install("memory://", namespace="shop") is installation
    assert install(installation.cache) is installation
    for other in ({"namespace": "other"}, {"namespace": "shop", "llm": False}):
        with pytest.raises(ConfigError, match="uninstall"):
            install("memory://", **other)  # type: ignore[arg-type]
    installation.uninstall()
    installation.uninstall()
    install("memory://", llm=False).uninstall()


def test_only_what_was_requested_is_cached_and_what_is_cached_already_stays(cache: Cache) -> None:
    Settings.llm, Settings.embed_model = MockLLM(), MockEmbedding(embed_dim=2)
    with install(cache, llm=False):
        assert not isinstance(Settings.llm, Twin) and isinstance(Settings.embed_model, Twin)
    own = cached(MockLLM(), "memory://")
    with install(cache):
        Settings.llm = own
        assert Settings.llm is own
    assert Settings.llm is own


def test_a_structured_llm_is_cached_inside_and_restored(openai: OpenAI, provider: Provider, cache: Cache) -> None:
    structured = Settings.llm = openai.as_structured_llm(Album)
    with install(cache):
        for _ in range(2):
            assert Settings.llm.complete("hi").raw == Album(title="hi", tracks=3)
    assert Settings.llm is structured and provider.count == 1


def test_copies_of_what_stood_there_are_left_without_a_cache_too(cache: Cache) -> None:
    Settings.llm = first = MockLLM(max_tokens=1)
    with install(cache):
        Settings.llm = Settings.llm.model_copy(update={"max_tokens": 2})
    assert type(Settings.llm) is MockLLM and (Settings.llm.max_tokens, first.max_tokens) == (2, 1)


def test_the_callback_manager_of_settings_reaches_the_cached_models(cache: Cache) -> None:
    Settings.llm = MockLLM()
    with install(cache):
        manager = Settings.callback_manager = CallbackManager([])
        assert Settings.llm.callback_manager is manager


def test_without_llama_index_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("askonce.llama_index")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llama_index.core", None)
    with pytest.raises(MissingExtraError, match=r"askonce\[llama-index\]"):
        importlib.import_module("askonce.llama_index")
