"""Who comes while an answer is made gets what he would get alone, at the price of one call."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from askonce.concurrency.beside import LARGE_BYTES
from askonce.engine.lookup import Lookup
from askonce.proxy.app import ProxyApp
from askonce.proxy.call import ProxyCall
from askonce.proxy.config import ProxySettings, UpstreamSettings
from askonce.proxy.connection import ClientConnection
from askonce.proxy.tape import Tape
from askonce.wire.requests import WireRequest
from tests.concurrency.test_waits import in_a_pool
from tests.httpx.test_right_answers import CHAT
from tests.httpx.upstream import STREAM, Received, Scripted, Upstream, delta, events

from .conftest import Serve
from .test_proxy import KEY, PLAIN

NO_STALE, SOME_STALE = {"cache-control": "stale-if-error=0"}, {"cache-control": "stale-if-error=500"}


@pytest.mark.parametrize("first", [{}, NO_STALE], ids=["by the proxy's rules", "by its own"])
def test_a_stale_answer_stands_in_for_those_alone_who_allow_it(serve: Serve, first: dict[str, str]) -> None:
    go_on = threading.Event()

    def script(_: Received) -> Scripted:
        if len(upstream.received) == 1:
            return Scripted([PLAIN])
        go_on.wait(60)
        return Scripted([b"{}"], 503)

    with (
        Upstream(script) as upstream,
        ThreadPoolExecutor(9) as pool,
        httpx2.Client(headers=KEY, timeout=60) as client,
    ):
        url = serve(upstream.url, "--ttl", "1e-9", "--stale-if-error", "600").url

        def send(headers: dict[str, str]) -> int:
            return client.post(f"{url}/v1/chat/completions", json=CHAT, headers=headers).status_code

        send({})
        sent = [first, {}, NO_STALE, SOME_STALE, {}, NO_STALE, SOME_STALE]
        waiting = [pool.submit(send, sent[0])]
        while len(upstream.received) < 2:
            time.sleep(0.01)
        waiting += [pool.submit(send, one) for one in sent[1:]]
        time.sleep(1)
        go_on.set()
        got = [one.result() for one in waiting]
        assert got == [503 if one is NO_STALE else 200 for one in sent]
        assert len(upstream.received) == 2


@asynccontextmanager
async def serving(upstream: Upstream, folder: Path, **rules: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a proxy in this process."""
    settings = ProxySettings((UpstreamSettings(upstream.url),), f"sqlite:///{folder / 'cache.db'}", rules)
    config = uvicorn.Config(ProxyApp(settings), log_level="warning", lifespan="on", http=ClientConnection)
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx2.AsyncClient(base_url=url, headers=KEY, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        await running


async def test_no_crowd_brings_an_answer_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The store is so slow that others come between a lookup and its end."""
    find = Lookup.find

    async def slow(*arguments: Any) -> Any:
        await asyncio.sleep(0.1)
        return await find(*arguments)

    monkeypatch.setattr(Lookup, "find", slow)
    strict = [{"cache-control": "max-age=1"}, {"cache-control": "min-fresh=999999"}]
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        async with serving(upstream, tmp_path, ttl=3600) as client:

            async def send(headers: dict[str, str], after: float) -> httpx2.Response:
                await asyncio.sleep(after)
                return await client.post("/v1/chat/completions", json=CHAT, headers=headers)

            await send({}, 0)
            await asyncio.sleep(2.1)
            lenient = [send({}, at / 100) for at in range(20)]
            got = await asyncio.gather(*lenient, *(send(one, at / 100) for one in strict * 2 for at in range(5, 9)))
            assert all(int(one.headers.get("age", 0)) <= 1 for one in got[20:])
            assert len(upstream.received) == 2


@pytest.mark.parametrize(
    "reply",
    [
        Scripted([PLAIN]),
        Scripted([b"{}"], 429),
        Scripted([PLAIN[:9]], tears=True),
        Scripted(events(delta(content="a"), delta("stop")), headers=STREAM),
    ],
    ids=["whole", "error", "broken", "stream"],
)
async def test_a_request_is_given_up_when_it_was_answered(reply: Scripted, tmp_path: Path) -> None:
    """Not only when garbage is collected, which may be after many more: each may have 32 MB."""

    def large() -> int:
        return sum(isinstance(one, ProxyCall | WireRequest | Tape) for one in gc.get_objects())

    streams = reply.headers is STREAM
    body = {**CHAT, "stream": streams, "messages": [{"role": "user", "content": "x" * 2 * LARGE_BYTES}]}
    with Upstream(lambda _: reply) as upstream:
        async with serving(upstream, tmp_path, ttl=3600) as client:
            in_a_pool(lambda: None)
            gc.collect()
            gc.disable()
            try:
                before = large()
                for number in range(3):
                    sent = [client.post("/v1/chat/completions", json={**body, "seed": number}) for _ in range(3)]
                    await asyncio.gather(*sent, return_exceptions=True)
                await asyncio.sleep(1.5)  # for so long events hold the forms of requests
                assert large() <= before + 1  # what an idle connection was last sent
            finally:
                gc.enable()
