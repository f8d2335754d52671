"""What a block of code says of its questions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from askonce import ConfigError, cache_options
from askonce.options import current_options


def named() -> tuple[str | None, str | None, bool]:
    options = current_options()
    return options.question, options.context, options.semantic


def test_an_inner_block_names_its_own_question_and_leaves_the_rest() -> None:
    assert named() == (None, None, True)
    with cache_options(question="How?", context="Cards are free.", semantic=False):
        assert named() == ("How?", "Cards are free.", False)
        with cache_options(question="Why?"):
            assert named() == ("Why?", "Cards are free.", False)
            with cache_options(context="Codes are sent.", semantic=True):
                assert named() == ("Why?", "Codes are sent.", True)
        assert named() == ("How?", "Cards are free.", False)
    assert named() == (None, None, True)


async def test_blocks_of_tasks_stay_apart() -> None:
    async def option_in_effect(question: str) -> str | None:
        with cache_options(question=question):
            await asyncio.sleep(0)
            return current_options().question

    assert await asyncio.gather(option_in_effect("How?"), option_in_effect("Why?")) == ["How?", "Why?"]
    assert named() == (None, None, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"question": 3},
        {"question": ""},
        {"question": " \n"},
        {"context": ["a"]},
        {"context": ""},
        {"semantic": "no"},
        {"bypass": "false"},
        {"refresh": 0},
        {"ignore": 3},
        {"ignore": ["("]},
        {"ignore": ""},
        {"ignore": rb"\d"},
        {"ignore": [None]},
    ],
    ids=str,
)
def test_wrong_options_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        cache_options(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"ttl": 0}, {"ttl": -1}, {"ttl": "60"}, {"ttl": float("nan")}, {"tags": "prices"}, {"tags": [1]},
     {"namespace": ""}, {"namespace": 7}, {"namespace": "\ud800"}],
)  # fmt: skip
def test_an_option_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError), cache_options(**wrong):
        pass


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"tags": ["a\nb"]}, r"a tag has a character that cannot be printed, '\\n': 'a\\nb'"),
        ({"tags": ["caf\udce9"]}, r"a tag is not valid Unicode \(not UTF-8\?\): 'caf\\udce9'"),
        ({"namespace": ""}, "namespace is a text that is not empty, got ''"),
        ({"namespace": "a\u200bb"}, r"namespace has a character that cannot be printed, '\\u200b'"),
    ],
    ids=str,
)
def test_an_error_names_what_is_wrong_with_a_name(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        cache_options(**wrong)
