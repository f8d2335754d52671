"""What own code makes at its first call is no setting; what the application changes of it afterwards is."""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
import requests
from langchain_core.language_models.llms import LLM
from pydantic import BaseModel, PrivateAttr

from askonce import Cache, cache_options
from askonce.langchain import cached


@dataclasses.dataclass
class Chosen:
    tone: str = "kind"
    level: float = 0.1


class Declared(BaseModel):
    tone: str = "kind"
    level: float = 0.1


class Plain:
    def __init__(self) -> None:
        self.tone, self.level = "kind", 0.1


class Counting(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0


def session() -> requests.Session:
    made = requests.Session()
    made.headers["x-team"] = "red"
    return made


def set_in(held: Any, name: str, value: Any) -> None:
    if isinstance(held, dict):
        held[name] = value
    else:
        setattr(held, name, value)


def shown(held: Any) -> str:
    if isinstance(held, openai.OpenAI):
        return f"{held.base_url} {held._custom_headers}"
    if isinstance(held, (httpx.Client, requests.Session)):
        return f"{getattr(held, 'base_url', '')} {held.headers['x-team']}"
    if isinstance(held, deque):
        return str([shown(one) for one in held])
    values = held if isinstance(held, dict) else vars(held)
    return str(
        {
            name: one if isinstance(one, (str, float)) else shown(one)
            for name, one in values.items()
            if name != "calls"
        }
    )


MADE: dict[str, tuple[Callable[[], Any], list[Callable[[Any], object]]]] = {
    "a client of httpx": (
        lambda: httpx.Client(base_url="http://a", headers={"x-team": "red"}),
        [lambda one: one.headers.update({"x-team": "blue"}), lambda one: setattr(one, "base_url", "http://b")],
    ),
    "a session of requests": (session, [lambda one: one.headers.update({"x-team": "blue"})]),
    "an SDK's client": (
        lambda: openai.OpenAI(api_key="x", base_url="http://a", default_headers={"x-team": "red"}),
        [
            lambda one: setattr(one, "base_url", "http://b"),
            lambda one: setattr(one, "_custom_headers", {"x-team": "blue"}),
        ],
    ),
    **{
        name: (make, [lambda one: set_in(one, "tone", "rude"), lambda one: set_in(one, "level", 0.9)])
        for name, make in {
            "a dataclass": Chosen,
            "a pydantic model": Declared,
            "an own object": Plain,
            "an own object that counts": Counting,
            "a namespace": lambda: SimpleNamespace(tone="kind", level=0.1),
            "a map": lambda: {"tone": "kind", "level": 0.1},
        }.items()
    },
    "an object in a map": (
        lambda: {"chosen": Chosen()},
        [lambda one: set_in(one["chosen"], "tone", "rude"), lambda one: set_in(one["chosen"], "level", 0.9)],
    ),
    "an object in a deque": (lambda: deque([Plain()]), [lambda one: set_in(one[0], "tone", "rude")]),
}

make: Callable[[], Any]
made: Any = None


class Answering(LLM):
    @property
    def _llm_type(self) -> str:
        return "own"

    def use(self, held: Any) -> str:
        if isinstance(held, Counting):
            held.calls += 1
        return shown(held)


class InField(Answering):
    _held: Any = PrivateAttr(default=None)

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        if self._held is None:
            self._held = make()
        return self.use(self._held)


class ByProperty(Answering):
    _held: Any = PrivateAttr(default=None)

    @property
    def held(self) -> Any:
        if self._held is None:
            self._held = make()
        return self._held

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self.use(self.held)


class ByCachedProperty(Answering):
    @functools.cached_property
    def _held(self) -> Any:
        return make()

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self.use(self._held)


class InVariable(Answering):
    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        global made
        if made is None:
            made = make()
        return self.use(made)


def get() -> Any:
    global made
    if made is None:
        made = make()
    return made


class ByFunction(Answering):
    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self.use(get())


class Single:
    made: Any = None

    @classmethod
    def get(cls) -> Any:
        if cls.made is None:
            cls.made = make()
        return cls.made


class ByClass(Answering):
    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self.use(Single.get())


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


@pytest.mark.parametrize("cls", [InField, ByProperty, ByCachedProperty, InVariable, ByFunction, ByClass])
@pytest.mark.parametrize("what", MADE)
def test_what_is_made_at_the_first_call_counts_once_it_is_changed(cls: Any, what: str, cache: Cache) -> None:
    global make, made
    make, changes = MADE[what]
    for _ in range(3):  # as after a restart
        made = Single.made = None
        model = cached(cls(), cache)
        assert len({model.invoke("q") for _ in range(3)}) == 1
    assert cache.stats().hits == 8
    with cache_options(bypass=True):
        model.invoke("q")
    held = getattr(model, "_held", None) or made or Single.made
    for change in changes:
        change(held)
        assert [model.invoke("q") for _ in range(2)] == [shown(held)] * 2
    assert cache.stats().hits == 8 + len(changes)
    assert cache.stats().not_stored_reasons == {}
    made = Single.made = None
    fresh = cached(cls(), cache)
    fresh.invoke("q")
    assert cache.stats().hits == 9 + len(changes)


def test_what_is_computed_once_counts_though_it_was_changed_before_the_first_call(cache: Cache) -> None:
    global make
    make = Plain
    cached(ByCachedProperty(), cache).invoke("q")
    model = ByCachedProperty()
    model._held.tone = "rude"
    assert "rude" in cached(model, cache).invoke("q")
