"""Have conversations with a provider through a real client, a tracker watching, and compare what both say."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass

import anthropic
import openai
from askonce.prefix.diagnosis import Cause, Diagnosis

from askonce.prefix.chain import Chain
from askonce.testing import FakeClock
from tests.support.provider import Provider, Row

from .asks import Ask, Json, Place, Reply
from .breakages import Rule
from .clients import Client
from .conversations import Setting

Told = list[tuple[Diagnosis, Chain]]
"""What a tracker has told of: ``on_diagnosis=lambda *said: told.append(said)``."""


@dataclass(frozen=True)
class Exchange:
    """One request: what was asked, what the provider did (``None``: refused it), and what the tracker said."""

    ask: Ask
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
    client: Client, script: Generator[Ask, Reply, None], provider: Provider, clock: FakeClock, told: Told
) -> list[Exchange]:
    """Have a conversation to its end, or until the provider refuses a request."""
    exchanges: list[Exchange] = []
    ask = next(script)
    while True:
        clock.advance(ask.pause)
        answer = ask.answer
        provider.answer = lambda request, answer=answer: answer  # type: ignore[misc]
        served = len(provider.ledger)
        told.clear()
        try:
            reply = await client.send(ask)
        except (openai.BadRequestError, anthropic.BadRequestError):
            exchanges.append(Exchange(ask, None, *_only(told)))
            return exchanges
        (row,) = provider.ledger[served:]
        exchanges.append(Exchange(ask, row, *_only(told)))
        try:
            ask = script.send(reply)
        except StopIteration:
            return exchanges


def _only(told: Told) -> tuple[Diagnosis, Chain]:
    assert len(told) == 1, f"a request has one diagnosis, got {told}"
    return told[0]


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


def setting(client: Client, rule: Rule, seed: str) -> Setting:
    """What the conversations of a client are made of: models, marks that it can set, and cache keys."""
    marks = tuple(one for one in _MARKS[rule] if client.places.issuperset(one[0]))
    keys = ("",) if rule == "marks" else ("", "shop", "desk")
    return Setting(random.Random(f"{client.name} {rule} {seed}"), _MODELS[rule], marks, keys)


# --- What each breakage is to be called -----------------------------------------------------------


def _broken_by(level: str, looks_like: str) -> Callable[[Diagnosis], bool]:
    def named(said: Diagnosis) -> bool:
        return said.cause is Cause.BROKEN and said.level == level and said.looks_like == looks_like

    return named


def _is(cause: Cause, *changed: str) -> Callable[[Diagnosis], bool]:
    return lambda said: said.cause is cause and (not changed or said.changed in changed)


_PARAMETERS = "parallel_tool_calls", "response_format", "text.format", "tool_choice"
NAMES: dict[str, Callable[[Diagnosis], bool]] = {
    "clock in the system prompt": _broken_by("system", "a clock"),
    "shuffled tools": _broken_by("tools", "reordered tools"),
    "reordered JSON keys": _broken_by("tools", "reordered JSON keys"),
    "random id in a message": _broken_by("messages", "a uuid"),
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
