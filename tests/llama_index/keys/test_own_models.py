"""LLMs and embeddings of the application's own classes: their fields count as their code sees them."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import functools
import queue
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.tools import FunctionTool
from llama_index.core.types import BaseOutputParser
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from pydantic import Field, PrivateAttr, SecretStr

from askonce import Cache
from askonce.llama_index import cached
from askonce.llama_index.keys.model import component_form
from askonce.llama_index.keys.requests import completion_form


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


class Quiet(CustomLLM):
    """Says what it holds."""

    held: Any = None
    _held: Any = PrivateAttr(None)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=f"{self.held!r} {sorted(kwargs.items())}")

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        answer = self.complete(prompt, **kwargs).text
        yield CompletionResponse(text=answer, delta=answer)


class Npc(Quiet):
    name: str | None = None
    profile: Any = None
    verbose: bool | None = None
    tags: Any = None
    streaming: bool | None = None
    max_retries: int = 3
    timeout: Any = None
    password: str = ""
    token: str | None = None
    id_token: SecretStr = SecretStr("")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        shown = [self.name, self.profile, self.verbose, self.tags, self.streaming, self.max_retries, self.timeout]
        shown += [self.password, self.token, self.id_token.get_secret_value()]
        return CompletionResponse(text=repr(shown))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"name": "Ann"}, {"name": "Bob"}),
        ({"profile": {"a": 1, "b": 2}}, {"profile": {"b": 2, "a": 1}}),
        ({"verbose": None}, {"verbose": False}),
        ({"tags": ["a"]}, {"tags": ("a",)}),
        ({"streaming": True}, {"streaming": False}),
        ({"max_retries": 3}, {"max_retries": 4}),
        ({"timeout": "soon"}, {"timeout": "late"}),
        ({"timeout": 1}, {"timeout": 1.0}),
        ({"password": "swordfish"}, {"password": "opal"}),
        ({"token": None}, {"token": ""}),
        ({"id_token": SecretStr("a")}, {"id_token": SecretStr("b")}),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", [None, "npc"])
def test_fields_of_any_name_count(
    one: dict[str, Any], other: dict[str, Any], name: str | None, cache: Cache
) -> None:
    if name is not None and "id_token" in one:
        return  # a name stands for what is no plain data
    texts = [cached(Npc(**fields), cache, name=name).complete("hi").text for fields in (one, other, one)]
    assert texts[0] == texts[2] != texts[1]
    assert cache.stats().hits == 1


@pytest.mark.parametrize("name", ["verbose", "profile", "stream", "token", "password"])
def test_arguments_of_any_name_count(name: str, cache: Cache) -> None:
    model = cached(Quiet(), cache)
    texts = [model.complete("hi", **{name: value}).text for value in (True, False, True)]
    assert texts[0] == texts[2] != texts[1]
    for seconds in (3, 4):
        model.complete("ho", timeout=seconds)
    assert cache.stats().hits == 2


class Helper:
    def __init__(self, text: Any) -> None:
        self.text = text


@dataclasses.dataclass
class Options:
    text: Any = None


class Tone(enum.Enum):
    FORMAL = "formal"


def say_a() -> str:
    return "a"


def say_b() -> str:
    return "b"


DISTINCT = [
    lambda: [Helper("a"), Helper("b"), Options("a"), Options("b"), Options(None), Options(False), Options("")],
    lambda: [re.compile("a"), re.compile("b"), re.compile("a", re.IGNORECASE)],
    lambda: [Tone.FORMAL, "formal", 0.0, -0.0, "\u00e9", "e\u0301", "a\r\nb", "a\nb", {1}, frozenset({1})],
    lambda: [np.ones(2), np.zeros(2), deque([1, 1]), SimpleNamespace(a=1)],
    lambda: [functools.partial(str, "a"), functools.partial(str, "b")],
    lambda: [httpx.Client(base_url="http://a"), httpx.Client(base_url="http://b")],
    lambda: [Helper(openai.OpenAI(api_key="k", base_url=f"http://{host}")) for host in "ab"],
    lambda: [Quiet(held=1), Quiet(held=2), OpenAI(model="a", api_key="k"), OpenAI(model="b", api_key="k")],
    lambda: [FunctionTool.from_defaults(one, name="say", description="Says.") for one in (say_a, say_b)],
]


@pytest.mark.parametrize("values", DISTINCT)
@pytest.mark.parametrize("place", ["held", "_held"])
def test_values_that_differ_to_its_code_are_apart(values: Callable[[], list[Any]], place: str) -> None:
    def keys() -> list[bytes]:
        models = [Quiet() for _ in values()]
        for model, value in zip(models, values(), strict=True):
            setattr(model, place, value)
        return [completion_form(model, "hi", False, {}).digest() for model in models]

    first = keys()
    assert first == keys()
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    "make", [asyncio.Lock, asyncio.Semaphore, threading.Semaphore, threading.Event, queue.Queue, threading.RLock]
)
def test_a_part_of_the_running_program_says_nothing(make: Callable[[], Any]) -> None:
    def key(held: Any) -> bytes:
        return completion_form(Quiet(held=held), "hi", False, {}).digest()

    assert key(make()) == key(make()) == key(None)


class Raising:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise ValueError("x")


def test_what_cannot_be_read_is_named_and_is_no_error(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    for held in ((n for n in ()), Helper(n for n in ()), Raising()):
        assert cached(Quiet(held=held), cache).complete("hi").text
    assert cache.stats().bypassed == 3
    for field in ("Quiet.held holds a builtins.g", "Quiet.held.text holds a builtins.g", "Raising, which cannot"):
        assert field in caplog.text


class Busy(Quiet):
    """Counts, remembers, and makes its client when it first needs it."""

    _calls: int = PrivateAttr(0)
    _last: float = PrivateAttr(0.0)
    _log: list[str] = PrivateAttr(default_factory=list)
    _memo: dict[str, Any] = PrivateAttr(default_factory=dict)
    _client: Any = PrivateAttr(None)

    @functools.cached_property
    def http(self) -> Any:
        return httpx.Client(base_url="http://a")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._calls += 1
        self._last = time.time()
        self._log.append("a call")
        self._memo[prompt] = iter(())
        self._client = self._client or self.http
        return CompletionResponse(text="hi")


@pytest.mark.parametrize("endpoint", ["complete", "stream_complete"])
def test_what_a_model_changes_of_itself_costs_no_second_call(endpoint: str, cache: Cache) -> None:
    model = cached(Busy(), cache)
    for text in ("a", "b", "a", "b"):
        list(getattr(model, endpoint)(text))
    assert (cache.stats().misses, cache.stats().hits) == (2, 2)
    list(getattr(cached(Busy(), cache), endpoint)("a"))
    assert cache.stats().hits == 3


class Subclass(OpenAI):
    pass


class VectorsSubclass(OpenAIEmbedding):
    pass


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_client_that_a_providers_class_makes_at_the_first_call_changes_no_key(asynchronous: bool) -> None:
    for model in (Subclass(api_key="k"), Subclass(api_key="k", reuse_client=False), VectorsSubclass(api_key="k")):
        before = component_form(model, [], asynchronous=asynchronous)
        (model._get_aclient if asynchronous else model._get_client)()
        assert component_form(model, [], asynchronous=asynchronous) == before


class PerRequest(Quiet):
    run_id: str = Field(default_factory=lambda: uuid.uuid4().hex)


def test_models_of_which_each_is_new_are_reported_once(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(60):
        cached(PerRequest(), cache).complete("hi")
    assert ["run_id" in one and "PerRequest" in one for one in caplog.messages] == [True]


class Glove(BaseEmbedding):
    profile: Any = None
    password: str = ""
    _calls: int = PrivateAttr(0)

    def _get_text_embedding(self, text: str) -> list[float]:
        self._calls += 1
        return [float(len(repr(self.profile) + self.password)), 1.0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"profile": np.ones(3)}, {"profile": np.zeros(3)}),
        ({"profile": {"a": 1}}, {"profile": {"a": 12}}),
        ({"password": "a"}, {"password": "ab"}),
        ({"profile": None}, {"profile": ""}),
    ],
    ids=str,
)
def test_embeddings_of_ones_own(one: dict[str, Any], other: dict[str, Any], cache: Cache) -> None:
    for held in (one, other, one):
        model = cached(Glove(**held), cache)
        for text in ("hi", "ho", "hi"):
            model.get_text_embedding(text)
    assert (cache.stats().misses, cache.stats().hits) == (4, 5)


class Parser(BaseOutputParser):
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def parse(self, output: str) -> str:
        return self.prefix + output

    def format(self, query: str) -> str:
        return query


class Parsing(Quiet):
    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        assert self.output_parser is not None
        return CompletionResponse(text=self.output_parser.parse(prompt))


def test_a_parser_counts_where_the_endpoints_use_it() -> None:
    def key(kind: type[Quiet], prefix: str) -> bytes:
        return completion_form(kind(output_parser=Parser(prefix)), "hi", False, {}).digest()

    assert key(Parsing, "a") != key(Parsing, "b")
    assert key(Parsing, "a") == key(Parsing, "a")
    assert key(Quiet, "a") == key(Quiet, "b")  # LlamaIndex parses the answer itself


def test_what_listens_to_llama_index_is_no_part_of_a_model(cache: Cache) -> None:
    class Listening(BaseEventHandler):
        heard: int = 0

        def handle(self, event: Any, **kwargs: Any) -> None:
            self.heard += 1

    model = cached(Quiet(), cache)
    model.complete("q")
    root, listening = get_dispatcher(), Listening()
    root.add_event_handler(listening)
    try:
        model.complete("q")
    finally:
        root.event_handlers.remove(listening)
    assert cache.stats().hits == 1
