"""The code of an application's own class: what can change its answers changes the digest, and nothing else does."""

from __future__ import annotations

import gc
import textwrap
import types
import weakref

import pytest

from askonce.keys.code import code_of

BASE = """
    import enum
    import functools
    PROMPT = "Be brief."
    RULES = {"length": 3, "tones": ["polite"]}
    log = {"greeting": "Good day"}
    LIMIT = 100
    WORDS = ("yes", "no")
    calls = 0

    def helper(text):
        return PROMPT + text

    def ending(text, sign="."):
        return text + sign

    @functools.lru_cache
    def opening():
        return "Well, "

    closing = functools.partial(ending, sign=";")

    class Part:
        sign = "!"

    class Mood(enum.Enum):
        GOOD = "cheerful"

    class Speaker:
        def speak(self):
            return "loud"

    speaker = Speaker()

    class Model:
        persona = "a pirate"
        SHARE = 0.5
        count = 0

        def answer(self, text):
            return [helper(one) + Part.sign for one in text if len(one) < LIMIT and one not in WORDS and calls > -1]

        def more(self, text):
            return RULES, log["greeting"], ending(text), opening(), closing(text), Mood.GOOD, speaker.speak()

        @property
        def name(self):
            return "model"

        @staticmethod
        def twice(text):
            return text * 2
"""


def digest(*replaced: tuple[str, str]) -> str:
    """Of the model's class, in a module with some of its text replaced."""
    source = textwrap.dedent(BASE)
    for old, new in replaced:
        assert old in source
        source = source.replace(old, new)
    module = types.ModuleType("an_application")
    exec(source, module.__dict__)
    found = code_of(module.Model)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"Be brief."', '"Be long."'),  # a text around a function that the class's code calls
        ("LIMIT = 100", "LIMIT = 99"),
        ('("yes", "no")', '("yes",)'),
        ("PROMPT + text", "text + PROMPT"),
        ('sign = "!"', 'sign = "?"'),
        ('"a pirate"', '"a judge"'),
        ("SHARE = 0.5", "SHARE = 0.4"),
        ("< LIMIT", "> LIMIT"),
        ('return "model"', 'return "other"'),
        ("text * 2", "text * 3"),
        ('"length": 3', '"length": 4'),  # what is named like a constant
        ('"polite"', '"rude"'),
        ('"Good day"', '"Hi"'),  # a text in a map
        ('sign="."', 'sign="!"'),  # a default
        ('"Well, "', '"So, "'),  # behind a decorator
        ('sign=";"', 'sign=":"'),  # of a partial
        ('"cheerful"', '"gloomy"'),
        ('"loud"', '"soft"'),  # the class of an object
    ],
)
def test_what_can_change_an_answer_changes_the_digest(old: str, new: str) -> None:
    assert digest() != digest((old, new))


@pytest.mark.parametrize(
    ("old", "new"), [("calls = 0", "calls = 7"), ("count = 0", "count = 3"), ("import enum", "import enum, abc")]
)
def test_counters_and_other_parts_of_the_module_do_not(old: str, new: str) -> None:
    assert digest() == digest((old, new))


def test_what_the_program_changes_counts_as_it_was_at_first() -> None:
    module = types.ModuleType("an_application")
    exec(textwrap.dedent(BASE), module.__dict__)
    first = code_of(module.Model)
    module.log["an answer"] = "of the model"
    assert code_of(module.Model) == first


@pytest.mark.parametrize("part", ["TONE = 'polite'", "def tone():\n    return 'polite'"])
def test_what_is_used_of_another_module_counts(part: str) -> None:
    def with_part(source: str) -> str | None:
        other, module = types.ModuleType("another_part"), types.ModuleType("an_application")
        exec(source, other.__dict__)
        module.__dict__["other"] = other
        exec("class Model:\n    def answer(self):\n        return other.tone() + other.TONE", module.__dict__)
        return code_of(module.Model)

    assert with_part(part) != with_part(part.replace("polite", "rude"))
    assert with_part(part) == with_part(f"{part}\nUNUSED = 1")


def test_objects_that_raise_when_they_are_looked_at_say_nothing() -> None:
    class Proxy:
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError("outside of a request")

    module = types.ModuleType("an_application")
    module.__dict__["request"] = Proxy()
    exec("class Model:\n    def answer(self):\n        return request", module.__dict__)
    assert code_of(module.Model) is not None


def test_code_that_uses_itself_has_an_end() -> None:
    digest(("return PROMPT + text", "return helper(text[1:]) + Model().answer(text)"))


def test_classes_of_installed_packages_have_none() -> None:
    assert code_of(pytest.Config) is None
    assert code_of(dict) is None


def test_objects_that_code_uses_can_be_collected() -> None:
    class Handle:
        """Something large."""

    def model(handle: Handle) -> type:
        class Model:
            def answer(self) -> Handle:
                return handle

        return Model

    handle = Handle()
    seen = weakref.ref(handle)
    assert code_of(model(handle)) is not None
    del handle
    gc.collect()
    assert seen() is None
