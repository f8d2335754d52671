"""A proxy with an upstream that replies what a row says, and the real SDKs in front."""

from __future__ import annotations

import asyncio
import itertools
import json
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import anthropic
import httpx2
import openai

from benchmarks.proxy.subjects import KEY, Subject
from tests.httpx.upstream import STREAM, Received, Scripted, Upstream, completion, delta, events
from tests.support.provider import Provider

OTHER_KEY = KEY + "2"
CHAT = "/v1/chat/completions"
PLAIN = Scripted([json.dumps(completion()).encode()])
EVENTS = events(delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo."), delta("stop"))
_numbers = itertools.count()


def stream(chunks: Sequence[bytes] = EVENTS, *, tears: bool = False) -> Scripted:
    """A reply that is a stream."""
    return Scripted(chunks, 200, STREAM, tears)


class Gate:
    """What a row has.

    Args:
        proxy: the one that is tried.
        upstream: behind it.
        provider: answers what no row scripts.
    """

    def __init__(self, proxy: Subject, upstream: Upstream, provider: Provider) -> None:
        self.proxy, self.upstream, self._provider = proxy, upstream, provider

    def begin(self) -> None:
        """Begin a row, with a prompt of its own."""
        self.upstream.received.clear()
        self.upstream.script = lambda received: stream() if received.json.get("stream") else PLAIN
        self._prompt = f"Question {next(_numbers)}: why is the sky blue?"

    @property
    def calls(self) -> int:
        """How many requests came to the upstream."""
        return len(self.upstream.received)

    def replies(self, reply: Scripted) -> None:
        """Have the upstream always reply this."""
        self.upstream.script = lambda _: reply

    def emulates(self) -> None:
        """Have the emulated provider answer."""

        def script(received: Received) -> Scripted:
            if b'"input"' in received.body and "embeddings" in received.path:
                return Scripted([_embedded(received.json)])
            url = self._provider.anthropic_url + received.path.partition("?")[0]
            headers = {"content-type": "application/json", "authorization": "Bearer x", "x-api-key": "x"}
            with urllib.request.urlopen(urllib.request.Request(url, received.body, headers)) as reply:
                kind = reply.headers["content-type"]
                return Scripted([reply.read()], 200, [("content-type", kind)])

        self.upstream.script = script

    def body(self, **more: Any) -> dict[str, Any]:
        """A chat completion's body."""
        return {"model": "gpt-4o", "messages": [{"role": "user", "content": self._prompt}], **more}

    def post(self, body: object, path: str = CHAT, key: str = KEY, **headers: str) -> httpx2.Response:
        """A raw request; in the names of headers ``_`` stands for ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent |= {"authorization": f"Bearer {key}", "content-type": "application/json"}
        return httpx2.post(self.proxy.url + path, content=content, headers=sent, timeout=60)

    def twice(self, first: dict[str, Any], second: dict[str, Any] | None = None, **headers: str) -> int:
        """How many of two requests come to the upstream; the headers are of the second."""
        self.post(self.body(**first))
        self.post(self.body(**(first if second is None else second)), **headers)
        return self.calls

    def at_once(self, number: int, **more: Any) -> int:
        """How many of as many identical requests at once come to the upstream."""

        async def posted() -> None:
            limits = httpx2.Limits(max_connections=None)
            async with httpx2.AsyncClient(limits=limits, timeout=120) as client:
                headers = {"authorization": f"Bearer {KEY}"}
                body = self.body(**more)
                each = [client.post(self.proxy.url + CHAT, json=body, headers=headers) for _ in range(number)]
                await asyncio.gather(*each, return_exceptions=True)

        asyncio.run(posted())
        return self.calls

    @property
    def openai(self) -> openai.OpenAI:
        """The real SDK."""
        return openai.OpenAI(api_key=KEY, base_url=f"{self.proxy.url}/v1", max_retries=0, timeout=60)

    @property
    def anthropic(self) -> anthropic.Anthropic:
        """The real SDK; LiteLLM wants its key as a bearer."""
        own = {"authorization": f"Bearer {KEY}"}
        return anthropic.Anthropic(
            api_key=KEY, base_url=self.proxy.url, max_retries=0, timeout=60, default_headers=own
        )

    def streamed(self, **more: Any) -> list[dict[str, Any]] | str:
        """The chunks of a stream as the SDK has them, or the name of the error that it ended with."""
        try:
            made = self.openai.chat.completions.create(**self.body(stream=True, **more))
            return [chunk.model_dump(exclude_unset=True) for chunk in made]
        except Exception as error:  # of the SDK, or of the HTTP package below it
            return type(error).__name__


def same_twice(call: Callable[[], Any], gate: Gate) -> tuple[str, bool]:
    """Whether the second answer is a hit, and what the first one was."""
    made, again = call(), call()
    equal = "the same" if made == again else f"other events ({_size(made)}, then {_size(again)})"
    return f"{gate.calls} call{'s' * (gate.calls != 1)}, {equal}", gate.calls == 1 and made == again


def _size(value: Any) -> str:
    return f"{len(value)}" if isinstance(value, list) else "one object"


def _embedded(request: dict[str, Any]) -> bytes:
    given = request["input"]
    texts = given if isinstance(given, list) else [given]
    if request.get("encoding_format") == "base64":
        import base64
        import struct

        vectors: list[Any] = [base64.b64encode(struct.pack("<2f", len(text), 1.0)).decode() for text in texts]
    else:
        vectors = [[float(len(text)), 1.0] for text in texts]
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return json.dumps({"object": "list", "data": data, "model": request["model"], "usage": usage}).encode()
