"""Which model is called: all that it holds counts, or it is refused."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Union, get_origin

import httpx
import openai
import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CustomLLM
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.anthropic import utils as anthropic_messages
from llama_index.llms.openai import OpenAI, OpenAIResponses

from askonce import Cache, ConfigError
from askonce.keys.normal_form import Uncacheable
from askonce.llama_index import cached
from askonce.llama_index.keys.requests import chat_form, completion_form
from tests.support.provider import Provider

HELLO = [ChatMessage(role="user", content="hello")]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


class Local(CustomLLM):
    """A model on this machine."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="local")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


# -- wrong hits ----------------------------------------------------------------------------------------------------

Make = Callable[[Provider, httpx.Client, str], Any]


def over_sdk_client(**settings: Any) -> Make:
    """Makes an LLM over a client of the SDK's, with settings in which ``{}`` is the tenant."""

    def make(provider: Provider, http: httpx.Client, tenant: str) -> OpenAI:
        given: dict[str, Any] = {"base_url": provider.openai_url, **settings}
        filled = {
            name: value.format(tenant, url=provider.anthropic_url)
            if isinstance(value, str)
            else {key: item.format(tenant) for key, item in value.items()}
            for name, value in given.items()
        }
        client = openai.OpenAI(api_key="sk-x", http_client=http, max_retries=0, **filled)
        return OpenAI(model="gpt-4o", api_key="sk-x", openai_client=client)

    return make


def over_http_client(provider: Provider, http: httpx.Client, tenant: str) -> OpenAI:
    http.headers["x-tenant"] = tenant
    return OpenAI(model="gpt-4o", api_base=provider.openai_url, api_key="sk-x", http_client=http, max_retries=0)


def anthropic(provider: Provider, http: httpx.Client, tenant: str) -> Anthropic:
    headers = {"anthropic-beta": tenant}
    url = provider.anthropic_url
    return Anthropic(model="claude-sonnet-5", base_url=url, api_key="sk-x", default_headers=headers, max_retries=0)


TENANTS: dict[str, Make] = {
    "base_url of the SDK's client": over_sdk_client(base_url="{url}/{}/v1"),
    "organization of the SDK's client": over_sdk_client(organization="{}"),
    "default_query of the SDK's client": over_sdk_client(default_query={"tenant": "{}"}),
    "default_headers of the SDK's client": over_sdk_client(default_headers={"x-tenant": "{}"}),
    "headers of the HTTP client": over_http_client,
    "default_headers of Anthropic": anthropic,
}


@pytest.mark.parametrize("make", TENANTS.values(), ids=TENANTS)
def test_models_whose_sdk_clients_are_set_otherwise_are_apart(
    make: Make, provider: Provider, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    if get_origin(vars(anthropic_messages)["MessageParam"]) is Union:  # the newest SDK has made a union of it
        monkeypatch.setattr(anthropic_messages, "MessageParam", dict)
    with contextlib.ExitStack() as stack:
        for tenant in ("one", "other"):
            llm = make(provider, stack.enter_context(httpx.Client()), tenant)
            stack.callback(llm._get_client().close if isinstance(llm, OpenAI) else llm._client.close)
            cached(llm, cache).chat(HELLO)
    assert len(provider.ledger) == 2


class Weights:
    """A model that was loaded from a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.layers: Any = None

    def __str__(self) -> str:
        return self.path


class Loaded(Local):
    """Holds what it loaded as an object, as wrappers of local models do."""

    _model: Any = PrivateAttr()

    def __init__(self, name: str) -> None:
        super().__init__()
        self._model = Weights(name)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=f"{self._model}: {prompt}")


class Blocks(Local):
    """Has a setting whose name holds the word lock."""

    _block_style: str = PrivateAttr()

    def __init__(self, name: str) -> None:
        super().__init__()
        self._block_style = name

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=f"{self._block_style}: {prompt}")


@pytest.mark.parametrize("kind", [Loaded, Blocks])
def test_models_that_differ_in_a_private_attribute_are_apart(kind: Callable[[str], Local], cache: Cache) -> None:
    answers = [cached(kind(one), cache).complete("hi").text for one in ("llama", "mistral")]
    assert answers == ["llama: hi", "mistral: hi"]


@pytest.mark.parametrize("endpoint", ["complete", "stream_complete", "chat", "stream_chat"])
def test_a_call_without_its_argument_fails_as_without_a_cache(endpoint: str, cache: Cache) -> None:
    llm = OpenAI(model="gpt-4o", api_key="sk-x")
    with pytest.raises((TypeError, ValueError)) as plain:
        getattr(llm, endpoint)()
    with pytest.raises(plain.type):
        getattr(cached(llm, cache), endpoint)()


# -- what cannot be read, or changes


class Tensor:
    """Nothing that can be stored."""


class HuggingFaceLLM(Local):
    """Built as the class of that name in llama-index-llms-huggingface is."""

    model_name: str = "zephyr"
    stopping_ids: list[int] = Field(default_factory=list)
    _model: Any = PrivateAttr()
    _stopping_criteria: Any = PrivateAttr()

    def __init__(self, **fields: Any) -> None:
        class StopOnTokens:
            def __call__(self, ids: list[int]) -> bool:
                return ids[-1] in fields.get("stopping_ids", ())

        super().__init__(**fields)
        self._model, self._stopping_criteria = Weights(self.model_name), [StopOnTokens()]
        self._model.layers = iter(range(3))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=f"{self._model}: {prompt}", raw={"model_output": Tensor()})


HuggingFaceLLM.__module__ = "llama_index.llms.huggingface.base"


def test_a_model_that_cannot_be_read_is_refused_with_the_way_out(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    llm = cached(HuggingFaceLLM(stopping_ids=[2]), cache)
    for _ in range(3):
        llm.complete("hi")
    assert cache.stats().bypassed == 3
    assert [one for one in caplog.messages if "HuggingFaceLLM._model" in one and "name=" in one] == caplog.messages


def test_a_hugging_face_model_with_a_name_is_cached(cache: Cache) -> None:
    model = HuggingFaceLLM(stopping_ids=[2])
    llm = cached(model, cache, name="zephyr on the left")
    assert [llm.complete("hi").text for _ in range(3)] == ["zephyr: hi"] * 3
    assert (cache.stats().hits, cache.stats().bypassed) == (2, 0)
    others = [
        cached(model, cache, name="on the right"),
        cached(llm, cache, name="on the right"),
        cached(HuggingFaceLLM(stopping_ids=[3]), cache, name="zephyr on the left"),
    ]
    for other in others:
        other.complete("hi")
    assert cache.stats().misses == 3 and cached(llm, cache) is llm


def test_tools_that_a_provider_calls_for_a_user_are_apart(provider: Provider, cache: Cache) -> None:
    for token, requests in (("alice", 1), ("bob", 2), ("alice", 2)):
        tool = {"type": "mcp", "server_label": "mail", "server_url": "https://mail", "authorization": token}
        model = OpenAIResponses(model="gpt-4.1", api_base=provider.openai_url, api_key="k", built_in_tools=[tool])
        cached(model, cache).chat(HELLO)
        assert provider.count == requests


@pytest.mark.parametrize("name", ["", " ", 3])
def test_a_name_is_a_text(name: Any, cache: Cache) -> None:
    with pytest.raises(ConfigError):
        cached(HuggingFaceLLM(), cache, name=name)


class Held(Local):
    """Holds what it is set up with in one place or another."""

    client: Any = None
    profile: Any = None
    hidden: Any = Field(default=None, exclude=True)
    _stored: Any = PrivateAttr(default=None)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=prompt)


def held(place: str, value: Any) -> Held:
    model = Held()
    setattr(model, place, value)
    return model


@pytest.mark.parametrize("place", ["client", "profile", "hidden", "_stored"])
def test_what_a_model_holds_counts_wherever_it_is(place: str) -> None:
    def key(value: Any) -> bytes:
        return completion_form(held(place, value), "hi", False, {}).digest()

    def sdk(tenant: str) -> openai.OpenAI:
        return openai.OpenAI(api_key="k", default_headers={"x-tenant": tenant})

    for make in (str, sdk, lambda name: {"a": [sdk(name)]}, lambda name: httpx.Client(headers={"x": name})):
        assert key(make("one")) == key(make("one")) != key(make("other"))
    assert key(Path("one")) != key(Path("other"))
    assert key(threading.Lock()) == key(None)
    for unknown in (iter([1]), [iter([1])], {"a": iter([1])}):
        with pytest.raises(Uncacheable, match="name="):
            key(unknown)


class Wordy(Held):
    service_tier: str = ""
    timeout_message: str = ""


def test_names_in_a_class_of_the_application_mean_what_it_likes() -> None:
    def key(options: dict[str, Any] | None = None, **fields: Any) -> bytes:
        return completion_form(Wordy(**fields), "hi", False, options or {}).digest()

    keys = [key(), key(service_tier="of thought"), key(timeout_message="Sorry."), key({"profile": "pirate"})]
    assert len(set(keys)) == len(keys)
    assert key({"timeout": 3}) == key()


def test_a_function_in_a_field_counts_by_its_code() -> None:
    def defined(source: str) -> bytes:
        exec(source, globals())  # as a cell of a notebook that is run again
        return completion_form(Held(profile=globals()["greeting"]), "hi", False, {}).digest()

    formal = defined("def greeting(name):\n    return 'Good day'")
    assert defined("def greeting(name):\n    return 'Hi'") != formal
    assert defined("def greeting(name):\n    return 'Good day'") == formal


@pytest.mark.parametrize("base", ["", "(pydantic.BaseModel)"])
def test_a_class_in_a_field_counts_by_its_code(base: str) -> None:
    def defined(greeting: str) -> bytes:
        source = f"import pydantic\nclass Style{base}:\n    def say(self):\n        return {greeting!r}"
        exec(source, globals())  # as a cell of a notebook that is run again
        return completion_form(Held(profile=globals()["Style"]), "hi", False, {}).digest()

    assert defined("Hi") != defined("Good day")
    assert defined("Hi") == defined("Hi")


def test_a_client_that_is_set_up_anew_counts_anew(provider: Provider, cache: Cache) -> None:
    with httpx.Client() as http:
        llm = cached(over_http_client(provider, http, "one"), cache)
        for tenant in ("one", "other", "one"):
            http.headers["x-tenant"] = tenant
            llm.chat(HELLO)
    assert len(provider.ledger) == 2


@pytest.mark.parametrize("hook", [lambda request: None, Weights("one")])
def test_an_http_client_that_changes_requests_is_refused(hook: Any) -> None:
    with httpx.Client(event_hooks={"request": [hook]}) as http, pytest.raises(Uncacheable):
        chat_form(OpenAI(model="gpt-4o", api_key="k", http_client=http), HELLO, {})


@pytest.mark.parametrize("reuse_client", [True, False])
def test_the_environment_counts_until_the_client_is_made(
    reuse_client: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = cached(OpenAI(model="gpt-4o", api_key="k", reuse_client=reuse_client), "memory://")
    keys = []
    for organization in ("one", "other"):
        monkeypatch.setenv("OPENAI_ORG_ID", organization)
        keys.append(chat_form(llm, HELLO, {}).digest())
    assert keys[0] != keys[1]
    llm._get_client()
    monkeypatch.setenv("OPENAI_ORG_ID", "one")
    assert chat_form(llm, HELLO, {}).digest() == keys[1 if reuse_client else 0]


def test_each_kind_of_call_counts_by_the_client_that_it_uses() -> None:
    other = openai.AsyncOpenAI(api_key="k", base_url="http://other.invalid/v1")
    llm = OpenAI(model="gpt-4o", api_key="k", async_openai_client=other)
    plain = OpenAI(model="gpt-4o", api_key="k")
    assert chat_form(llm, HELLO, {}).digest() == chat_form(plain, HELLO, {}).digest()
    asynchronous = [chat_form(one, HELLO, {}, asynchronous=True).digest() for one in (llm, plain)]
    assert asynchronous[0] != asynchronous[1] == chat_form(plain, HELLO, {}).digest()


class Remote(Local):
    """Its metadata is its server's."""

    model: str = "remote"

    @property
    def metadata(self) -> LLMMetadata:
        raise AssertionError("the server was called")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=prompt)


def test_no_metadata_is_requested_to_store_an_answer(cache: Cache) -> None:
    assert cached(Remote(), cache).complete("hi").text == "hi"
    assert cache.stats().stored == 1


class Opaque(Local):
    """Its answers cannot be stored."""

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=prompt, raw={"model_output": Tensor()})


class Counts(Local):
    """Counts its calls, in words."""

    _calls: str = PrivateAttr(default="")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._calls += "I"
        return CompletionResponse(text=prompt)


def test_a_raw_that_is_not_plain_is_left_out(cache: Cache) -> None:
    llm = cached(Opaque(), cache)
    assert [llm.complete("hi").text for _ in range(2)] == ["hi"] * 2
    assert cache.stats().hits == 1


def test_a_model_whose_key_always_changes_is_reported_once(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    llm = cached(Counts(), cache)
    for _ in range(30):
        llm.complete("hi")
    assert [one for one in caplog.messages if "changes at every call" in one and "_calls" in one] == caplog.messages
    assert len(caplog.messages) == 1
    named = cached(Counts(), cache, name="counts")
    for _ in range(3):
        named.complete("hi")
    assert cache.stats().hits == 2


# -- what it costs -------------------------------------------------------------------------------------------------


class Read(dict[str, Any]):
    """Settings that count how often they are read."""

    times = 0

    def items(self) -> Any:
        self.times += 1
        return super().items()


class Configured(MockEmbedding):
    """An embedding model with settings of its own."""

    _settings: Read = PrivateAttr(default_factory=lambda: Read(dimensions=2))


def test_an_embedding_models_settings_are_read_once_for_a_batch(cache: Cache) -> None:
    model = Configured(2)
    llm = cached(model, cache)
    texts = [f"text {number}" for number in range(10)]
    llm.get_text_embedding_batch(texts)
    before = model._settings.times
    llm.get_text_embedding_batch(texts)
    assert cache.stats().hits == 10
    assert model._settings.times - before <= 2
