"""Have conversations with a provider through a real client, a tracker watching, and compare what both say."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import anthropic
import openai

import askonce.langchain
import askonce.llama_index
from askonce.prefix.requests.chain import Chain
from askonce.prefix.tracking.diagnosis import Cause, Diagnosis
from askonce.testing import FakeClock
from tests.support.environments import NEWEST_OPENAI
from tests.support.provider import Provider, Row, count

from .breakages import Rule
from .clients import Client, LangChainClient
from .conversations import Setting
from .requests import Json, ModelRequest, Place, Reply

Diagnosed = list[tuple[Diagnosis, Chain]]
"""What a tracker reports: ``on_diagnosis=lambda *found: diagnosed.append(found)``."""


@dataclass(frozen=True)
class Exchange:
    """One request: what was sent, what the provider did (``None``: refused it), and what the tracker reported."""

    request: ModelRequest
    row: Row | None
    diagnosis: Diagnosis
    chain: Chain

    @property
    def equal(self) -> bool:
        """Whether length, reads and writes were foreseen to the token."""
        if self.row is None:
            return False
        seen = (
            self.chain.tokens,
            self.diagnosis.predicted_read_tokens,
            dict(self.diagnosis.predicted_written_tokens),
        )
        reported = self.diagnosis.read_tokens, self.diagnosis.written_tokens
        there = self.row.input, self.row.read, self.row.written
        return seen == there and reported == (self.row.read, sum(self.row.written.values()))


async def drive(
    client: Client,
    script: Generator[ModelRequest, Reply, None],
    provider: Provider,
    clock: FakeClock,
    diagnosed: Diagnosed,
) -> list[Exchange]:
    """Have a conversation to its end, or until the provider refuses a request."""
    exchanges: list[Exchange] = []
    request = next(script)
    while True:
        clock.advance(request.pause)
        answer = request.answer
        provider.answer = lambda request, answer=answer: answer  # type: ignore[misc]
        served = len(provider.ledger)
        diagnosed.clear()
        try:
            reply = await client.send(request)
        except (openai.BadRequestError, anthropic.BadRequestError):
            exchanges.append(Exchange(request, None, *_only(diagnosed)))
            return exchanges
        (row,) = provider.ledger[served:]
        exchanges.append(Exchange(request, row, *_only(diagnosed)))
        try:
            request = script.send(reply)
        except StopIteration:
            return exchanges


def _only(diagnosed: Diagnosed) -> tuple[Diagnosis, Chain]:
    assert len(diagnosed) == 1, f"a request has one diagnosis, got {diagnosed}"
    return diagnosed[0]


# --- Applications ---------------------------------------------------------------------------------

_EXPLICIT: Json = {"prompt_cache_options": {"mode": "explicit"}}
_MARKS: dict[Rule, tuple[tuple[dict[Place, str], Json], ...]] = {
    "steps": (({}, {}),),
    "boundaries": (
        ({}, {}),
        ({}, {}),
        ({"system": ""}, {}),
        ({"system": ""}, _EXPLICIT),
        ({"system": "", "tail": ""}, _EXPLICIT),
    ),
    "marks": (
        ({}, {}),
        ({"tail": ""}, {}),
        ({"automatic": ""}, {}),
        ({"tools": "1h", "tail": ""}, {}),
        ({"tools": "", "automatic": ""}, {}),
        ({"system": ""}, {}),
        ({"system": "", "tail": ""}, {}),
        ({"system": "1h", "tail": ""}, {}),
    ),
}
_MODELS: dict[Rule, tuple[str, ...]] = {
    "steps": ("gpt-4.1", "gpt-4o"),
    "boundaries": ("gpt-5.6-sol",),
    "marks": ("claude-sonnet-5", "claude-opus-5"),
}


@dataclass(frozen=True)
class Lane:
    """A real client and the caching rule of the models that it calls."""

    framework: Literal["langchain", "llama-index"]
    kind: Literal["openai", "openai responses", "anthropic"]
    rule: Rule

    @property
    def provider(self) -> str:
        return self.kind.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.framework} {self.kind}" + ", 5.6" * (self.rule == "boundaries")

    @asynccontextmanager
    async def watched(self, provider: Provider, clock: FakeClock) -> AsyncIterator[tuple[Client, Diagnosed]]:
        """The client with a tracker of its own, and what that reports."""
        diagnosed: Diagnosed = []
        about: Json = {"count_tokens": count, "keep_text": True, "clock": clock}
        about["on_diagnosis"] = lambda *found: diagnosed.append(found)
        client: Client
        with ExitStack() as installed:
            if self.framework == "langchain":
                client = LangChainClient(provider, self.kind, [askonce.langchain.PrefixTracker(**about)])
            else:
                from .llama_index_clients import LlamaIndexClient

                client = LlamaIndexClient(provider, self.kind)
                installed.enter_context(askonce.llama_index.PrefixTracker(**about))
            try:
                yield client, diagnosed
            finally:
                await client.close()

    def setting(self, client: Client, seed: str) -> Setting:
        """What its conversations are made of: models, marks that the client can set, and cache keys."""
        marks = tuple(one for one in _MARKS[self.rule] if client.places.issuperset(one[0]))
        keys = ("",) if self.rule == "marks" else ("", "shop", "desk")
        return Setting(random.Random(f"{self} {seed}"), _MODELS[self.rule], marks, keys)


LANES = tuple(
    lane
    for lane in (
        Lane("langchain", "openai", "steps"),
        Lane("langchain", "openai", "boundaries"),
        Lane("langchain", "openai responses", "steps"),
        Lane("langchain", "openai responses", "boundaries"),
        Lane("llama-index", "openai", "steps"),
        Lane("llama-index", "openai", "boundaries"),
        Lane("llama-index", "openai responses", "steps"),
        Lane("llama-index", "openai responses", "boundaries"),
        Lane("langchain", "anthropic", "marks"),
        Lane("llama-index", "anthropic", "marks"),
    )
    if lane.framework == "langchain" or not NEWEST_OPENAI
)


# --- What each breakage is to be called -----------------------------------------------------------


def _broken_by(level: str, *looks_like: str) -> Callable[[Diagnosis], bool]:
    def named(found: Diagnosis) -> bool:
        return found.cause is Cause.BROKEN and found.level == level and found.looks_like in looks_like

    return named


def _is(cause: Cause, *changed: str) -> Callable[[Diagnosis], bool]:
    return lambda found: found.cause is cause and (not changed or found.changed in changed)


_PARAMETERS = "parallel_tool_calls", "response_format", "text.format", "tool_choice"
NAMES: dict[str, Callable[[Diagnosis], bool]] = {
    "clock in the system prompt": _broken_by("system", "a clock"),
    "shuffled tools": _broken_by("tools", "reordered tools"),
    "reordered JSON keys": _broken_by("tools", "reordered JSON keys"),
    "random id in a message": _broken_by("messages", "a uuid", "a random id"),
    "changed image": _broken_by("messages", "a changed image"),
    "expired": _is(Cause.EXPIRED),
    "too short": _is(Cause.TOO_SHORT),
    "fifth breakpoint": _is(Cause.TOO_MANY_MARKS),
    "beyond look-back": _is(Cause.OUT_OF_LOOK_BACK),
    "overflowed": _is(Cause.OVERFLOWED),
    "model changed": _is(Cause.CHANGED, "model"),
    "parameter changed": _is(Cause.CHANGED, *_PARAMETERS),
    "not marked": _is(Cause.NOT_MARKED),
}
