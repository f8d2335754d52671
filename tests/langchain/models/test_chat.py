"""What `cached` leaves as it is."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField
from langchain_openai import ChatOpenAI

from askonce import Cache, ConfigError
from askonce.langchain import AskOnceCache, cached
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.langchain.samples import Make
from tests.support.provider import Provider


def test_the_cached_model_is_what_the_model_was(openai: Make, tmp_path: Path, provider: Provider) -> None:
    original = openai()
    chat = cached(original, f"sqlite:///{tmp_path / 'cache.db'}")
    assert type(original) is ChatOpenAI
    assert original.cache is None
    assert isinstance(chat, ChatOpenAI)
    assert cached(chat) is chat
    assert (chat.lc_id(), repr(chat)[:11], chat.model_name) == (original.lc_id(), "ChatOpenAI(", "gpt-4o")
    chat.invoke("hi")
    for copied in (
        chat.model_copy(),
        chat.model_copy(deep=False),
        cached(chat, f"sqlite:///{tmp_path / 'cache.db'}"),
    ):
        copied.invoke("hi")
    assert provider.count == 1
    chat.model_copy(update={"temperature": 0.0}).invoke("hi")
    assert provider.count == 2
    original.invoke("hi")
    assert provider.count == 3


def test_a_configured_model_stays_cached(openai: Make, tmp_path: Path, provider: Provider) -> None:
    chat = cached(openai(), f"sqlite:///{tmp_path / 'cache.db'}").configurable_fields(
        temperature=ConfigurableField(id="heat")
    )
    for heat in (0.1, 0.1, 0.2, 0.2):
        chat.invoke("hi", {"configurable": {"heat": heat}})
    assert provider.count == 2


def test_nothing_is_looked_up_twice(openai: Make, tmp_path: Path, provider: Provider) -> None:
    hook = AskOnceCache("memory://", namespace="twice")
    set_llm_cache(hook)
    chat = cached(openai(), f"sqlite:///{tmp_path / 'cache.db'}")
    chat.invoke("hi")
    chat.invoke("hi")
    assert (hook.stats().hits, hook.stats().misses) == (0, 0)
    stats = type(chat)._askonce_cache.stats()
    assert (stats.hits, stats.misses, stats.saved_input_tokens) == (1, 1, 1000)


class Counting(BaseRateLimiter):
    def __init__(self) -> None:
        self.count = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.count += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire()


async def test_only_misses_wait_for_the_rate_limiter(openai: Make, tmp_path: Path) -> None:
    limiter = Counting()
    chat = cached(openai(rate_limiter=limiter), f"sqlite:///{tmp_path / 'cache.db'}")
    chat.invoke("hi")
    chat.invoke("hi")
    list(chat.stream("hi"))
    await chat.ainvoke("hi")
    assert limiter.count == 1
    list(chat.stream("hello"))
    assert limiter.count == 2


def test_a_failure_is_stood_in_for_by_a_stale_answer(openai: Make, provider: Provider, clock: FakeClock) -> None:
    cache = Cache(MemoryStore(clock=clock), clock=clock, ttl=10, stale_if_error=100)
    chat = cached(openai(), cache)
    first = chat.invoke("hi").content
    clock.advance(20)
    provider.failures = 2
    assert chat.invoke("hi").response_metadata["askonce"]["hit"] == "stale"
    assert "".join(chunk.content for chunk in chat.stream("hi")) == first
    assert provider.count == 3


def test_what_cannot_be_cached_is_refused(openai: Make) -> None:
    with pytest.raises(ConfigError, match=r"not a \w*Binding"):
        cached(openai().bind(stop=["x"]), "memory://")  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="invalid store URL"):
        cached(openai(), "nowhere")


def test_messages_from_the_cache_can_be_pickled(streamed: ChatOpenAI) -> None:
    streamed.invoke("hi")
    message = streamed.invoke("hi")
    assert isinstance(pickle.loads(pickle.dumps(message)), AIMessage)
