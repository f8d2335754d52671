"""What a block of code says of its questions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from askonce import control
from askonce.control import current_control
from askonce.errors import ConfigError


def named() -> tuple[str | None, str | None, bool]:
    wishes = current_control()
    return wishes.question, wishes.context, wishes.semantic


def test_an_inner_block_names_its_own_question_and_leaves_the_rest() -> None:
    assert named() == (None, None, True)
    with control(question="How?", context="Cards are free.", semantic=False):
        assert named() == ("How?", "Cards are free.", False)
        with control(question="Why?"):
            assert named() == ("Why?", "Cards are free.", False)
            with control(context="Codes are sent.", semantic=True):
                assert named() == ("Why?", "Codes are sent.", True)
        assert named() == ("How?", "Cards are free.", False)
    assert named() == (None, None, True)


async def test_blocks_of_tasks_stay_apart() -> None:
    async def ask(question: str) -> str | None:
        with control(question=question):
            await asyncio.sleep(0)
            return current_control().question

    assert await asyncio.gather(ask("How?"), ask("Why?")) == ["How?", "Why?"]
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
    ],
    ids=str,
)
def test_wrong_wishes_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        control(**wrong)
