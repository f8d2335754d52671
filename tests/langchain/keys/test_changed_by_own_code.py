"""What own code changes while it answers is its own; what the program changes beside it counts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models.llms import LLM
from pydantic import PrivateAttr

from askonce import Cache
from askonce.langchain import cached


class Answering(LLM):
    @property
    def _llm_type(self) -> str:
        return "own"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return f"{self.tone()} {prompt}"

    def tone(self) -> str:
        return "kind"


@pytest.fixture
def cache() -> Iterator[Cache]:
    with Cache("memory://") as cache:
        yield cache


class Login:
    def __init__(self) -> None:
        self._token = ""

    def refresh(self) -> None:
        import os

        if self._token != os.environ["TOKEN"]:
            self._token = os.environ["TOKEN"]


class WithLogin(Answering):
    _login: Any = PrivateAttr(default=None)

    def tone(self) -> str:
        if self._login is None:
            self._login = Login()
        self._login.refresh()
        return "kind"


login: Any = None


class WithSharedLogin(Answering):
    def tone(self) -> str:
        global login
        if login is None:
            login = Login()
        login.refresh()
        return "kind"


@pytest.mark.parametrize("cls", [WithLogin, WithSharedLogin])
def test_a_token_that_own_code_refreshes_while_it_answers_costs_no_entry(
    cls: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    global login
    login, texts = None, list[str]()
    model = cached(cls(), cache)
    for at in range(4):
        monkeypatch.setenv("TOKEN", f"token {at}")
        texts.append(f"text {at}")
        model.invoke(texts[-1])
        before = cache.stats().hits
        for text in texts:
            model.invoke(text)
        assert cache.stats().hits == before + len(texts)
    assert cache.stats().not_stored_reasons == {}


SIZE = 0
table: Any = None


class WithTable(Answering):
    def tone(self) -> str:
        global table
        if table is None:
            table = [{"tone": "kind"} for _ in range(SIZE)]
        return str(table[0]["tone"])


class Holder:
    def __init__(self, items: list[Any]) -> None:
        self.items = items


class WithTableInField(Answering):
    _holder: Any = PrivateAttr(default=None)

    def tone(self) -> str:
        global table
        if self._holder is None:
            self._holder = Holder([{"tone": "kind"} for _ in range(SIZE)])
        table = self._holder.items
        return str(table[0]["tone"])


def calls_of_a_hit(cls: Any, size: int, cache: Cache) -> int:
    global SIZE, table
    SIZE, table = size, None
    model, found = cached(cls(), cache), 0
    for _ in range(3):
        model.invoke("q")

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal found
        found += event == "call"

    sys.setprofile(count)
    try:
        model.invoke("q")
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("cls", [WithTable, WithTableInField])
def test_a_large_table_that_is_loaded_at_the_first_call_costs_a_hit_nothing(cls: Any, cache: Cache) -> None:
    assert calls_of_a_hit(cls, 5_000, cache) < calls_of_a_hit(cls, 10, cache) + 200


def test_a_table_that_is_loaded_at_the_first_call_counts_once_the_program_changes_it(cache: Cache) -> None:
    global SIZE, table
    SIZE, table = 900, None
    model = cached(WithTable(), cache)
    assert [model.invoke("q") for _ in range(2)] == ["kind q"] * 2
    table[0]["tone"] = "rude"
    assert model.invoke("q") == "rude q"
    SIZE, table = 5_000, None
    model = cached(WithTable(), cache)
    assert [model.invoke("r") for _ in range(2)] == ["kind r"] * 2
    table = [{"tone": "rude"}] * 5_000
    assert model.invoke("r") == "rude r"


def remembered() -> Any:
    if not hasattr(remembered, "made"):
        remembered.made = {"tone": "kind"}  # type: ignore[attr-defined]
    return remembered.made  # type: ignore[attr-defined]


class ByAttribute(Answering):
    def tone(self) -> str:
        return str(remembered()["tone"])


of_thread = threading.local()


def of_this_thread() -> Any:
    if not hasattr(of_thread, "made"):
        of_thread.made = {"tone": "kind", "calls": 0}
    of_thread.made["calls"] += 1
    return of_thread.made


class ByThread(Answering):
    def tone(self) -> str:
        return str(of_this_thread()["tone"])


@pytest.mark.parametrize(("cls", "get"), [(ByAttribute, remembered), (ByThread, of_this_thread)])
@pytest.mark.parametrize("before", ["q", "qr", "qq", "qrqr"])
def test_what_a_function_or_a_thread_has_got_at_the_first_call_counts_once_it_is_changed(
    cls: Any, get: Callable[[], Any], before: str, cache: Cache
) -> None:
    for held in (remembered, of_thread):
        vars(held).clear()
    model = cached(cls(), cache)
    for text in before:
        model.invoke(text)
    assert cache.stats().hits == len(before) - len({*before})
    get()["tone"] = "rude"
    assert [model.invoke("q") for _ in range(2)] == ["rude q"] * 2
    assert cache.stats().hits == len(before) - len({*before}) + 1


class Scope:
    stack: Any = None

    def __init__(self, **given: str) -> None:
        self.given = given

    def __enter__(self) -> None:
        Scope.stack.append({**Scope.stack[-1], **self.given})

    def __exit__(self, *error: object) -> None:
        Scope.stack.pop()


class Scoped(Answering):
    def tone(self) -> str:
        with Scope(stage="answer"):
            return str(Scope.stack[-1]["tone"])


@pytest.mark.parametrize("is_answered_before", [True, False])
def test_what_the_program_pushes_on_a_stack_that_the_answer_uses_too_counts(
    is_answered_before: bool, cache: Cache
) -> None:
    Scope.stack = [{"tone": "kind"}]
    if not is_answered_before:
        cached(Scoped(), cache).invoke("q")
    model = cached(Scoped(), cache)
    hits = cache.stats().hits
    for text in "qq" if is_answered_before else "q":
        model.invoke(text)
    assert cache.stats().hits == hits + 1
    with Scope(tone="rude"):
        assert [model.invoke(text) for text in "qrqr"] == ["rude q", "rude r"] * 2
    assert [model.invoke(text) for text in "qr"] == ["kind q", "kind r"]
    assert cache.stats().hits == hits + 4


recent: list[str] = []


class Remembering(Answering):
    def tone(self) -> str:
        recent.append("called")
        if len(recent) > 2:
            recent.pop(0)
        return "kind"


def test_a_log_of_which_the_code_drops_the_oldest_costs_no_entry(cache: Cache) -> None:
    recent.clear()
    model = cached(Remembering(), cache)
    for text in "abcdef":
        model.invoke(text)
    before = cache.stats().hits
    for text in "abcdef":
        model.invoke(text)
    assert cache.stats().hits == before + 6
