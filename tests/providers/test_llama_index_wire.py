"""The wire is the oracle of keys, for the classes of all providers; ``WIRE_TABLE=1`` writes the docs' table."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, get_origin

import pytest
from llama_index.llms.anthropic import utils as anthropic_messages

from askonce import Cache
from tests.providers import llama_index_cases as cases
from tests.support.wire import Row, write_table

TABLE = Path(__file__).parents[2] / "docs" / "research" / "wire-llama-index.md"


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    found: dict[str, Row] = {}
    with pytest.MonkeyPatch.context() as patch, Cache("memory://") as cache:
        if (
            get_origin(vars(anthropic_messages)["MessageParam"]) is not None
        ):  # the newest SDK has made a union of it
            patch.setattr(anthropic_messages, "MessageParam", dict)
        for name, asked in cases.ALL.items():
            found[name] = cases.row_of(asked, cache, cases.EXEMPT)
    return found


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", cases.ALL)
def test_keys_tell_apart_what_differs_on_the_wire(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    assert (row.wrong_hits, row.misses) == ([], [])
    assert row.pairs >= 10 and len(row.refused) <= 2


def test_there_are_enough_pairs(rows: dict[str, Row]) -> None:
    every: list[Any] = list(rows.values())
    assert sum(row.pairs for row in every) >= 500 and sum(row.equal for row in every) >= 150
    assert len(cases.EXEMPT) <= 40
    if os.environ.get("WIRE_TABLE"):
        write_table(TABLE, "LlamaIndex", rows)


def test_every_exception_is_needed(rows: dict[str, Row]) -> None:
    named = [what for row in rows.values() for what in row.exempt]
    needless = [one.pattern for one in cases.EXEMPT if not any(re.fullmatch(one.pattern, what) for what in named)]
    assert needless == []
