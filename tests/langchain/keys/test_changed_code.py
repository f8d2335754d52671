"""A model of an own class whose code, or what that uses, is changed while the model lives."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, ClassVar

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from askonce import Cache
from askonce.langchain import AskOnceCache, cached

PROGRAM = """
import asyncio, time
from contextvars import ContextVar
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.messages import AIMessage

tone, strict, settings, log, calls = "formal", True, {"tone": "formal", "hits": 0}, [], 0
user = ContextVar("user", default=None)
token = ContextVar("token", default=None)
made = []
_prompt = None

class Persona:
    def __init__(self):
        self.tone, self.answered = "formal", []

persona = Persona()

def prompt():
    global calls, _prompt
    calls += 1
    settings["hits"] += 1
    log.append("an answer")
    persona.answered.append("an answer")
    persona.last = "an answer"
    if _prompt is None:
        _prompt = "read at the first call"
    return "Be formal"

class Model(BaseChatModel):
    @property
    def _llm_type(self): return "own"
    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        made.append(1)
        prompt()
        text = f"{prompt()} {tone} {strict} {settings['tone']} {persona.tone} {self.kind()} {user.get()} USED"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])
    def kind(self): return "kind"
"""
CHANGES = {
    "a function": "def prompt(): return 'Be rude'",
    "a text": "tone = 'rude'",
    "a truth value": "strict = False",
    "an item of a map": "settings['tone'] = 'rude'",
    "a map": "settings = {'tone': 'rude', 'hits': 0}",
    "an attribute": "persona.tone = 'rude'",
    "a method": "Model.kind = lambda self: 'other'",
}


IN_PLACE = {
    "an array": ("np.ones(4)", "held[0] = 7"),
    "an array of objects": ("np.array(['a', None], dtype=object)", "held[0] = 'b'"),
    "bytes": ("bytearray(b'abc')", "held[0] = 65"),
    "numbers": ("array.array('i', [1, 2])", "held[0] = 65"),
    "a template": ("string.Template('a')", "held.template = 'b'"),
    "a header": ("httpx.Client(headers={'x-tone': 'a'})", "held.headers['x-tone'] = 'b'"),
    "a cookie": ("httpx.Client()", "held.cookies.set('tone', 'b')"),
    "a session's header": ("requests.Session()", "held.headers['x-tone'] = 'b'"),
    "a session's hook": ("requests.Session()", "held.hooks['response'].append(len)"),
    "defaults": ("function", "held.__defaults__ = ('b',)"),
    "defaults by name": ("function", "held.__kwdefaults__ = {'ending': '?'}"),
    "a default by name": ("function", "held.__kwdefaults__['ending'] = '?'"),
    "code": ("function", "held.__code__ = (lambda: 'c').__code__"),
    "a method's object": ("Persona().say", "held.__self__.tone = 'rude'"),
}
CHANGING_IN_PLACE = """
import array, string
import httpx, requests
import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.messages import AIMessage

made = []
def function(text="a", *, ending="!"): return text + ending

class Persona:
    def __init__(self): self.tone = "formal"
    def say(self): return self.tone

held = HELD

class Model(BaseChatModel):
    part: object = None
    @property
    def _llm_type(self): return "own"
    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        made.append(1)
        text = f"{held is None} {self.part is None}"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])
"""


def program(used: str = "") -> Any:
    module = types.ModuleType("a_notebook")
    exec(PROGRAM.replace("USED", used), module.__dict__)
    return module


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(f"sqlite:///{tmp_path / 'answers.db'}")
    yield cache
    cache.close()


@pytest.fixture(params=["cached", "set_llm_cache"])
def model_of(request: pytest.FixtureRequest, store: Cache) -> Iterator[Any]:
    """Gives a program's model, cached in one of two ways."""
    if request.param == "cached":
        yield lambda module: cached(module.Model(), store)
        return
    set_llm_cache(AskOnceCache(store))
    yield lambda module: module.Model()
    set_llm_cache(None)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_between_two_calls_is_seen_and_stored_under_a_key_of_its_own(model_of: Any, change: str) -> None:
    module = program()
    model = model_of(module)
    first = model.invoke("one").content
    assert model.invoke("one").content == first
    assert len(module.made) == 1  # counters and logs that the call has changed are no settings
    exec(change, module.__dict__)
    assert model.invoke("one").content == module.Model(cache=False).invoke("one").content != first
    second = model.invoke("two").content
    again = program()
    restarted = model_of(again)
    assert restarted.invoke("one").content == first
    assert restarted.invoke("two").content == first != second


@pytest.mark.parametrize(("held", "change"), IN_PLACE.values(), ids=IN_PLACE)
@pytest.mark.parametrize("place", ["variable", "field"])
def test_a_change_in_place_is_seen(store: Cache, held: str, change: str, place: str) -> None:
    module = types.ModuleType("a_notebook")
    exec(CHANGING_IN_PLACE.replace("HELD", held), module.__dict__)
    if place == "field":
        part, module.held = module.held, None
    model = cached(module.Model(part=part if place == "field" else None), store)
    model.invoke("hi")
    model.invoke("hi")
    assert len(module.made) == 1
    exec(change, {"held": model.part if place == "field" else module.held})
    model.invoke("hi")
    model.invoke("hi")
    assert len(module.made) == 2


def test_what_a_context_variable_holds_counts_and_a_credential_hinders(model_of: Any) -> None:
    module = program()
    model = model_of(module)

    def call(user: str | None, asynchronous: bool) -> str:
        module.user.set(user)
        answer = asyncio.run(model.ainvoke("mail?")) if asynchronous else model.invoke("mail?")
        return str(answer.content)

    for asynchronous in (False, True):
        for name in ("ann", "bob", "ann"):
            assert name in copy_context().run(call, name, asynchronous)
    assert len(module.made) == 2
    with_token = program("{token.get()}")
    model = model_of(with_token)
    with_token.token.set("secret")
    for _ in range(2):
        assert "secret" in model.invoke("mail?").content
    assert len(with_token.made) == 2


def test_many_callers_at_once_share_an_answer_though_the_code_counts(store: Cache) -> None:
    module = program()
    module.__dict__["prompt"] = types.FunctionType(module.prompt.__code__, module.__dict__)
    exec("slow = prompt\ndef prompt():\n    slow()\n    time.sleep(0.2)\n    return 'Be formal'", module.__dict__)
    model = cached(module.Model(), store)
    with ThreadPoolExecutor(8) as pool:
        assert len({one.content for one in pool.map(lambda at: answered(model, at / 30), range(8))}) == 1
    assert len(module.made) == 1


def answered(model: Any, seconds: float) -> Any:
    """Call the model after some time, while the first call is under way."""
    time.sleep(seconds)
    return model.invoke("one")


def test_a_variable_for_logs_alone_does_not_count(store: Cache) -> None:
    module = program("{len(str(request.get()))}")
    module.__dict__["request"] = ContextVar("request_id", default="a")
    model = cached(module.Model(), store)
    model.invoke("one")
    module.request.set("b")
    model.invoke("one")
    assert len(module.made) == 1


class Slow(BaseChatModel):
    temperature: float = 0.1
    meanwhile: ClassVar[list[Callable[[], object]]] = []

    @property
    def _llm_type(self) -> str:
        return "slow"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        answer = f"at {self.temperature}"
        while self.meanwhile:
            self.meanwhile.pop()()
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])


def test_an_answer_is_not_stored_under_a_setting_that_came_while_it_was_made(model_of: Any) -> None:
    model = model_of(types.SimpleNamespace(Model=Slow))
    Slow.meanwhile.append(lambda: setattr(model, "temperature", 0.9))
    assert [model.invoke("hi").content for _ in range(3)] == ["at 0.1", "at 0.9", "at 0.9"]


def test_a_setting_that_changes_while_another_model_answers_is_seen(model_of: Any) -> None:
    space = program()
    model, other = model_of(space), model_of(types.SimpleNamespace(Model=Slow))
    model.invoke("hi")
    found: list[str] = []

    def change() -> None:
        space.strict = False
        space.log.append("more")
        found.append(model.invoke("hi").content)

    Slow.meanwhile.append(change)
    other.invoke("hi")
    assert "False" in found[0]
