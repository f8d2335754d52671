"""What the tests of models request, and what models were called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

Make = Callable[..., ChatOpenAI]
CALLS: list[Any] = []


class Place(BaseModel):
    """A place."""

    city: str
    number: int


@tool
def look_up(city: str, number: int) -> str:
    """Look a city up."""
    return f"{city} has the number {number}"
