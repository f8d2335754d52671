"""The wire is the oracle of keys, for every provider class: what is sent alike has one key, all else another."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache

from askonce import Cache
from askonce.langchain import AskOnceCache, cached
from tests.providers.langchain_cases import EXEMPT, PROVIDERS, Provider, cases
from tests.support.wire import Case, Row, Seen, captured, observe, write_table

PAGE = Path(__file__).parents[2] / "docs" / "research" / "wire.md"
FOUND: dict[str, Row] = {}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ANTHROPIC_", "AWS_", "GOOGLE_", "LANGCHAIN_", "LANGSMITH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks the net at import
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    set_llm_cache(None)


def class_of(provider: Provider) -> Any:
    return getattr(importlib.import_module(provider.package.replace("-", "_")), provider.name)


def seen(provider: Provider, cls: Any, case: Case, cache: Cache) -> tuple[Seen, Seen]:
    """What a case sends, and its key: through `cached`, and through LangChain's global cache."""
    with pytest.MonkeyPatch.context() as patch, captured() as wires:
        for name, value in case.env.items():
            patch.setenv(name, value)
        try:
            model = cls(**{**provider.base, **case.fields, **case.prepare()})
        except Exception as refused:
            return (Seen((), None, f"{type(refused).__name__}: {refused}"[:200]),) * 2
        ours = observe(cache, wires, lambda: cached(model, cache).invoke("hi", **case.call))
        set_llm_cache(AskOnceCache(cache))
        try:
            return ours, observe(cache, wires, lambda: model.invoke("hi", **case.call))
        finally:
            set_llm_cache(None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda one: one.name)
def test_other_wires_have_other_keys_and_equal_wires_one(provider: Provider) -> None:
    cls, cache, row = class_of(provider), Cache("memory://"), Row()
    known: dict[str, tuple[Seen, Seen]] = {}

    def both(case: Case) -> tuple[Seen, Seen]:
        at = f"{case.fields}{case.call}{case.env}"
        if at not in known:
            known[at] = seen(provider, cls, case, cache)
        return known[at]

    differently = []
    for what, one, other in cases(provider, cls):
        row.compare(f"{provider.name}: {what}", both(one)[0], both(other)[0], EXEMPT)
    for at, (ours, theirs) in known.items():
        if not ours.error and (ours.key, ours.wire) != (theirs.key, theirs.wire):
            differently.append(at)
    cache.close()
    FOUND[provider.name] = row
    assert not row.wrong_hits, "\n".join(row.wrong_hits)
    assert not differently, "`cached` and the global cache have different keys, or send something else"


def test_the_exceptions_are_few() -> None:
    assert len(EXEMPT) <= 40


def test_the_table_is_written() -> None:
    if len(FOUND) < len(PROVIDERS):
        pytest.skip("not all classes were tried in this run")
    write_table(PAGE, "LangChain", FOUND)
    assert sum(row.pairs for row in FOUND.values()) >= 300
    misses = [one for row in FOUND.values() for one in row.misses]
    assert len(misses) < 0.05 * sum(row.equal for row in FOUND.values()), "\n".join(misses)
