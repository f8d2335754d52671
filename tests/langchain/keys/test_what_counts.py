"""What separates models beside their declared fields: clients, hooks, code, and what a call makes of a field."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import openai
import pytest
from langchain_core.caches import BaseCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI

from askonce import Cache, ConfigError
from askonce.langchain import AskOnceCache, cached
from askonce.langchain.keys.model import parameters_of_model

newest = sys.modules["httpx2"]
assert isinstance(newest, ModuleType)


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


def chat(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": "gpt-4o", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk-none"} | fields)


def key(model: Any, cache: Cache) -> bytes:
    return AskOnceCache(cache).explain("hi", model).digest()


class Own(BaseChatModel):
    """A model of the application's."""

    says: Any = None
    sources: list[str] | None = None

    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(str(self.says)))])


# -- clients -------------------------------------------------------------------------------------------------------


class TenantClient(newest.Client):  # type: ignore[name-defined,misc]
    """May change each request."""


def add_user(request: Any) -> None:
    """May change each request."""


@pytest.mark.parametrize(
    "client",
    [TenantClient, lambda: newest.Client(event_hooks={"request": [add_user]})],
    ids=["subclass", "hook"],
)
def test_a_client_that_may_change_requests_makes_a_model_without_a_key(client: Any, cache: Cache) -> None:
    with client() as http, pytest.raises(ConfigError, match="may change requests"):
        key(chat(http_client=http), cache)


def test_a_socket_is_part_of_the_key(cache: Cache) -> None:
    def through(socket: str) -> bytes:
        with newest.Client(transport=newest.HTTPTransport(uds=socket)) as http:
            return key(chat(http_client=http), cache)

    assert through("/a.sock") == through("/a.sock") != through("/b.sock")


def test_each_of_several_clients_counts(cache: Cache) -> None:
    def answered_by(*urls: str) -> bytes:
        return key(Own(says=[openai.OpenAI(base_url=url, api_key="sk-none") for url in urls]), cache)

    assert answered_by("http://one/v1", "http://a/v1") != answered_by("http://one/v1", "http://b/v1")


# -- fields --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Settings:
    persona: str


def test_a_change_inside_a_dataclass_is_seen(cache: Cache) -> None:
    settings = Settings("pirate")
    model = cached(Own(says=settings), cache)
    before = key(model, cache)
    settings.persona = "poet"
    assert key(model, cache) != before


def test_empty_is_not_none_where_it_may_be_meant_and_nothing_where_it_is_not_sent(cache: Cache) -> None:
    assert key(Own(), cache) != key(Own(sources=[]), cache)
    assert key(chat(), cache) == key(chat(extra_body={}), cache)


def test_a_none_in_a_call_replaces_what_the_constructor_gave() -> None:
    model = chat(temperature=0.1)
    forms = [parameters_of_model(model, None, call).encoded for call in ({}, {"temperature": None})]
    assert forms[0] != forms[1]


class Gateway(ChatOpenAI):
    model_id: str = "deployment-7"


def test_a_field_named_like_anothers_alias_hides_nothing(cache: Cache) -> None:
    models = [Gateway(model=name, base_url="http://x/v1", api_key="sk-none") for name in ("a", "b")]  # type: ignore[arg-type]
    one, other = (parameters_of_model(model, None, {"temperature": 0.5}).encoded for model in models)
    assert one != other


# -- code ----------------------------------------------------------------------------------------------------------


def persona(text: str) -> BaseChatModel:
    class Persona(Own):
        def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    return Persona()


def test_classes_of_one_name_count_by_their_code(cache: Cache) -> None:
    answers = [cached(persona(text), cache).invoke("hello").content for text in ("bonjour", "guten tag", "bonjour")]
    assert answers == ["bonjour", "guten tag", "bonjour"]
    assert cache.stats().hits == 1


# -- the global cache ----------------------------------------------------------------------------------------------


class Around(BaseCache):
    """Uses another cache in a task of its own."""

    def __init__(self, inner: AskOnceCache) -> None:
        self.inner = inner

    def lookup(self, prompt: str, llm_string: str) -> Any:
        return self.inner.lookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.inner.update(prompt, llm_string, return_val)

    async def alookup(self, prompt: str, llm_string: str) -> Any:
        return await asyncio.create_task(self.inner.alookup(prompt, llm_string))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Any) -> None:
        await asyncio.create_task(self.inner.aupdate(prompt, llm_string, return_val))

    def clear(self, **kwargs: Any) -> None:
        self.inner.clear()


async def test_a_model_that_cannot_be_seen_is_not_cached(cache: Cache) -> None:
    set_llm_cache(Around(AskOnceCache(cache)))
    answers = [(await Own(says=text).ainvoke("hi")).content for text in ("one", "two")]
    set_llm_cache(None)
    assert answers == ["one", "two"]
    assert cache.stats().stored == 0
