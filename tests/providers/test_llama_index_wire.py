"""The wire is the oracle of keys, for the classes of all providers; ``WIRE_TABLE=1`` writes the docs' table."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import get_origin

import pytest
from llama_index.llms.anthropic import utils as anthropic_messages

from askonce import Cache
from tests.providers import llama_index_cases as cases
from tests.support.wire import Row, write_table

TABLE = Path(__file__).parents[2] / "docs" / "research" / "wire.md"


@functools.cache
def row(name: str) -> Row:
    with pytest.MonkeyPatch.context() as patch, Cache("memory://") as cache:
        if get_origin(vars(anthropic_messages)["MessageParam"]) is not None:  # a union in the newest SDK
            patch.setattr(anthropic_messages, "MessageParam", dict)
        return cases.row_of(cases.ALL[name], cache, cases.EXEMPT)


@pytest.mark.filterwarnings("default")  # what the packages warn of is theirs
@pytest.mark.parametrize("name", cases.ALL)
def test_what_differs_on_the_wire_differs_in_its_key(name: str) -> None:
    assert (row(name).wrong_hits, row(name).misses) == ([], [])
    assert row(name).pairs >= 10 and len(row(name).refused) <= 2


def test_there_are_enough_pairs_and_no_needless_exceptions() -> None:
    rows = {name: row(name) for name in cases.ALL}
    if os.environ.get("WIRE_TABLE"):
        write_table(TABLE, "LlamaIndex", rows)
    every = list(rows.values())
    assert sum(one.pairs for one in every) >= 500 and sum(one.equal for one in every) >= 150
    named = [what for one in every for what in one.exempt]
    needless = [one.pattern for one in cases.EXEMPT if not any(re.fullmatch(one.pattern, what) for what in named)]
    assert needless == [] and len(cases.EXEMPT) <= 40
