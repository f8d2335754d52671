"""Two requests after one another, by the real SDK to a real upstream: is the second one answered by the first?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.provider import Provider, Talk

from .conftest import Connect

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
USAGE = {"stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Pair:
    """Two requests.

    Attributes:
        name: what is tried.
        calls: how many of them reach the upstream.
        first: arguments of the first request.
        second: of the second.
        clients: arguments of both clients.
        talk: of what the model answers.
    """

    name: str
    calls: int
    first: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)
    clients: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    talk: dict[str, Any] = field(default_factory=dict)


def headers(**directives: str) -> dict[str, Any]:
    return {"extra_headers": {name.replace("_", "-"): value for name, value in directives.items()}}


def message(*members: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [dict(members)]}


ROLE, CONTENT = ("role", "user"), ("content", "Hi")
PAIRS = [
    Pair("the same", 1),
    Pair("another key", 2, clients=({"api_key": "sk-1"}, {"api_key": "sk-2"})),
    Pair("another key, shared", 1, clients=({"share": True}, {"api_key": "sk-2", "share": True})),
    Pair("another organization", 2, clients=({}, {"organization": "org-2"})),
    Pair("another project", 2, clients=({}, {"project": "proj-2"})),
    Pair("another user", 2, {"user": "ann"}, {"user": "bob"}),
    Pair("an unknown parameter", 2, {"extra_body": {"foo_bar": 1}}, {"extra_body": {"foo_bar": 2}}),
    Pair("an unknown parameter again", 1, {"extra_body": {"foo_bar": 1}}, {"extra_body": {"foo_bar": 1.0}}),
    Pair("0 and 0.0", 1, {"temperature": 0}, {"temperature": 0.0}),
    Pair("another temperature", 2, {"temperature": 0}, {"temperature": 0.1}),
    Pair("another seed", 2, {"seed": 1}, {"seed": 2}),
    Pair("another reasoning effort", 2, {"reasoning_effort": "low"}, {"reasoning_effort": "high"}),
    Pair("another service tier", 2, {"service_tier": "flex"}, {"service_tier": "default"}),
    Pair("the order of members of a message", 1, message(ROLE, CONTENT), message(CONTENT, ROLE)),
    Pair("the order of a map", 1, {"logit_bias": {"1": 1, "2": 2}}, {"logit_bias": {"2": 2, "1": 1}}),
    Pair("labels", 1, {"metadata": {"run": "1"}}, {"metadata": {"run": "2"}}),
    Pair("an abuse identifier", 1, {"safety_identifier": "a"}, {"safety_identifier": "b"}),
    Pair("a prompt cache key", 1, {"prompt_cache_key": "a"}, {"prompt_cache_key": "b"}),
    Pair("stored by the provider", 2, {"store": True}, {"store": True}),
    # streams
    Pair("a stream twice", 1, {"stream": True}, {"stream": True}),
    Pair("plain, then a stream", 1, {}, {"stream": True}),
    Pair("plain, then a stream with usage", 1, {}, {"stream": True, **USAGE}),
    Pair("a stream with usage, then plain", 1, {"stream": True, **USAGE}, {}),
    Pair("a stream with usage, then one without", 1, {"stream": True, **USAGE}, {"stream": True}),
    Pair("a stream without usage, then plain", 2, {"stream": True}, {}),
    Pair("a stream without usage, then one with", 2, {"stream": True}, {"stream": True, **USAGE}),
    # answers that are not whole
    Pair("cut off", 2, talk={"finish": "length"}),
    Pair("filtered", 2, talk={"finish": "content_filter"}),
    Pair("ended for an unknown reason", 2, talk={"finish": "surprise"}),
    Pair("empty", 2, talk={"says": ""}),
    Pair("no JSON", 2, {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    Pair("a cut stream", 2, {"stream": True}, {"stream": True}, talk={"breaks": "ends"}),
    # the client's directives
    Pair("no-cache", 2, {}, headers(cache_control="no-cache")),
    Pair("no-store first", 2, headers(cache_control="no-store")),
    Pair("no-store", 2, {}, headers(cache_control="no-store")),
    Pair("max-age=0", 2, {}, headers(cache_control="max-age=0")),
    Pair("max-age", 1, {}, headers(cache_control="max-age=60")),
    Pair("min-fresh of what lives for ever", 1, {}, headers(cache_control="min-fresh=60")),
    Pair("min-fresh", 2, headers(askonce_ttl="30"), headers(cache_control="min-fresh=60")),
    Pair("only-if-cached", 1, {}, headers(cache_control="only-if-cached")),
    Pair("another sample", 2, {}, headers(askonce_sample="1")),
    Pair("another namespace", 2, {}, headers(askonce_namespace="mine")),
]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
async def test_the_second_request_is_answered_by_the_first_or_not(
    pair: Pair, asynchronous: bool, connect: Connect, provider: Provider, talk: Talk
) -> None:
    talk.says = "Answer {number} to {prompt}"
    for name, value in pair.talk.items():
        setattr(talk, name, value)
    texts = []
    for client, request in zip(pair.clients, (pair.first, pair.second), strict=True):
        sdk = connect(provider.openai_url, **client, asynchronous=asynchronous)
        texts.append(await text_of(sdk, {**CHAT, **request}))
    assert provider.count == pair.calls
    if pair.calls == 1:
        assert texts[0] == texts[1] != ""
    assert all("askonce" not in str(name) for request in provider.requests for name in request)


async def text_of(sdk: Any, request: dict[str, Any]) -> str:
    """The text of the answer, plain or streamed."""
    made = sdk.chat.completions.create(**request)
    if hasattr(made, "__await__"):
        made = await made
    if not request.get("stream"):
        return str(made.choices[0].message.content)
    chunks = [chunk async for chunk in made] if hasattr(made, "__aiter__") else list(made)
    wanted = bool(request.get("stream_options"))
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [1020] * wanted
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
