"""Two requests after one another, by the real SDK through a real proxy: is the second one answered by the first?"""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from tests.httpx.test_right_answers import CHAT, PAIRS, Pair, text_of
from tests.support.provider import Provider, Talk

from .conftest import Serve


def test_the_second_request_is_answered_by_the_first_or_not(provider: Provider, talk: Talk, serve: Serve) -> None:
    """All of the table with one proxy for each way to share: each row has a namespace of its own."""
    proxies = {False: serve(provider.openai_url), True: serve(provider.openai_url, "--share")}
    wrong = []
    for number, pair in enumerate(PAIRS):
        if (outcome := asyncio.run(outcome_of(pair, f"row-{number}", proxies, provider, talk))) is not None:
            wrong.append((pair.name, outcome))
    assert not wrong
    assert all("askonce" not in str(name) for request in provider.requests for name in request)


async def outcome_of(
    pair: Pair, row: str, proxies: dict[bool, Any], provider: Provider, talk: Talk
) -> tuple[int, list[str]] | None:
    """How many calls came, and the texts, if they are not as they should be."""
    talk.__init__()  # type: ignore[misc]
    talk.says = "Answer {number} to {prompt}"
    for name, value in pair.talk.items():
        setattr(talk, name, value)
    before, texts = provider.count, []
    for settings, request in zip(pair.clients, (pair.first, pair.second), strict=True):
        given = {"api_key": "sk-1", **settings}
        url = proxies[given.pop("share", False)].url
        own = {"default_headers": {"askonce-namespace": row}}
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", max_retries=0, **own, **given) as sdk:
            texts.append(await text_of(sdk, {**CHAT, **request}))
    calls = provider.count - before
    right = calls == pair.calls and (pair.calls == 2 or texts[0] == texts[1] != "")
    return None if right else (calls, texts)
