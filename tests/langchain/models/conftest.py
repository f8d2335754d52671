"""A cached model that streams."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI

from askonce.langchain import cached
from tests.langchain.samples import CALLS, Make


@pytest.fixture
def streamed(openai: Make, tmp_path: Path) -> ChatOpenAI:
    return cached(openai(), f"sqlite:///{tmp_path / 'cache.db'}")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()
