"""The wire is the oracle of keys: other wire, other key; equal wire, equal key. More in ``make test-providers``."""

from __future__ import annotations

import pytest

from askonce import Cache
from tests.providers import llama_index_cases as cases


@pytest.mark.parametrize("name", cases.ALWAYS)
def test_what_differs_on_the_wire_differs_in_its_key(name: str, cache: Cache) -> None:
    row = cases.row_of(cases.ALWAYS[name], cache, cases.EXEMPT)
    assert (row.wrong_hits, row.misses) == ([], [])
    assert row.pairs >= 10 and len(row.refused) <= 2
