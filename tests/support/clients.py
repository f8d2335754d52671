"""Clients of all kinds through a real proxy: what each must see, and when the provider may be called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import proxies
from tests.support.provider import Provider, Talk

Send = Callable[[str, str, str], str]
"""Sends a question through a client: the proxy's URL, the caller's key, the question; returns the answer's text."""

WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = {"role": "user", "content": "hello"}


@dataclass(frozen=True)
class Proxied:
    """A proxy before the provider.

    Attributes:
        url: of the proxy, without ``/v1``.
        provider: what it calls.
    """

    url: str
    provider: Provider


@contextmanager
def proxied(folder: Path) -> Iterator[Proxied]:
    """A proxy before a provider, as it is by default."""
    with Provider(answer=Talk()) as provider:
        proxy = proxies.start(provider.anthropic_url, folder=folder)
        try:
            yield Proxied(proxy.url, provider)
        finally:
            proxy.stop()


def check(proxy: Proxied, name: str, send: Send) -> None:
    """A question twice is answered once by the provider, in the same words; another caller's is his own.

    Args:
        proxy: in front of the provider.
        name: of the client and its method; part of the question, so that no other way has the answer.
        send: sends the question.
    """
    question = f"What about {name.replace(' ', '-')}?"

    def calls(key: str) -> int:
        before = proxy.provider.count
        texts.append(send(proxy.url, key, question))
        return proxy.provider.count - before

    texts: list[str] = []
    at_first = calls("sk-one")
    assert at_first > 0 and texts[0], (at_first, texts)
    assert calls("sk-one") == 0 and texts[1] == texts[0], texts
    assert calls("sk-two") == at_first, texts


def named(clients: Mapping[str, Mapping[str, Send]]) -> list[tuple[str, Send]]:
    """All clients and their methods, each with its name."""
    return [(f"{client} {how}", send) for client, ways in clients.items() for how, send in ways.items()]
