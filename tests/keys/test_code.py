"""The code of an application's own class: what can change its answers changes the digest, and nothing else does."""

from __future__ import annotations

import textwrap
import types

import pytest

from askonce.keys.code import code_of

BASE = """
    import enum
    PROMPT = "Be brief."
    LIMIT = 100
    WORDS = ("yes", "no")
    calls = 0

    def helper(text):
        return PROMPT + text

    class Part:
        sign = "!"

    class Model:
        persona = "a pirate"
        SHARE = 0.5
        count = 0

        def answer(self, text):
            return [helper(one) + Part.sign for one in text if len(one) < LIMIT and one not in WORDS and calls > -1]

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
    ],
)
def test_what_can_change_an_answer_changes_the_digest(old: str, new: str) -> None:
    assert digest() != digest((old, new))


@pytest.mark.parametrize(
    ("old", "new"), [("calls = 0", "calls = 7"), ("count = 0", "count = 3"), ("import enum", "import abc")]
)
def test_counters_and_other_parts_of_the_module_do_not(old: str, new: str) -> None:
    assert digest() == digest((old, new))


def test_code_that_uses_itself_has_an_end() -> None:
    digest(("return PROMPT + text", "return helper(text[1:]) + Model().answer(text)"))


def test_classes_of_installed_packages_have_none() -> None:
    assert code_of(pytest.Config) is None
    assert code_of(dict) is None
