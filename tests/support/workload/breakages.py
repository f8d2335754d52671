"""Conversations of which the last request is broken on purpose, each in one way.

A conversation of any kind goes on for a while; then its next request is sent with one thing changed. What comes
before is long enough to have been read again, so that there is something to lose.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tests.support.provider import Answer, Call

from .conversations import Script, picture, prose, tool
from .requests import MODES, Json, ModelRequest, Place, Reply, Result, Tool, User

Rule = Literal["steps", "boundaries", "marks"]
MODELS: dict[Rule, tuple[str, ...]] = {
    "steps": ("gpt-4.1", "gpt-4o"),
    "boundaries": ("gpt-5.6-sol", "gpt-5.6-terra"),
    "marks": ("claude-sonnet-5", "claude-opus-4-8"),
}
TAIL: dict[Rule, dict[Place, str]] = {"steps": {}, "boundaries": {}, "marks": {"system": "", "tail": ""}}
OTHER_MODEL = {"gpt-4.1": "gpt-4o", "gpt-4o": "gpt-4.1", "gpt-5.6-sol": "gpt-5.6-terra"}
OTHER_MODEL |= {"gpt-5.6-terra": "gpt-5.6-sol", "claude-sonnet-5": "claude-opus-4-8"}
OTHER_MODEL |= {"claude-opus-4-8": "claude-sonnet-5"}


@dataclass(frozen=True)
class Breakage:
    """One way to lose the prefix.

    Attributes:
        name: for people, and what `expected` of a diagnosis is looked up by.
        rules: the caching rules under which it can happen.
        script: sends the whole conversation; its last request is the broken one.
    """

    name: str
    rules: tuple[Rule, ...]
    script: Callable[[random.Random, Rule], Script]


def _start(rng: random.Random, rule: Rule, *, tools: int = 0, words: int = 1300) -> ModelRequest:
    toolbox = tuple(tool(rng, f"tool_{number}") for number in range(tools))
    system = (prose(rng, rng.randint(words, words + 500)),)
    return ModelRequest(rng.choice(MODELS[rule]), system, toolbox, marks=dict(TAIL[rule]))


def _next(rng: random.Random, request: ModelRequest, pause: float | None = None) -> ModelRequest:
    answer = Answer(prose(rng, rng.randint(5, 40)).strip())
    pause = pause or rng.uniform(4.3, 40)
    return replace(request, messages=list(request.messages), answer=answer, pause=pause, mode=rng.choice(MODES))


def _talk(rng: random.Random, request: ModelRequest, turns: int, images: int = 0) -> Script:
    """Some turns of a conversation; it ends with a question that has not been sent yet."""
    for turn in range(turns):
        pictures = tuple(picture(rng) for _ in range(images if turn == 0 else 0))
        request.messages.append(User((prose(rng, rng.randint(15, 80)),), pictures))
        sent = _next(rng, request)
        if request.tools and rng.random() < 0.6:
            calls = tuple(
                Call(rng.choice(request.tools).name, {"query": prose(rng, 3)}) for _ in range(rng.randint(1, 3))
            )
            reply = yield replace(sent, answer=Answer("", calls))
            request.messages.append(reply)
            request.messages += [Result(call_id, prose(rng, rng.randint(10, 60))) for call_id in reply.call_ids]
            sent = _next(rng, request)
        request.messages.append((yield sent))
    request.messages.append(User((prose(rng, rng.randint(15, 80)),)))


def _turns(rng: random.Random) -> int:
    return rng.randint(2, 5)


def _with_line(text: str, line: str, at: float) -> str:
    """A text with a line put into it, at a sentence's end after such a share of it."""
    place = text.find(". ", int(len(text) * at)) + 2
    return f"{text[:place]}{line} {text[place:]}"


CLOCKS = (
    "Now is 2026-11-21T{:02}:{:02}.",
    "Current time: 2026-11-21 {:02}:{:02}:07 UTC.",
    "The time is {}:{:02}, be brief.",
    "It is Saturday, {}:{:02} PM, and the shop is open.",
    "<now>2026-11-21T{:02}:{:02}:33.482910Z</now>",
)


def clock_in_system(rng: random.Random, rule: Rule) -> Script:
    request, at = _start(rng, rule, tools=rng.choice((0, 3))), rng.uniform(0, 0.4)
    (text,), written, minute = request.system, rng.choice(CLOCKS), rng.randrange(60, 11 * 60)
    request.system = (_with_line(text, written.format(*divmod(minute, 60)), at),)
    for _ in range(_turns(rng)):
        yield from _once(rng, request)
    request.system = (_with_line(text, written.format(*divmod(minute + rng.randint(1, 60), 60)), at),)
    request.messages.append(User((prose(rng, 20),)))
    yield _next(rng, request)


def _once(rng: random.Random, request: ModelRequest) -> Script:
    request.messages.append(User((prose(rng, rng.randint(15, 80)),)))
    request.messages.append((yield _next(rng, request)))


def shuffled_tools(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, tools=rng.randint(3, 7))
    yield from _talk(rng, request, _turns(rng))
    tools = list(request.tools)
    while tuple(tools) == request.tools:
        rng.shuffle(tools)
    yield _next(rng, replace(request, tools=tuple(tools)))


def _reordered(rng: random.Random, schema: Json) -> Json:
    keys = list(schema)
    while keys == list(schema):
        rng.shuffle(keys)
    return {key: schema[key] for key in keys}


def reordered_keys(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, tools=rng.randint(1, 5))
    yield from _talk(rng, request, _turns(rng))
    number = rng.randrange(len(request.tools))
    one = request.tools[number]
    tools = [*request.tools]
    tools[number] = Tool(one.name, one.description, _reordered(rng, one.schema))
    yield _next(rng, replace(request, tools=tuple(tools)))


def random_id(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, words=700)

    def headed(text: str) -> User:
        drawn = uuid.UUID(int=rng.getrandbits(128), version=4)
        return User((form.format(drawn=drawn, hexadecimal=drawn.hex) + text,))

    form = rng.choice(("[request {drawn}] ", "trace={hexadecimal}\n", "Session req-{hexadecimal:.12}: "))
    text = prose(rng, rng.randint(500, 700))
    for _ in range(_turns(rng)):
        request.messages[:1] = [headed(text)]
        if len(request.messages) > 1:
            request.messages.append(User((prose(rng, 20),)))
        request.messages.append((yield _next(rng, request)))
    request.messages[:1] = [headed(text)]
    request.messages.append(User((prose(rng, 20),)))
    yield _next(rng, request)


def changed_image(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, words=700)
    yield from _talk(rng, request, _turns(rng) + 2, images=1)
    first = request.messages[0]
    assert isinstance(first, User)
    request.messages[0] = User(first.parts, (picture(rng),))
    yield _next(rng, request)


def expired(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, tools=rng.choice((0, 3)))
    yield from _talk(rng, request, _turns(rng))
    lifetime = 1800 if rule == "boundaries" else 300
    yield _next(rng, request, pause=rng.uniform(lifetime + 1, 3 * lifetime))


def too_short(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, words=200)
    request.system = (prose(rng, rng.randint(150, 400)),)
    yield from _talk(rng, request, rng.randint(1, 3))
    yield _next(rng, request)


def fifth_breakpoint(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, tools=rng.choice((0, 3)))
    yield from _talk(rng, request, _turns(rng))
    request.messages[-1] = User(tuple(prose(rng, rng.randint(5, 15)) for _ in range(5)))
    yield _next(rng, replace(request, marks={"tail": "", "every": ""}))


def beyond_look_back(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule)
    yield from _talk(rng, request, _turns(rng))
    yield (sent := _next(rng, request))
    parts = tuple(prose(rng, rng.randint(5, 15)) for _ in range(rng.randint(20, 30)))
    yield _next(rng, replace(sent, messages=[*sent.messages[:-1], User((prose(rng, 9),)), User(parts)]))


def overflowed(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule)
    for number in range(16):
        request.messages.append(User((prose(rng, 12),)))
        request.messages.append((yield _next(rng, request, rng.uniform(0.1, 2.5) if number else 60.0)))


def model_changed(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, tools=rng.choice((0, 3)))
    yield from _talk(rng, request, _turns(rng))
    yield _next(rng, replace(request, model=OTHER_MODEL[request.model]))


def parameter_changed(rng: random.Random, rule: Rule) -> Script:
    option: Json
    if rule == "marks":  # what matters to the messages alone: there must be many
        request, option = (
            _start(rng, rule, tools=3, words=400),
            {"tool_choice": {"type": rng.choice(("any", "none"))}},
        )
    elif rng.random() < 0.5:
        request, option = _start(rng, rule, tools=3), {"parallel_tool_calls": False}
    else:
        request, option = _start(rng, rule), {"response_format": {"type": "json_object"}}
    yield from _talk(rng, request, _turns(rng) + 8 * (rule == "marks"))
    yield _next(rng, replace(request, options=option))


def not_marked(rng: random.Random, rule: Rule) -> Script:
    request = _start(rng, rule, tools=rng.choice((0, 3)))
    yield from _talk(rng, request, _turns(rng))
    explicit: Json = {"prompt_cache_options": {"mode": "explicit"}}
    yield _next(rng, replace(request, marks={}, options=explicit if rule == "boundaries" else {}))


ALL: tuple[Rule, ...] = ("steps", "boundaries", "marks")
BREAKAGES = (
    Breakage("clock in the system prompt", ALL, clock_in_system),
    Breakage("shuffled tools", ALL, shuffled_tools),
    Breakage("reordered JSON keys", ALL, reordered_keys),
    Breakage("random id in a message", ALL, random_id),
    Breakage("changed image", ALL, changed_image),
    Breakage("expired", ALL, expired),
    Breakage("too short", ALL, too_short),
    Breakage("fifth breakpoint", ("marks",), fifth_breakpoint),
    Breakage("beyond look-back", ("marks",), beyond_look_back),
    Breakage("overflowed", ("steps", "boundaries"), overflowed),
    Breakage("model changed", ALL, model_changed),
    Breakage("parameter changed", ALL, parameter_changed),
    Breakage("not marked", ("boundaries", "marks"), not_marked),
)


def broken(breakage: Breakage, seed: int, rule: Rule) -> Script:
    """The conversation of a seed; some of them with another one going on at the same time."""
    rng = random.Random(f"{breakage.name} {rule} {seed}")
    script = breakage.script(rng, rule)
    noise = _noise(random.Random(f"noise {seed}"), rule)
    other = next(noise)
    request = next(script)
    while True:
        if rng.random() < 0.2 and breakage.name != "overflowed":
            other = noise.send((yield other))
        reply: Reply = yield request
        try:
            request = script.send(reply)
        except StopIteration:
            return


def _noise(rng: random.Random, rule: Rule) -> Script:
    while True:
        request = _start(rng, rule, tools=2)
        yield from _talk(rng, request, 3)
