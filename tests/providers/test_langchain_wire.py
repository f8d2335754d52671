"""The wire is the oracle of keys, for every provider class: what is sent alike has one key, all else another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache

from askonce import Cache
from tests.providers.langchain_cases import EXEMPT, PROVIDERS, Provider, later_turns, row_of
from tests.support.wire import Row, write_table

PAGE = Path(__file__).parents[2] / "docs" / "research" / "wire.md"
FOUND: dict[str, Row] = {}
LATER: dict[str, Row] = {}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_", "AWS_", "GOOGLE_", "LANGCHAIN_", "LANGSMITH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it loads prices from the net at import
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    set_llm_cache(None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_other_wires_have_other_keys_and_equal_wires_one(provider: Provider) -> None:
    with Cache("memory://") as cache:
        row, differently = row_of(provider, cache)
    FOUND[provider.name] = row
    assert not row.wrong_hits, "\n".join(row.wrong_hits)
    assert not differently, "`cached` and the global cache have different keys, or send something else"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_other_second_turns_and_structured_calls_have_other_keys(provider: Provider) -> None:
    with Cache("memory://") as cache:
        row, differently = row_of(provider, cache, later_turns)
    LATER[provider.name] = row
    assert not row.wrong_hits, "\n".join(row.wrong_hits)
    assert not differently, "`cached` and the global cache have different keys, or send something else"


def test_the_exceptions_are_few() -> None:
    assert len(EXEMPT) <= 40


def test_the_table_is_written() -> None:
    if len(FOUND) < len(PROVIDERS):
        pytest.skip("not all classes were tried in this run")
    write_table(PAGE, "LangChain", FOUND)
    if len(LATER) == len(PROVIDERS):
        write_table(PAGE, "LangChain, second turns", LATER)
    assert sum(row.pairs for row in FOUND.values()) >= 300
    misses = [one for row in FOUND.values() for one in row.misses]
    assert len(misses) < 0.05 * sum(row.equal for row in FOUND.values()), "\n".join(misses)
