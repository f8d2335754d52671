"""An unchanged model is identified once; any change that can be seen is seen."""

from __future__ import annotations

import gc
import time
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr

from askonce.keys.model_identity import RememberedIdentity, record_changes
from askonce.keys.normal_form import Uncacheable
from askonce.keys.own.code import code_of


class Model(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    name: str = "gpt"
    temperature: Any = 0.5
    options: dict[str, Any] = {}
    client: Any = None
    _private: Any = PrivateAttr(default=None)


class Counted:
    """Derives everything that a model holds, and counts how often."""

    def __init__(self) -> None:
        self.derived = 0
        self.identity: RememberedIdentity[str] = RememberedIdentity(self._derive)

    def _derive(self, model: Any) -> str:
        self.derived += 1
        return repr((model.__dict__, model.__pydantic_private__, model.__pydantic_extra__))


def test_an_unchanged_model_is_derived_once() -> None:
    counted, model = Counted(), Model(options={"a": [1, {"b": {1, 2}}], "c": (1, 2)}, client=object())
    assert len({counted.identity.of(model) for _ in range(5)}) == counted.derived == 1
    other = Model()
    counted.identity.of(other)
    assert counted.derived == 2


def _inside(model: Model) -> None:
    model.options["a"][1]["b"].add(3)


CHANGES = {
    "a field": lambda model: setattr(model, "name", "claude"),
    "a field of equal value and another type": lambda model: setattr(model, "temperature", True),
    "an extra field": lambda model: setattr(model, "further", 1),
    "a private attribute": lambda model: setattr(model, "_private", 1),
    "an item of a dict": lambda model: model.options.update(z=1),
    "the order of a dict": lambda model: model.options.update(a=model.options.pop("a")),
    "an item deep inside": _inside,
    "an item of equal value and another type": lambda model: model.options.update(one=True),
    "a client": lambda model: setattr(model, "client", object()),
    "a client in a list": lambda model: model.options["clients"].__setitem__(0, object()),
    "the class": lambda model: object.__setattr__(model, "__class__", type("Sub", (Model,), {})),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(change: Any) -> None:
    counted = Counted()
    model = Model(
        temperature=1, options={"a": [1, {"b": {1, 2}}], "one": 1, "clients": [object()]}, client=object()
    )
    counted.identity.of(model)
    change(model)
    counted.identity.of(model)
    assert counted.derived == 2
    counted.identity.of(model)
    assert counted.derived == 2


def test_a_model_that_is_gone_is_forgotten() -> None:
    counted = Counted()
    for _ in range(100):
        counted.identity.of(Model())
    gc.collect()
    assert not counted.identity._known


def test_what_cannot_be_derived_is_tried_again_after_a_change_or_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[object] = []

    def fail(model: Any) -> str:
        attempts.append(model)
        raise ValueError("not plain data")

    identity, model = RememberedIdentity(fail), Model()
    for name in ("gpt", "gpt", "other", "other"):
        model.name = name
        with pytest.raises(Uncacheable, match=r"Model cannot be read \(ValueError\)"):
            identity.of(model)
    assert len(attempts) == 2
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 100)
    with pytest.raises(Uncacheable):
        identity.of(model)
    assert len(attempts) == 3


def test_a_container_that_holds_itself_ends() -> None:
    counted, model = Counted(), Model()
    model.options["self"] = model.options
    assert counted.identity.of(model) == counted.identity.of(model)
    assert counted.derived == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 2.0]) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_model_changed_to_other_content_is_derived_anew(one: Any, other: Any) -> None:
    counted, model = Counted(), Model(options={"value": one})
    before = counted.identity.of(model)
    model.options["value"] = other
    assert (counted.identity.of(model) == before) == (repr(one) == repr(other))


PROGRAM = """
from contextvars import ContextVar

user, log, settings = ContextVar("user", default="ann"), [], {"tone": "polite", "calls": 0}

class Model:
    def answer(self):
        settings["calls"] += 1
        log.append("an answer")
        return user.get(), settings["tone"]
"""


def test_a_model_of_an_own_class_is_derived_again_only_when_what_its_code_uses_has_changed() -> None:
    module = types.ModuleType("an_application")
    exec(PROGRAM, module.__dict__)
    derived: list[str | None] = []

    def derive(model: Any) -> str | None:
        derived.append(code_of(type(model)))
        return derived[-1]

    identity, model = RememberedIdentity(derive), module.Model()
    first = identity.of(model)
    for _ in range(3):
        assert identity.of(model) == first
        module.Model().answer()
        record_changes(model)
    assert len(derived) == 1  # a counter and a log that the call has changed are no settings
    module.settings["tone"] = "rude"
    second = identity.of(model)
    module.settings["tone"] = "polite"
    assert second != first == identity.of(model)
    module.user.set("bob")
    assert identity.of(model) != first


def test_what_the_application_sets_during_a_call_is_a_setting() -> None:
    module = types.ModuleType("an_application")
    exec(PROGRAM, module.__dict__)
    identity, model = RememberedIdentity(lambda model: code_of(type(model))), module.Model()
    first = identity.of(model)
    module.settings = {"tone": "rude", "calls": 0}
    record_changes(model)
    assert identity.of(model) != first


def test_what_could_not_be_read_is_not_read_again_until_it_changes() -> None:
    module = types.ModuleType("an_application")
    exec("held = iter([1])\nclass Model:\n    def answer(self):\n        return held", module.__dict__)
    derived: list[Any] = []

    def derive(model: Any) -> str | None:
        derived.append(model)
        return code_of(type(model))

    identity, model = RememberedIdentity(derive, way_out="cached(model, name='…')"), module.Model()
    for _ in range(3):
        with pytest.raises(Uncacheable, match=r"uses held, which holds a builtins.list_iterator.*name="):
            identity.of(model)
    assert len(derived) == 1
    module.held = [1]
    assert identity.of(model) == code_of(module.Model)


def test_an_object_that_raises_is_named_with_the_way_out() -> None:

    def derive(model: Any) -> str:
        raise ValueError("of the application")

    identity = RememberedIdentity(derive, way_out="cached(model, name='…')")
    with pytest.raises(Uncacheable, match=r"Model cannot be read \(ValueError\); cached\(model, name='…'\) names"):
        identity.of(Model())


def test_what_is_changed_while_it_is_read_is_not_taken_for_what_it_was() -> None:
    class Model:
        setting = "a"

        def __init__(self) -> None:
            self.setting = "a"

    meanwhile = ["b"]

    def derive(model: Model) -> str:
        if meanwhile:  # as another thread would
            model.setting = meanwhile.pop()
        return model.setting

    identity, model = RememberedIdentity(derive), Model()
    assert identity.of(model) == "b"
    model.setting = "a"
    assert identity.of(model) == "a"
    meanwhile += ["c", "b"]
    model.setting = "d"
    assert identity.of(model) in ("b", "c")
    for setting in ("b", "d"):
        model.setting = setting
        assert identity.of(model) == setting
