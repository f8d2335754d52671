"""The wire is the oracle of keys: other wire, other key; equal wire, equal key. More in ``make test-providers``."""

from __future__ import annotations

import os

import pytest

from askonce import Cache
from tests.providers.langchain_cases import PROVIDERS, Provider, row_of


@pytest.mark.filterwarnings("default")  # what the packages warn of is theirs
@pytest.mark.parametrize(
    "provider",
    [one for one in PROVIDERS if one.name in ("ChatOpenAI", "ChatAnthropic")],
    ids=lambda one: one.name,
)
def test_what_differs_on_the_wire_differs_in_its_key(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_")):
            monkeypatch.delenv(name)
    with Cache("memory://") as cache:
        row, differently = row_of(provider, cache)
    assert (row.wrong_hits, differently) == ([], [])
    assert row.pairs >= 90 and len(row.misses) < 0.1 * row.equal, row.misses
