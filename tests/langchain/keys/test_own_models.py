"""Models of the application's own classes: what a field or an argument of a call means, their code says."""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import logging
import random
import sqlite3
import threading
import types
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import openai
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, PrivateAttr, SecretStr, TypeAdapter

from askonce import Cache, ConfigError, FormField
from askonce.langchain import AskOnceCache, cached
from askonce.langchain.keys.model import parameters_of_model


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


@pytest.fixture(params=["cached", "global"])
def wrap(request: pytest.FixtureRequest, cache: Cache) -> Iterator[Callable[[Any], Any]]:
    if request.param == "cached":
        yield lambda model: cached(model, cache)
        return
    set_llm_cache(AskOnceCache(cache))
    yield lambda model: model
    set_llm_cache(None)


def key(model: Any) -> bytes:
    with Cache("memory://") as cache:
        return AskOnceCache(cache).form("hi", model).digest()


class Quiet(BaseChatModel):
    """Says what it holds in a private attribute, and nothing of LangChain's fields."""

    _held: Any = PrivateAttr(None)
    held: Any = None

    @property
    def _llm_type(self) -> str:
        return "npc"

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"{self.held!r} {kwargs}"))])


class Npc(Quiet):
    """Uses names that LangChain's own models have for other things."""

    name: str | None = None
    streaming: bool | None = None
    max_retries: int = 3
    timeout: Any = None
    password: str = ""
    secret: str = ""
    token: str | None = None
    cookie: Any = None
    id_token: SecretStr = SecretStr("")

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        shown = [*self.__pydantic_fields__, self.verbose, self.profile, self.tags, self.metadata]
        shown += [getattr(self, one) for one in ("name", "streaming", "max_retries", "timeout", "password")]
        shown += [self.secret, self.token, self.cookie, self.id_token.get_secret_value(), sorted(kwargs.items())]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(repr(shown)))])


NAMES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "Ann"}, {"name": "Bob"}),
    ({"profile": {"user": "ann"}}, {"profile": {"user": "bob"}}),
    ({"verbose": True}, {"verbose": False}),
    ({"tags": ["formal"]}, {"tags": ["rude"]}),
    ({"metadata": {"a": "b"}}, {"metadata": {"a": "c"}}),
    ({"streaming": None}, {"streaming": False}),
    ({"max_retries": 3}, {"max_retries": 4}),
    ({"timeout": "soon"}, {"timeout": "late"}),
    ({"password": "swordfish"}, {"password": "opal"}),
    ({"secret": "of old"}, {"secret": "of new"}),
    ({"token": None}, {"token": ""}),
    ({"cookie": {"session": "a"}}, {"cookie": {"session": "b"}}),
    ({"id_token": SecretStr("a")}, {"id_token": SecretStr("b")}),
]


@pytest.mark.filterwarnings("ignore:Unrecognized keys in model profile")
@pytest.mark.parametrize(("one", "other"), NAMES, ids=str)
def test_fields_of_any_name_count(
    one: dict[str, Any], other: dict[str, Any], wrap: Callable[[Any], Any], cache: Cache
) -> None:
    texts = [wrap(Npc(**fields)).invoke("hi").text for fields in (one, other, one)]
    assert texts[0] == texts[2] != texts[1]
    assert cache.stats().hits == 1


@pytest.mark.parametrize("name", ["verbose", "profile", "stream", "token", "name", "password"])
def test_arguments_of_any_name_count(name: str, wrap: Callable[[Any], Any], cache: Cache) -> None:
    model = wrap(Quiet())
    texts = [model.invoke("hi", **{name: value}).text for value in ({"a": 1}, {"a": 2}, {"a": 1})]
    assert texts[0] == texts[2] != texts[1]
    assert cache.stats().hits == 1
    for seconds in (3, 4):
        model.invoke("ho", timeout=seconds)
    assert cache.stats().hits == 2


def test_of_a_completion_model_too() -> None:
    class Writer(LLM):
        metadata: dict[str, Any] | None = None

        @property
        def _llm_type(self) -> str:
            return "writer"

        def _call(self, prompt: str, *_: Any, **__: Any) -> str:
            return str(self.metadata)

    with Cache("memory://") as cache:
        for tone in ("formal", "rude"):
            assert tone in cached(Writer(metadata={"tone": tone}), cache).invoke("hi")


def test_what_the_code_does_not_use_of_langchains_fields_does_not_count() -> None:
    assert key(Quiet()) == key(Quiet(verbose=True, tags=["run 5"], metadata={"run": 5}, name="x"))


def test_a_providers_class_stays_as_it_is() -> None:
    def chat(**fields: Any) -> bytes:
        return key(ChatOpenAI(model="m", base_url="http://127.0.0.1:1", **{"api_key": "sk"} | fields))

    assert chat() == chat(api_key="rotated", verbose=True, tags=["x"], max_retries=7, streaming=True)


class Tuned(ChatOpenAI):
    """A provider's class with a field of one's own."""

    persona: str = ""
    password: str = ""

    def greeting(self) -> str:
        return f"{self.metadata}"


def test_a_subclass_of_a_providers_class_has_names_of_its_own() -> None:
    def tuned(**fields: Any) -> bytes:
        return key(Tuned(model="m", base_url="http://127.0.0.1:1", **{"api_key": "sk"} | fields))

    assert tuned() == tuned(api_key="rotated", verbose=True, max_retries=7)
    assert len({tuned(), tuned(persona="x"), tuned(password="x"), tuned(metadata={"a": 1})}) == 4


def test_a_credential_is_nowhere_to_be_seen() -> None:
    model = Npc(password="swordfish", cookie={"auth": "tin"}, metadata={"url": "https://ann:tin@host/?a=1"})
    form = parameters_of_model(model, None, {"token": "swordfish"}).encoded
    assert not [one for one in (b"swordfish", b"tin@", b'"tin"') if one in form]


# -- values --------------------------------------------------------------------------------------------------------


class Text(str):
    def say(self) -> str:
        return self.upper()


class Rows(list[Any]):
    pass


class Columns(dict[str, Any]):
    pass


class Level(int):
    pass


class Tone(enum.Enum):
    FORMAL = "formal"
    RUDE = "rude"


class Mood(enum.Enum):
    FORMAL = "formal"


class Helper:
    """An object of the application's own."""

    def __init__(self, text: Any) -> None:
        self.text = text

    def say(self) -> Any:
        return self.text


class Slotted:
    __slots__ = ("text",)

    def __init__(self, text: Any) -> None:
        self.text = text


DISTINCT = [
    lambda: [Tone.FORMAL, Tone.RUDE, Mood.FORMAL, "formal", Text("formal")],
    lambda: [False, "", None, 0, 0.0, -0.0, [], (), {}, "None", set(), frozenset(), deque(), deque(maxlen=2)],
    lambda: ["\u00e9", "e\u0301", "a\r\nb", "a\nb", "\ud800", "\ud801", b"a", bytearray(b"a")],
    lambda: [1, 1.0, True, "1", Level(1), Fraction(1), np.int64(1)],
    lambda: [{"a": 1, "b": 2}, {"b": 2, "a": 1}, Columns(a=1, b=2)],
    lambda: [{1: "a"}, {"1": "a"}],
    lambda: [[1, 2], (1, 2), Rows([1, 2]), deque([1, 2]), np.array([1, 2]), np.array([1.0, 2.0]), deque([2, 1])],
    lambda: [Helper("a"), Helper("b"), Helper(Helper("a")), Slotted("a"), Slotted("b")],
    lambda: [SimpleNamespace(a=1), SimpleNamespace(a=2)],
    lambda: [functools.partial(str, "a"), functools.partial(str, "b")],
    lambda: [ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Paris")],
    lambda: [random.Random(0), random.Random(1)],
    lambda: [lambda: "a", lambda: "b", Helper("a").say, Helper("b").say],
    lambda: [functools.lru_cache(lambda: "a"), functools.lru_cache(lambda: "b")],
    lambda: [RunnableLambda(lambda _: "a"), RunnableLambda(lambda _: "b")],
    lambda: [httpx.Timeout(3), httpx.Timeout(4)],
    lambda: [httpx.Client(base_url="http://a"), httpx.Client(base_url="http://b")],
    lambda: [Helper(openai.OpenAI(api_key="k", base_url=f"http://{host}")) for host in "ab"],
    lambda: [Quiet(held=1), Quiet(held=2)],
    lambda: [StructuredTool.from_function(one, name="say", description="Says.") for one in (say_a, say_b)],
]


def say_a() -> str:
    return "a"


def say_b() -> str:
    return "b"


@pytest.mark.parametrize("values", DISTINCT)
@pytest.mark.parametrize("place", ["held", "_held"])
def test_values_that_differ_to_its_code_are_apart(values: Callable[[], list[Any]], place: str) -> None:
    def keys() -> list[bytes]:
        models = [Quiet() for _ in values()]
        for model, value in zip(models, values(), strict=True):
            setattr(model, place, value)
        return [key(model) for model in models]

    first = keys()
    assert first == keys()
    assert len(set(first)) == len(first)


def test_code_of_a_class_in_a_field_counts() -> None:
    def defined(kind: str, says: str) -> bytes:
        names: dict[str, Any] = {"__name__": "tone_of_a_program", "enum": enum}
        exec(f"class Tone({kind}):\n    {'A = 1' if kind == 'enum.Enum' else 'pass'}\n"
             f"    def say(self): return {says!r}", names)  # fmt: skip
        return key(Quiet(held=names["Tone"].A if kind == "enum.Enum" else names["Tone"]()))

    for kind in ("enum.Enum", "str", "list", "dict", "int", "object"):
        assert defined(kind, "formal") == defined(kind, "formal") != defined(kind, "rude")


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock,
        lambda: logging.getLogger("a"),
        lambda: sqlite3.connect(":memory:"),
        lambda: InMemoryRateLimiter(requests_per_second=1),
        itertools.count,
        lambda: TypeAdapter(list[int]),
        MagicMock,
    ],
)
def test_a_part_of_the_running_program_says_nothing(make: Callable[[], Any]) -> None:
    one, other = make(), make()
    assert key(Quiet(held=one)) == key(Quiet(held=other)) == key(Quiet())
    for made in (one, other):
        if isinstance(made, sqlite3.Connection):
            made.close()


def test_what_an_object_of_the_application_holds_counts_as_it_is_now(cache: Cache) -> None:
    held = Helper("formal")
    model = cached(Quiet(held=[held]), cache)
    for text, hits in (("formal", 0), ("rude", 0), ("formal", 1)):
        held.text = text
        model.invoke("hi")
        assert cache.stats().hits == hits
    array = np.zeros(2)
    model = cached(Quiet(held=array), cache)
    for number, hits in ((0, 1), (1, 1), (0, 2)):
        array[0] = number
        model.invoke("hi")
        assert cache.stats().hits == hits


class Raising:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise self.error

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise self.error


def test_what_cannot_be_read_is_named_and_is_no_error(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    for held in ((n for n in ()), Helper(n for n in ()), Raising(ValueError("x"))):
        assert cached(Quiet(held=held), cache).invoke("hi").text
    assert cache.stats().bypassed == 3
    assert "Quiet.held holds a builtins.generator" in caplog.text
    assert "Quiet.held.text holds a builtins.generator" in caplog.text
    assert "Quiet.held holds a tests.langchain.keys.test_own_models.Raising" in caplog.text
    caplog.clear()
    with pytest.raises(ConfigError, match=r"ChatOpenAI\.model_kwargs holds"):
        key(ChatOpenAI(model="m", base_url="http://127.0.0.1:1", api_key="sk", model_kwargs={"a": np.zeros(2)}))


# -- what changes while it answers ---------------------------------------------------------------------------------


class Busy(Quiet):
    """Counts, remembers, and makes its client when it first needs it."""

    _calls: int = PrivateAttr(0)
    _log: list[str] = PrivateAttr(default_factory=list)
    _memo: dict[str, Any] = PrivateAttr(default_factory=dict)
    _client: Any = PrivateAttr(None)
    _helper: Any = PrivateAttr(default_factory=lambda: Helper(0))

    @functools.cached_property
    def http(self) -> Any:
        return httpx.Client(base_url="http://a")

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        self._calls += 1
        self._log.append("a call")
        self._memo[messages[0].text] = iter(())
        self._client = self._client or self.http
        self._helper.text += 1
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hi"))])


def test_what_a_model_changes_of_itself_costs_no_second_call(wrap: Callable[[Any], Any], cache: Cache) -> None:
    model = wrap(Busy())
    for text in ("a", "b", "a", "b"):
        model.invoke(text)
    assert (cache.stats().misses, cache.stats().hits) == (2, 2)
    wrap(Busy()).invoke("a")
    assert cache.stats().hits == 3


class PerRequest(Quiet):
    run_id: str = Field(default_factory=lambda: uuid.uuid4().hex)


def test_models_of_which_each_is_new_are_reported_once(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    for at in range(60):
        cached(Quiet(held=at % 15), cache).invoke("hi")
    assert not caplog.messages
    for _ in range(60):
        cached(PerRequest(), cache).invoke("hi")
    assert ["run_id" in one and "PerRequest" in one for one in caplog.messages] == [True]


# -- embeddings ----------------------------------------------------------------------------------------------------


class Glove(Embeddings):
    def __init__(self, **held: Any) -> None:
        self.model = "glove"
        self.__dict__.update(held)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(repr(self.__dict__))), 1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"vectors": np.ones(3)}, {"vectors": np.zeros(3)}),
        ({"verbose": True}, {"verbose": False}),
        ({"password": "a"}, {"password": "b"}),
        ({"pooling": None}, {"pooling": ""}),
        ({"tone": Tone.FORMAL}, {"tone": Mood.FORMAL}),
        ({"helper": Helper(2)}, {"helper": Helper(3)}),
    ],
    ids=str,
)
def test_embeddings_of_ones_own(one: dict[str, Any], other: dict[str, Any], cache: Cache) -> None:
    for held in (one, other, one):
        cached(Glove(**held), cache).embed_query("hi")
    assert (cache.stats().misses, cache.stats().hits) == (2, 1)


def test_embeddings_that_raise_are_no_error_but_a_message(cache: Cache) -> None:
    with pytest.raises(ConfigError, match=r"Glove\.of holds"):
        cached(Glove(of=Raising(ValueError("x"))), cache)
    assert cached(Glove(of=Raising(ValueError("x"))), cache, model="glove")


@dataclasses.dataclass
class Options:
    strict: bool | None = None


class Settings(BaseModel):
    strict: bool | None = False


def test_false_is_not_nothing_within_an_object_either() -> None:
    assert len({key(Quiet(held=kind(strict=one))) for kind in (Options, Settings) for one in (None, False)}) == 4


RUN = """
import uuid
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

RUN_ID = uuid.uuid4().hex

class Model(BaseChatModel):
    @property
    def _llm_type(self): return "own"
    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=RUN_ID))])
"""


def test_an_id_of_the_run_in_the_code_can_be_left_out() -> None:
    def hits(*ignore: FormField) -> int:
        with Cache("memory://", ignore=ignore) as cache:
            for _ in range(2):
                module = types.ModuleType("a_program")
                exec(RUN, module.__dict__)
                cached(module.Model(), cache).invoke("hi")
            return cache.stats().hits

    assert (hits(), hits(FormField("model.code"))) == (0, 1)
