"""What is set on a model while it answers, or between calls, is a setting; what its own code changes is none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, PrivateAttr

from askonce import Cache, cache_options
from askonce.langchain import AskOnceCache, cached


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


@pytest.fixture(params=["cached", "set_llm_cache"])
def wrap(request: pytest.FixtureRequest, cache: Cache) -> Iterator[Callable[[Any], Any]]:
    if request.param == "cached":
        yield lambda model: cached(model, cache)
    else:
        set_llm_cache(AskOnceCache(cache))
        yield lambda model: model
        set_llm_cache(None)


during: list[Callable[[], None]] = []
"""What another thread or task does while a model answers."""


def wait() -> None:
    for act in during:
        thread = threading.Thread(target=act)
        thread.start()
        thread.join()


def message(text: str) -> AIMessageChunk:
    return AIMessageChunk(content=text)


class Chat(BaseChatModel):
    persona: str = "butler"

    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        wait()
        return ChatResult(generations=[ChatGeneration(message=message(self.persona))])


class Streaming(Chat):
    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        yield ChatGenerationChunk(message=message("I am a "))
        wait()
        yield ChatGenerationChunk(message=message(self.persona))


class Completion(LLM):
    persona: str = "butler"

    @property
    def _llm_type(self) -> str:
        return "own"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        wait()
        return self.persona


class Vectors(Embeddings):
    def __init__(self) -> None:
        self.model, self.persona, self.stats = "own", "butler", {"calls": 0}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        wait()
        self.stats["calls"] += 1
        return [[float(len(self.persona)), 1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


CALLS: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (Chat, lambda model: model.invoke("q").content),
    (Chat, lambda model: asyncio.run(model.ainvoke("q")).content),
    (Chat, lambda model: [one.content for one in model.batch(["q"])]),
    (Completion, lambda model: model.invoke("q")),
    (Completion, lambda model: [one[0].text for one in model.generate(["q", "r"]).generations]),
    (Completion, lambda model: asyncio.run(model.ainvoke("q"))),
]
OF_WRAPPED: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (Streaming, lambda model: "".join(chunk.text for chunk in model.stream("q"))),
    (Vectors, lambda model: model.embed_query("q")),
    (Vectors, lambda model: model.embed_documents(["q", "r"])),
    (Vectors, lambda model: asyncio.run(model.aembed_query("q"))),
]


def check(make: Callable[[], Any], call: Callable[[Any], Any], wrap: Callable[[Any], Any], cache: Cache) -> None:
    with cache_options(bypass=True):
        expected = call(make())
    model = wrap(make())
    during.append(lambda: setattr(getattr(model, "embeddings", model), "persona", "a pirate"))
    try:
        assert call(model) != expected
    finally:
        during.clear()
    assert call(wrap(make())) == expected
    assert cache.stats().hits == 0
    assert call(wrap(make())) == expected
    assert cache.stats().hits > 0


@pytest.mark.parametrize(("make", "call"), CALLS)
def test_a_setting_that_is_changed_while_a_model_answers(
    make: Callable[[], Any], call: Callable[[Any], Any], wrap: Callable[[Any], Any], cache: Cache
) -> None:
    check(make, call, wrap, cache)


@pytest.mark.parametrize(("make", "call"), OF_WRAPPED)
def test_streams_and_embeddings_too(make: Callable[[], Any], call: Callable[[Any], Any], cache: Cache) -> None:
    check(make, call, lambda model: cached(model, cache), cache)


class Lazy(Chat):
    _client: Any = PrivateAttr(default=None)
    _level: float = PrivateAttr(default=5.0)
    _modes: Any = PrivateAttr(default_factory=dict)

    def connect(self, url: str) -> None:
        self._client = httpx.Client(base_url=url)

    def set_level(self, level: float) -> None:
        self._level = level

    def set_mode(self, mode: str) -> None:
        self._modes["mode"] = mode

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self._client is None:
            self.connect("http://one")
        if self._level > 1:
            self._level = 1.0
        mode = self._modes.setdefault("mode", "plain")
        text = f"{self._client.base_url} {self._level} {mode}"
        return ChatResult(generations=[ChatGeneration(message=message(text))])


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.connect("http://two"),
        lambda model: model.set_level(0.5),
        lambda model: model.set_mode("fancy"),
    ],
)
def test_what_is_set_in_place_of_what_the_code_filled_in_counts(
    change: Callable[[Any], None], wrap: Callable[[Any], Any], cache: Cache
) -> None:
    model = wrap(Lazy())
    first = model.invoke("q").content
    assert model.invoke("q").content == first
    assert cache.stats().hits == 1
    change(model)
    second = model.invoke("q").content
    assert second != first
    assert model.invoke("q").content == second
    assert wrap(Lazy()).invoke("q").content == first
    assert cache.stats().hits == 3


def test_a_singleton_that_is_made_at_the_first_call_does_not_keep_its_answer_from_the_store(
    wrap: Callable[[Any], Any], cache: Cache
) -> None:
    class Settings:
        _made: Any = None

        def __new__(cls) -> Any:
            if cls._made is None:
                cls._made = super().__new__(cls)
                cls._made.given = {"tone": "kind"}
            return cls._made

        given: dict[str, str]

    class Kind(Chat):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=message(Settings().given["tone"]))])

    model = wrap(Kind())
    assert [model.invoke("q").content for _ in range(2)] == ["kind", "kind"]
    assert (cache.stats().hits, cache.stats().not_stored_reasons) == (1, {})
    Settings().given.update(tone="rude")
    assert model.invoke("q").content == "rude"


class Counting(Chat):
    _stats: Any = PrivateAttr(default_factory=lambda: {"calls": 0, "tone": "plain"})

    def count(self) -> str:
        self._stats["calls"] += 1
        return str(self._stats["tone"])

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=message(self.count()))])


class CountingInList(Counting):
    _stats: Any = PrivateAttr(default_factory=lambda: [0])

    def count(self) -> str:
        self._stats[0] += 1
        return "plain"


class CountingInNamespace(Counting):
    _stats: Any = PrivateAttr(default_factory=lambda: SimpleNamespace(calls=0))

    def count(self) -> str:
        self._stats.calls += 1
        return "plain"


@pytest.mark.parametrize("cls", [Counting, CountingInList, CountingInNamespace])
def test_a_number_in_a_map_a_list_or_a_namespace_is_a_counter(
    cls: Any, wrap: Callable[[Any], Any], cache: Cache
) -> None:
    model = wrap(cls())
    for question in ("q", "r", "q", "r"):
        model.invoke(question)
    assert cache.stats().hits == 2


def test_a_setting_beside_a_counter_counts(wrap: Callable[[Any], Any], cache: Cache) -> None:
    model = wrap(Counting())
    model.invoke("q")
    model._stats["tone"] = "fancy"
    assert model.invoke("q").content == "fancy"
    model._stats["tone"] = "plain"
    assert model.invoke("q").content == "plain"
    assert cache.stats().hits == 1


class CountingInPublic(Chat):
    calls: int = 0
    seen: list[str] = Field(default_factory=list)
    usage: dict[str, int] = Field(default_factory=lambda: {"calls": 0})

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.calls += 1
        self.seen.append(messages[-1].content)
        self.usage["calls"] += 1
        return ChatResult(generations=[ChatGeneration(message=message(f"{self.calls} {self.persona}"))])


def test_so_is_a_public_one_until_the_application_sets_it(wrap: Callable[[Any], Any], cache: Cache) -> None:
    model = wrap(CountingInPublic())
    assert [model.invoke(question).content[0] for question in ("q", "r", "q", "r")] == ["1", "2", "1", "2"]
    model.calls = 6
    assert model.invoke("q").content[0] == "7"
    model.calls = 0
    assert model.invoke("q").content[0] == "1"
    model.persona = "other"
    assert model.invoke("q").content == "1 other"


def test_a_counter_costs_nothing_where_several_threads_call(cache: Cache) -> None:
    barrier = threading.Barrier(4)

    class Counted(Chat):
        _calls: int = PrivateAttr(default=0)
        _made: Any = PrivateAttr(default=None)

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            self._calls += 1
            self._made = self._made or httpx.Client(base_url="http://one")
            barrier.wait()
            return ChatResult(generations=[ChatGeneration(message=message("plain"))])

    model = cached(Counted(), cache)
    questions = [f"q{at}" for at in range(8)]
    model.batch(questions, config={"max_concurrency": 4})
    cached(Counted(), cache).batch(questions)
    assert cache.stats().hits == 8


def test_a_flag_that_the_code_sets_while_it_answers_is_a_setting_between_calls_alone(cache: Cache) -> None:
    inside, outside = threading.Event(), threading.Event()

    class Busy(Chat):
        _is_busy: bool = PrivateAttr(default=False)

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            was_busy, self._is_busy = self._is_busy, True
            if messages[-1].content == "first":
                inside.set()
                outside.wait(10)
            self._is_busy = False
            text = "busy" if was_busy and not inside.is_set() else "free"
            return ChatResult(generations=[ChatGeneration(message=message(text))])

    model = cached(Busy(), cache)
    first = threading.Thread(target=model.invoke, args=("first",))
    first.start()
    inside.wait(10)
    model.invoke("second")
    outside.set()
    first.join()
    for question in ("first", "second"):
        assert model.invoke(question).content == "free"
    assert (cache.stats().hits, cache.stats().not_stored_reasons) == (2, {})
    inside.clear()
    model._is_busy = True
    assert model.invoke("second").content == "busy"
    assert cache.stats().hits == 2


class Noting(Chat):
    _last: str = PrivateAttr(default="")

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self._last = messages[-1].content
        return super()._generate(messages)


def test_a_text_that_the_code_notes_does_not_keep_the_answer_from_the_store(
    wrap: Callable[[Any], Any], cache: Cache
) -> None:
    for _ in range(3):
        wrap(Noting()).invoke("q")
    assert cache.stats().hits == 2


class Biased(Chat):
    bias: float = 0.0


def test_zero_is_not_minus_zero_in_one_object_either(wrap: Callable[[Any], Any], cache: Cache) -> None:
    model = wrap(Biased())
    model.invoke("q")
    model.bias = -0.0
    model.invoke("q")
    assert cache.stats().hits == 0
