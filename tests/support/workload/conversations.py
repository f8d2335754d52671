"""Agents, chats and RAG as seeded scripts: each sends a request, is answered, and goes on from there."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.provider import Answer, Call

from .requests import MODES, Json, ModelRequest, Place, Reply, Result, Tool, User

Script = Generator[ModelRequest, Reply, None]

_WORDS = """
    the a of and to in is it you that he was for on are with as his they at be this from have or by one had not
    but what all were when we there can an your which their said if do will each about how up out them then she
    many some so these would other into has more her two like him see time could no make than first been its who
    now people my made over did down only way find use may water long little very after words called just where
    most know invoice parcel refund Straße naïve Zürich café 東京 customer-7 e-mail 3.14 2026-11-21 {id} <tag>
    'quoted'
""".split()


def prose(rng: random.Random, words: int) -> str:
    """So many words and somewhat more tokens, in sentences and paragraphs."""
    text = []
    while words > 0:
        length = min(words, rng.randint(5, 15))
        sentence = " ".join(rng.choices(_WORDS, k=length))
        text.append(sentence + rng.choice((". ", ", then ", ".\n", "?\n\n", "! ")))
        words -= length
    return "".join(text)


def picture(rng: random.Random) -> str:
    """What begins like a PNG, as base64."""
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + rng.randbytes(16)).decode()


def tool(rng: random.Random, name: str) -> Tool:
    """A tool with some described arguments."""
    properties: Json = {
        f"{rng.choice(_WORDS).strip('{}<>')}_{number}": {
            "type": rng.choice(("string", "integer", "boolean")),
            "description": prose(rng, rng.randint(4, 12)).strip(),
        }
        for number in range(rng.randint(1, 4))
    }
    schema = {"type": "object", "properties": properties, "required": sorted(properties)[:1]}
    return Tool(name, prose(rng, rng.randint(8, 25)).strip(), schema)


@dataclass
class Setting:
    """What the conversations of one application have in common.

    Attributes:
        models: of which each conversation takes one.
        marks: ways of marking, of which each conversation takes one.
        keys: cache keys, likewise; empty for none.
    """

    rng: random.Random
    models: tuple[str, ...]
    marks: tuple[tuple[dict[Place, str], Json], ...] = (({}, {}),)
    keys: tuple[str, ...] = ("",)
    systems: list[tuple[str, ...]] = field(default_factory=list)
    toolboxes: list[tuple[Tool, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for _ in range(4):
            blocks = self.rng.choice((1, 1, 2))
            words = self.rng.randint(500, 1400) // blocks
            self.systems.append(tuple(prose(self.rng, words) for _ in range(blocks)))
            names = [f"tool_{number}" for number in range(self.rng.randint(2, 6))]
            self.toolboxes.append(tuple(tool(self.rng, name) for name in names))

    def first(self, *, tools: bool = False) -> ModelRequest:
        """How a conversation begins: one of the applications, nothing said yet."""
        rng = self.rng
        number = rng.randrange(len(self.systems))
        marks, options = rng.choice(self.marks)
        key = rng.choice(self.keys)
        return ModelRequest(
            rng.choice(self.models),
            self.systems[number],
            self.toolboxes[number] if tools else (),
            marks=dict(marks),
            options={**options, **({"prompt_cache_key": key} if key else {})},
        )

    def next(self, request: ModelRequest, answer: Answer, *, slow: bool = False) -> ModelRequest:
        """The request as it is now sent, after a pause; ``slow`` for one in which the user may think."""
        pause = self.rng.uniform(4.3, 20)
        if slow and self.rng.random() < 0.04:
            pause = self.rng.uniform(200, 700)
        mode = self.rng.choice(MODES)
        return replace(request, messages=list(request.messages), answer=answer, mode=mode, pause=pause)


def chat(setting: Setting) -> Script:
    """A growing history; now and then with a picture."""
    rng, request = setting.rng, setting.first()
    for _ in range(rng.randint(2, 8)):
        images = (picture(rng),) if rng.random() < 0.05 else ()
        parts = tuple(prose(rng, rng.randint(5, 80)) for _ in range(rng.choice((1, 1, 1, 2))))
        request.messages.append(User(parts, images))
        request.messages.append(
            (yield setting.next(request, Answer(prose(rng, rng.randint(5, 60)).strip()), slow=True))
        )


def rag(setting: Setting) -> Script:
    """One question after the other, each over its own documents behind the same instructions."""
    rng, request = setting.rng, setting.first()
    shared = prose(rng, rng.randint(30, 200))
    for _ in range(rng.randint(2, 8)):
        documents = [prose(rng, rng.randint(40, 150)) for _ in range(rng.randint(1, 3))]
        start = [shared] if rng.random() < 0.5 else []
        context = "Context:\n" + "\n---\n".join([*start, *documents])
        question = prose(rng, 8)
        parts = (context, question) if rng.random() < 0.5 else (f"{context}\n\nQuestion: {question}",)
        request.messages[:] = [User(parts)]
        yield setting.next(request, Answer(prose(rng, 20).strip()), slow=True)


def agent(setting: Setting) -> Script:
    """Tasks with tool calls, single and parallel, in one growing conversation."""
    rng, request = setting.rng, setting.first(tools=True)
    for _ in range(rng.randint(1, 3)):
        request.messages.append(User((prose(rng, rng.randint(10, 60)),)))
        for _ in range(rng.randint(1, 4)):
            names = [rng.choice(request.tools).name for _ in range(rng.choice((1, 1, 2, 5)))]
            calls = tuple(Call(name, {"query": prose(rng, 4), "limit": rng.randrange(50)}) for name in names)
            reply = yield setting.next(request, Answer(rng.choice(("", "Let me look that up. ")).strip(), calls))
            request.messages.append(reply)
            request.messages += [Result(call_id, prose(rng, rng.randint(5, 60))) for call_id in reply.call_ids]
        request.messages.append((yield setting.next(request, Answer(prose(rng, 30).strip()), slow=True)))


KINDS: tuple[Callable[[Setting], Script], ...] = (agent, chat, rag)


def interleaved(setting: Setting, requests: int, at_once: int = 6) -> Generator[ModelRequest, Reply, None]:
    """So many requests of conversations that go on at the same time, in turns drawn by the seed."""
    fresh: Iterator[Script] = (setting.rng.choice(KINDS)(setting) for _ in itertools.count())
    running: list[tuple[Script, ModelRequest]] = []
    while requests > 0:
        while len(running) < at_once:
            script: Any = next(fresh)
            running.append((script, next(script)))
        number = setting.rng.randrange(len(running))
        script, request = running[number]
        reply = yield request
        requests -= 1
        try:
            running[number] = script, script.send(reply)
        except StopIteration:
            running.pop(number)
