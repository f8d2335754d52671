"""What the tests of models request: an answer to a question, a tool and a structure."""

from __future__ import annotations

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import BaseModel

HELLO = [ChatMessage(role="user", content="hello")]


class Album(BaseModel):
    """An album."""

    title: str
    tracks: int


def add(a: int) -> int:
    """Add."""
    return a
