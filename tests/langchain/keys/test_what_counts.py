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
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from pydantic import SecretStr

from askonce import Cache, ConfigError, cache_options
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
    return AskOnceCache(cache).form("hi", model).digest()


class Own(BaseChatModel):
    """A model of the application's."""

    says: Any = None
    sources: list[str] | None = None

    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(str(self.says)))])


def test_a_call_and_its_asynchronous_twin_share_an_answer_of_azure() -> None:
    model = AzureChatOpenAI(
        azure_endpoint="https://127.0.0.1:1", azure_deployment="d", api_version="2025-01-01", api_key=SecretStr("k")
    )
    assert len({parameters_of_model(model, None, {}, asynchronous=one).encoded for one in (False, True)}) == 1


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


class Tenant(newest.Auth):  # type: ignore[name-defined,misc]
    """Signs requests, and says for whom."""

    def __init__(self, tenant: str, token: str = "", expires: float = 0) -> None:
        self.tenant, self.token, self.expires = tenant, token, expires

    def auth_flow(self, request: Any) -> Iterator[Any]:
        request.headers["x-tenant"] = self.tenant
        yield request


def signed(request: Any) -> Any:
    return request


def test_an_auth_of_ones_own_counts_by_its_settings(cache: Cache) -> None:
    def through(auth: Any) -> bytes:
        with newest.Client(auth=auth) as http:
            return key(chat(http_client=http), cache)

    assert through(Tenant("a")) != through(Tenant("b"))
    assert through(Tenant("a", "t1", 1)) == through(Tenant("a", "t2", 2))
    assert through(("user", "one")) == through(("user", "two")) == key(chat(), cache)
    assert through(signed) != through(None)
    with pytest.raises(ConfigError, match="not a function at the top of a module"):
        through(lambda request: request)
    with newest.Client(auth=Tenant("a")) as http:
        model = cached(chat(http_client=http), cache)
        before = key(model, cache)
        http.auth.tenant = "b"
        assert key(model, cache) != before


class Renamed(openai.OpenAI):
    """May change each request."""


def test_a_part_of_a_client_of_the_applications_own_class_is_not_read(cache: Cache) -> None:
    client = Renamed(base_url="http://127.0.0.1:1/v1", api_key="sk-none")
    with pytest.raises(ConfigError, match="may change requests"):
        key(chat(client=client.chat.completions), cache)
    usual = openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="sk-none")
    assert key(chat(client=usual.chat.completions), cache)


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


@dataclasses.dataclass
class Persona:
    """Of the application's own: no name in it has a meaning of LangChain's."""

    tags: list[str] = dataclasses.field(default_factory=list)
    verbose: bool = False
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
    profile: Any = None
    timeout_message: str = ""
    api_key: str = ""


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": ["rude"]},
        {"verbose": True},
        {"metadata": {"tone": "rude"}},
        {"profile": {"age": 5}},
        {"timeout_message": "Sorry."},
        {"api_key": "another's"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_names_within_an_object_of_the_application_mean_what_it_likes(fields: Any, cache: Cache) -> None:
    assert key(Own(says=Persona(**fields)), cache) != key(Own(says=Persona()), cache)


class Waiting(Own):
    timeout_message: str = ""
    timeout: float = 1


class ForATenant(Own):
    """Answers by the metadata of its run."""

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        tenant = run_manager.metadata["tenant"]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"for {tenant}"))])


class Streaming(Own):
    """Uses its run for what it is there for."""

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        run_manager.on_llm_new_token("yes")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("yes"))])


@pytest.mark.parametrize("way", ["cached", "set_llm_cache"])
def test_a_model_that_uses_the_metadata_of_its_run_is_cached_within_a_namespace_alone(
    way: str, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    own = ForATenant() if way == "cached" else ForATenant(cache=AskOnceCache(cache))
    model = cached(own, cache) if way == "cached" else own

    def answer(tenant: str) -> Any:
        return model.invoke("hi", config={"metadata": {"tenant": tenant}}).content

    assert [answer("ann"), answer("bob")] == ["for ann", "for bob"]
    assert "uses metadata, which may differ from run to run" in caplog.text
    with cache_options(namespace="ann"):
        assert [answer("ann"), answer("ann")] == ["for ann", "for ann"]
    assert (cache.stats().hits, cache.stats().stored) == (1, 1)


def test_a_model_that_reports_tokens_to_its_run_is_cached(cache: Cache) -> None:
    model = cached(Streaming(), cache)
    assert [model.invoke("hi").content for _ in "12"] == ["yes", "yes"]
    assert cache.stats().hits == 1


def test_a_text_about_time_is_no_timeout(cache: Cache) -> None:
    assert key(Waiting(timeout_message="Sorry."), cache) != key(Waiting(), cache)
    assert key(Waiting(timeout=9), cache) == key(Waiting(), cache)


def test_a_text_in_a_call_to_a_class_of_the_application_counts() -> None:
    forms = [parameters_of_model(Own(), None, {"profile": who, "timeout": 3}).encoded for who in ("pirate", "poet")]
    assert forms[0] != forms[1]
    forms = [parameters_of_model(chat(), None, {"prompt_cache_key": who}).encoded for who in ("pirate", "poet")]
    assert forms[0] == forms[1]


def test_a_function_in_a_field_counts_by_its_code(cache: Cache) -> None:
    def defined(source: str) -> bytes:
        exec(source, globals())  # as a cell of a notebook that is run again
        return key(Own(says=globals()["greeting"]), cache)

    formal = defined("def greeting(name):\n    return 'Good day'")
    assert defined("def greeting(name):\n    return 'Hi'") != formal
    assert defined("def greeting(name):\n    return 'Good day'") == formal


@pytest.mark.parametrize("base", ["", "(pydantic.BaseModel)"])
def test_a_class_in_a_field_counts_by_its_code(base: str, cache: Cache) -> None:
    def defined(greeting: str) -> bytes:
        source = f"import pydantic\nclass Style{base}:\n    def say(self):\n        return {greeting!r}"
        exec(source, globals())  # as a cell of a notebook that is run again
        return key(Own(says=globals()["Style"]), cache)

    assert defined("Hi") != defined("Good day")
    assert defined("Hi") == defined("Hi")


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
