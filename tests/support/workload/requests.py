"""What an application sends to a model, before a framework words it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.provider import Answer

Json = dict[str, Any]
Mode = Literal["plain", "stream", "async", "async stream"]
Place = Literal["tools", "system", "tail", "every", "automatic"]
MODES: tuple[Mode, ...] = ("plain", "stream", "async", "async stream")


@dataclass(frozen=True)
class Tool:
    """A tool that the model may call; ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str
    schema: Json


@dataclass(frozen=True)
class User:
    """What the user says: texts, and images as base64 of a PNG."""

    parts: tuple[str, ...]
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """The model's answer as the framework's own message, and the ids of its tool calls."""

    native: Any
    call_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a tool answered."""

    call_id: str
    text: str


@dataclass
class ModelRequest:
    """One request.

    Attributes:
        marks: where breakpoints stand, each with its lifetime ("" for the default one): behind the last tool, the
            system prompt, the last message, every text of that, or where the provider likes.
        options: further parameters of the request, as they go over the wire.
        answer: what the model shall say.
        mode: how the client is called.
        pause: seconds since the request before.
    """

    model: str
    system: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    messages: list[User | Reply | Result] = field(default_factory=list)
    marks: dict[Place, str] = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    answer: Answer = field(default_factory=Answer)
    mode: Mode = "plain"
    pause: float = 5.0
