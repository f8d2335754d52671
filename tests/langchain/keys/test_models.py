"""Which model is called, in both ways to cache one: its fields, the endpoint of its client, and on whose behalf."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, PrivateAttr, create_model

from askonce import Cache, ConfigError, cache_options
from askonce.langchain import AskOnceCache, CachedEmbeddings, Multiplexer, cached
from askonce.routing import Always
from tests.support.provider import Answer, Call, Provider

Wrap = Callable[[Any], Any]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


@pytest.fixture(params=["cached", "set_llm_cache"])
def wrap(request: pytest.FixtureRequest, cache: Cache) -> Iterator[Wrap]:
    """Caches a model, in each of the two ways."""
    if request.param == "cached":
        yield lambda model: cached(model, cache)
    else:
        set_llm_cache(AskOnceCache(cache))
        yield lambda model: model
        set_llm_cache(None)


def chat(provider: Provider, **fields: Any) -> ChatOpenAI:
    fields = {"model": "gpt-4.1"} | fields
    return ChatOpenAI(base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


def responses(provider: Provider, **fields: Any) -> ChatOpenAI:
    return chat(provider, use_responses_api=True, **fields)


class Actor(BaseChatModel):
    """A model of one's own, which LangChain cannot serialize."""

    persona: str
    prop: dict[str, str]

    @property
    def _llm_type(self) -> str:
        return "actor"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        answer = AIMessage(f"{self.persona} with {self.prop['hand']} says hello")
        return ChatResult(generations=[ChatGeneration(message=answer)])


def test_a_model_is_named_by_all_its_fields(wrap: Wrap) -> None:
    roles = [("Hamlet", "a skull"), ("Ophelia", "a skull"), ("Ophelia", "rosemary")]
    answers = [wrap(Actor(persona=who, prop={"hand": what})).invoke("hi").content for who, what in roles]
    assert answers == [f"{who} with {what} says hello" for who, what in roles]


def test_the_endpoint_from_the_environment_separates_models(
    wrap: Wrap, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Provider() as other:
        for each in (provider, other):
            monkeypatch.setenv("OPENAI_BASE_URL", each.openai_url)
            wrap(ChatOpenAI(model="gpt-4.1", api_key="sk-none", max_retries=0)).invoke("who are you?")
        assert (len(provider.ledger), len(other.ledger)) == (1, 1)


def test_the_endpoint_from_the_environment_separates_embeddings(
    cache: Cache, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Provider() as other:
        for each in (provider, other):
            monkeypatch.setenv("OPENAI_BASE_URL", each.openai_url)
            embeddings = OpenAIEmbeddings(model="e", api_key="sk-none", check_embedding_ctx_length=False)
            CachedEmbeddings(embeddings, cache).embed_query("who are you?")
        assert (provider.count, other.count) == (1, 1)


def test_users_whose_tokens_a_hosted_tool_acts_with_share_no_answer(wrap: Wrap, provider: Provider) -> None:
    provider.answer = lambda request: Answer(f"mail of {request['tools'][0]['authorization']}")
    answers = []
    for user in ("alice", "bob"):
        mail = {
            "type": "mcp",
            "server_label": "mail",
            "connector_id": "connector_gmail",
            "authorization": user,
            "require_approval": "never",
        }
        answers.append(wrap(responses(provider)).bind_tools([mail]).invoke("my last mail?").text)
    assert answers == ["mail of alice", "mail of bob"]


def test_models_with_other_tool_servers_share_no_answer(wrap: Wrap, provider: Provider) -> None:
    provider.answer = lambda request: Answer(str([one["url"] for one in request.get("mcp_servers", ())]))
    answers = []
    for urls in ([], ["https://a/mcp"], ["https://b/mcp"]):
        servers = [{"type": "url", "url": url, "name": "tools"} for url in urls]
        fields: dict[str, Any] = {"mcp_servers": servers} if servers else {}
        model = ChatAnthropic(
            model="claude-opus-4-8", base_url=provider.anthropic_url, api_key="sk-none", max_retries=0, **fields
        )
        answers.append(wrap(model).invoke("hi").content)
    assert answers == ["[]", "['https://a/mcp']", "['https://b/mcp']"]


def answer_class(*fields: str) -> type[BaseModel]:
    """A schema whose properties stand in that order."""
    types: dict[str, Any] = dict.fromkeys(fields, (str, ""))
    return create_model("Solution", **types)


def structured(method: str) -> Callable[[Any, tuple[str, str]], Any]:
    return lambda model, order: model.with_structured_output(answer_class(*order), method=method)


def with_tool(model: Any, order: tuple[str, str]) -> Any:
    named: BaseTool = tool("solve", args_schema=answer_class(*order), description="Solve it.")(lambda **_: "")
    return model.bind_tools([named])


@pytest.mark.parametrize(
    "bind",
    [structured("function_calling"), structured("json_schema"), with_tool],
    ids=["function", "schema", "tool"],
)
def test_the_order_of_properties_in_a_schema_is_part_of_the_question(
    provider: Provider, cache: Cache, bind: Callable[[Any, tuple[str, str]], Any]
) -> None:
    provider.answer = lambda request: (
        Answer("", (Call(request["tools"][0]["function"]["name"]),)) if request.get("tools") else Answer("{}")
    )
    for order in (("reasoning", "answer"), ("answer", "reasoning")):
        bind(cached(chat(provider), cache), order).invoke("2+2")
    assert len(provider.ledger) == 2


def test_conversations_that_the_provider_stores_have_keys_of_their_own(wrap: Wrap, provider: Provider) -> None:
    provider.answer = lambda request: Answer(f"as in {request.get('previous_response_id')}")
    answers = [
        wrap(responses(provider, use_previous_response_id=continues))
        .invoke([AIMessage("ok", response_metadata={"id": before}), HumanMessage("what did I tell you?")])
        .text
        for before, continues in (("resp_a", False), ("resp_a", True), ("resp_b", True))
    ]
    assert answers == ["as in None", "as in resp_a", "as in resp_b"]


def test_a_setting_that_chooses_another_api_counts(wrap: Wrap, provider: Provider) -> None:
    for continues in (False, True):
        wrap(chat(provider, use_previous_response_id=continues)).invoke("Hi")
    assert len(provider.ledger) == 2


CONVERSATIONS: dict[str, Callable[[Wrap, Provider], Any]] = {
    "bound": lambda wrap, provider: wrap(responses(provider)).bind(conversation="conv_1"),
    "bound, as a map": lambda wrap, provider: wrap(responses(provider)).bind(conversation={"id": "conv_1"}),
    "model_kwargs": lambda wrap, provider: wrap(responses(provider, model_kwargs={"conversation": "conv_1"})),
    "extra_body": lambda wrap, provider: wrap(responses(provider, extra_body={"conversation": "conv_1"})),
    "a container": lambda wrap, provider: wrap(responses(provider)).bind_tools(
        [{"type": "code_interpreter", "container": "cntr_1"}]
    ),
}


@pytest.mark.parametrize("make", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_what_the_provider_keeps_and_each_call_changes_is_not_cached(
    wrap: Wrap, provider: Provider, make: Callable[[Wrap, Provider], Any]
) -> None:
    model = make(wrap, provider)
    for calls in (1, 2):
        model.invoke("go on")
        assert provider.count == calls


def test_a_container_that_is_new_each_time_is_nothing_that_changes(wrap: Wrap, provider: Provider) -> None:
    tool = {"type": "code_interpreter", "container": {"type": "auto"}}
    for _ in range(2):
        wrap(responses(provider)).bind_tools([tool]).invoke("go on")
    assert provider.count == 1


class Around(BaseChatModel):
    """A model of one's own around another."""

    inner: BaseChatModel

    @property
    def _llm_type(self) -> str:
        return "around"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self.inner._generate(messages)

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return await self.inner._agenerate(messages)


@pytest.mark.parametrize(
    "around",
    [
        lambda model, provider: Multiplexer([model, chat(provider)], strategy=Always(0)),
        lambda model, provider: Around(inner=model),
        lambda model, provider: Multiplexer([chat(provider), Around(inner=model)], strategy=Always(1)),
    ],
    ids=["a Multiplexer", "a model", "both"],
)
async def test_the_asynchronous_client_of_a_model_in_a_model_counts(
    wrap: Wrap, provider: Provider, around: Callable[[Any, Provider], Any]
) -> None:
    for tenant, calls in (("a", 1), ("b", 2), ("a", 2)):
        async with httpx2.AsyncClient(headers={"x-tenant": tenant}) as client:
            await wrap(around(chat(provider, http_async_client=client), provider)).ainvoke("my invoices?")
        assert provider.count == calls


def test_a_timeout_that_is_an_object_does_not_count(provider: Provider, cache: Cache) -> None:
    set_llm_cache(AskOnceCache(cache))
    for seconds in (2, 3):
        chat(provider, timeout=httpx.Timeout(10, connect=seconds)).invoke("hi")
    assert len(provider.ledger) == 1


Make = Callable[[Provider, Cache], Any]


def made_with(**fields: Any) -> Make:
    return lambda provider, cache: cached(chat(provider, **fields), cache)


def bound_to(**kwargs: Any) -> Make:
    return lambda provider, cache: cached(chat(provider), cache).bind(**kwargs)


def with_a_closing_slash(provider: Provider, cache: Cache) -> Any:
    url = f"{provider.openai_url}/"
    return cached(ChatOpenAI(model="gpt-4.1", base_url=url, api_key="sk-none", max_retries=0), cache)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(made_with(temperature=0.5), bound_to(temperature=0.5), id="temperature bound"),
        pytest.param(made_with(), bound_to(model="gpt-4.1"), id="model bound"),
        pytest.param(made_with(), with_a_closing_slash, id="closing slash"),
        pytest.param(made_with(), made_with(n=1), id="one answer"),
        pytest.param(made_with(), made_with(default_headers={}), id="no headers"),
    ],
)
def test_parameters_that_say_the_same_make_one_key(
    provider: Provider, cache: Cache, one: Make, other: Make
) -> None:
    one(provider, cache).invoke("hi")
    other(provider, cache).invoke("hi")
    assert len(provider.ledger) == 1


# -- what else names a model -------------------------------------------------------------------------------------


class Machine:
    """Of which nothing is to be seen."""

    def __init__(self) -> None:
        self.running = (number for number in range(3))


class Secretive(Actor):
    _mood: str = PrivateAttr("merry")
    _machine: Any = PrivateAttr(None)


class Moody(Actor):
    _strength: int = PrivateAttr(1)
    _calls: int = PrivateAttr(0)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self._calls += 1
        message = AIMessage(f"{messages[0].text}! {self._strength}")
        return ChatResult(generations=[ChatGeneration(message=message)])


def secretive(mood: str = "merry", machine: Any = None) -> Secretive:
    model = Secretive(persona="Puck", prop={"hand": "a flower"})
    model._mood, model._machine = mood, machine
    return model


def exact_hits(cache: Cache) -> int:
    return cache.stats().hits


def test_private_attributes_count(wrap: Wrap, cache: Cache) -> None:
    for mood in ("merry", "merry", "sad"):
        wrap(secretive(mood)).invoke("hi")
    assert exact_hits(cache) == 1


def test_a_private_setting_that_changes_counts_and_a_private_counter_does_not(wrap: Wrap, cache: Cache) -> None:
    model = wrap(Moody(persona="Puck", prop={}))
    for strength, hits in ((1, 0), (1, 1), (2, 1), (2, 2), (1, 3)):
        model._strength = strength
        assert model.invoke("hi").text == f"hi! {strength}"
        assert exact_hits(cache) == hits


def test_a_model_that_cannot_be_read_is_not_cached_unless_it_is_named(
    wrap: Wrap, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        wrap(secretive(machine=Machine())).invoke("hi")
    assert exact_hits(cache) == 0
    warnings = [record.message for record in caplog.records if "cached(model, name='…')" in record.message]
    assert len([line for line in warnings if "Secretive._machine" in line]) >= 1
    for name in ("one", "one", "other"):
        cached(secretive(machine=Machine()), cache, name=name).invoke("hi")
    assert exact_hits(cache) == 1


async def test_an_asynchronous_call_is_named_as_a_synchronous_one(wrap: Wrap, provider: Provider) -> None:
    wrap(chat(provider)).invoke("hi")
    await wrap(chat(provider)).ainvoke("hi")
    await wrap(chat(provider, temperature=0.5)).ainvoke("hi")
    assert provider.count == 2


def test_a_client_that_is_sent_elsewhere_is_another_endpoint(wrap: Wrap, provider: Provider) -> None:
    with Provider() as other:
        model = wrap(chat(provider))
        model.invoke("hi")
        model.root_client.base_url = other.openai_url
        model.invoke("hi")
        model.invoke("hi")
        assert (provider.count, other.count) == (1, 1)


def test_headers_of_a_client_of_ones_own_count(wrap: Wrap, provider: Provider) -> None:
    newest = sys.modules.get("httpx2")
    assert isinstance(newest, ModuleType)
    for tenant in ("a", "a", "b"):
        with newest.Client(headers={"X-Tenant": tenant}) as client:
            wrap(chat(provider, http_client=client)).invoke("hi")
    assert provider.count == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"default_headers": {"Helicone-Auth": "Bearer 1"}}, {"default_headers": {"Helicone-Auth": "Bearer 2"}}),
        ({"default_query": {"key": "1"}}, {"default_query": {"key": "2"}}),
        ({"default_query": {"sig": "1", "se": "1"}}, {"default_query": {"sig": "2", "se": "2"}}),
        ({"default_headers": {"Ocp-Apim-Subscription-Key": "1"}}, {}),
    ],
)
def test_a_rotated_credential_loses_nothing(
    wrap: Wrap, provider: Provider, one: dict[str, Any], other: dict[str, Any]
) -> None:
    for given in (one, other):
        wrap(chat(provider, **given)).invoke("hi")
    assert provider.count == 1


def test_a_signature_in_the_url_of_a_model_is_no_part_of_its_key(cache: Cache) -> None:
    models = [
        ChatOpenAI(model="gpt-4.1", base_url=f"http://127.0.0.1:1/v1?sig={sig}", api_key="sk-none") for sig in "ab"
    ]
    one, other = (AskOnceCache(cache).form("hi", model) for model in models)
    assert one.digest() == other.digest()


def test_in_a_namespace_the_credential_of_a_hosted_tool_may_change(wrap: Wrap, provider: Provider) -> None:
    def send(token: str) -> None:
        mail = {"type": "mcp", "server_label": "mail", "server_url": "https://m/", "authorization": token}
        wrap(responses(provider)).bind_tools([mail]).invoke("my last mail?")

    for user in ("alice", "bob"):
        with cache_options(namespace=user):
            for token in ("1", "2"):
                send(token)
    assert provider.count == 2


def test_what_an_application_stores_itself_answers_its_models(cache: Cache) -> None:
    ours, model = AskOnceCache(cache), Actor(persona="Hamlet", prop={"hand": "a skull"})
    answer = [ChatGeneration(message=AIMessage("given"))]
    ours.update(dumps([HumanMessage("hi")]), model._get_llm_string(stop=None), answer)
    set_llm_cache(ours)
    assert model.invoke("hi").content == "given"


def test_embeddings_that_cannot_be_read_must_be_named(cache: Cache) -> None:
    embeddings = OpenAIEmbeddings(model="e", api_key="sk-none")
    object.__setattr__(embeddings, "headers", Machine())
    with pytest.raises(ConfigError, match="model="):
        CachedEmbeddings(embeddings, cache)


@pytest.mark.parametrize("field", ["check_embedding_ctx_length", "tiktoken_enabled", "default_headers"])
def test_what_changes_the_texts_or_the_way_of_embeddings_counts(cache: Cache, field: str) -> None:
    given: Any = {"X-Tenant": "a"} if field == "default_headers" else False
    models = [OpenAIEmbeddings(model="e", api_key="sk-none", **fields) for fields in ({}, {field: given})]
    one, other = (CachedEmbeddings(model, cache)._request("query", "a") for model in models)
    assert one is not None
    assert other is not None
    assert one.place != other.place
