"""What is large holds up nobody else, and what is too large is not held."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from askonce import Cache
from askonce.httpx import CachedTransport
from askonce.proxy.reading import RequestReader
from askonce.proxy.tape import Tape
from askonce.storage.entries import EntryStorage
from askonce.wire import embeddings, replies
from askonce.wire.requests import WireRequest
from tests.httpx.test_right_answers import CHAT
from tests.httpx.upstream import STREAM, Received, Scripted, Upstream, completion, delta, events
from tests.support.proxies import Proxy

from .conftest import Serve
from .test_followers import serving
from .test_proxy import KEY, posted

USAGE = b'data: {"object": "chat.completion.chunk", "choices": [], "usage": {"prompt_tokens": 3}}\n\n'
STREAMED = {**CHAT, "stream": True}


def long_stream(pieces: int) -> list[bytes]:
    *chunks, done = events(*[delta(content=f"piece {at} ") for at in range(pieces)], delta("stop"))
    return [*chunks, USAGE, done]


Ran = dict[str, list[str]]


def watch(ran: Ran, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Note where a function runs."""
    real: Callable[..., Any] = getattr(owner, name)

    def watched(*arguments: Any, **named: Any) -> Any:
        where = "loop" if threading.current_thread() is threading.main_thread() else "beside"
        ran.setdefault(name, []).append(where)
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, watched)


async def test_what_is_large_is_read_and_assembled_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: Ran = {}
    for owner, name in (
        (RequestReader, "read"),
        (WireRequest, "digest"),
        (replies, "packed"),
        (replies, "replayed"),
        (EntryStorage, "entry"),
        (EntryStorage, "record"),
    ):
        watch(ran, monkeypatch, owner, name)
    body = long_stream(5000)
    with Upstream(lambda _: Scripted(body, 200, STREAM)) as upstream:
        async with serving(upstream, tmp_path) as client:
            got = await client.post("/v1/chat/completions", json=STREAMED)
            again = await client.post("/v1/chat/completions", json=STREAMED)
            plain = await client.post("/v1/chat/completions", json=CHAT)
            assert got.content == again.content == b"".join(body) and "hit" in again.headers["cache-status"]
            text = plain.json()["choices"][0]["message"]["content"]
            assert text == "".join(f"piece {at} " for at in range(5000)) and len(upstream.received) == 1
            assert ran == {
                "read": ["loop"] * 3,
                "digest": ["loop"] * 3,
                "packed": ["beside"],
                "entry": ["loop"],
                "record": ["beside"],
                "replayed": ["beside"] * 2,
            }
            ran.clear()
            long = {"messages": [{"role": "user", "content": "word"}] * 5000}
            for expected in ("miss", "hit"):
                reply = await client.post("/v1/chat/completions", json={**STREAMED, **long})
                assert reply.content == b"".join(body) and expected in reply.headers["cache-status"]
            assert ran["read"] == ran["digest"] == ["beside"] * 2 and ran["entry"] == ["beside"]
            ran.clear()
            body[:] = long_stream(3)
            for kind in ("miss", "hit"):
                reply = await client.post("/v1/chat/completions", json={**STREAMED, "seed": 1})
                assert kind in reply.headers["cache-status"]
            assert {where for ones in ran.values() for where in ones} == {"loop"}


def embedded(received: Received) -> Scripted:
    texts = received.json["input"]
    many = [texts] if isinstance(texts, str) else texts
    data = [{"index": at, "embedding": [float(len(one)), *[0.5] * 999]} for at, one in enumerate(many)]
    return Scripted([json.dumps({"object": "list", "data": data, "model": "e"}).encode()])


@pytest.mark.parametrize("client", ["of the proxy", "with the transport"])
async def test_many_embeddings_are_packed_and_assembled_beside_the_event_loop(
    client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: Ran = {}
    for name in ("requests_to", "packed", "reply_of_hits", "reply_of_both"):
        watch(ran, monkeypatch, embeddings, name)
    with Upstream(embedded) as upstream, Cache("memory://", timeout_seconds=10) as cache:
        cached: Any = (
            serving(upstream, tmp_path, timeout_seconds=10)
            if client == "of the proxy"
            else httpx2.AsyncClient(
                transport=CachedTransport(cache), base_url=upstream.url, headers=KEY, timeout=60
            )
        )
        async with cached as http:

            async def post(texts: Any) -> Any:
                reply = await http.post("/v1/embeddings", json={"model": "e", "input": texts})
                assert reply.status_code == 200
                return [one["embedding"][0] for one in reply.json()["data"]]

            many = [f"text {at}" for at in range(200)]
            lengths = [len(one) for one in many]
            assert await post(many) == await post(many) == lengths
            assert await post([*many, "a"]) == [*lengths, 1] and len(upstream.received) == 2
            assert ran.pop("requests_to") == ["beside"] * 3 and ran.pop("packed") == ["beside", "loop"]
            assert ran == {"reply_of_hits": ["beside"], "reply_of_both": ["beside"]}
            ran.clear()
            assert await post("one") == await post("one") == [3]
            assert {where for ones in ran.values() for where in ones} == {"loop"}
            ran.clear()
            assert await post(["the same"] * 200) == [8] * 200
            assert ran["packed"] == ["beside"]


def test_a_large_answer_is_stored_whose_client_leaves_when_it_has_all(serve: Serve) -> None:
    answer = completion()
    answer["choices"][0]["message"]["content"] = "word " * 2_000_000
    with Upstream(lambda _: Scripted([json.dumps(answer).encode()])) as upstream:
        url = serve(upstream.url).url
        assert posted(url).json() == answer  # and closes its connection
        assert "hit" in posted(url).headers["cache-status"] and len(upstream.received) == 1


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_a_reply_that_is_too_large_is_passed_on_and_not_stored(serve: Serve, streams: bool) -> None:
    answer = completion()
    answer["choices"][0]["message"]["content"] = "word " * 100_000
    sent = long_stream(5000) if streams else [json.dumps(answer).encode()]
    with Upstream(lambda _: Scripted(sent, 200, STREAM if streams else Scripted().headers)) as upstream:
        proxy: Proxy = serve(upstream.url, "--max-body-bytes", "300000")
        with ThreadPoolExecutor(8) as pool:
            request = {**CHAT, "stream": streams}
            got = list(pool.map(lambda _: posted(proxy.url, request), range(8)))
        assert {one.content for one in got} == {b"".join(sent)}
        calls = len(upstream.received)
        assert posted(proxy.url, request).content == b"".join(sent) and len(upstream.received) == calls + 1
        log = proxy.log.read_text()
        assert "TooLarge: more than 300,000 bytes" in log


@pytest.mark.parametrize("texts", ["long", ["long"] * 9, ["long", "text"]], ids=["one", "the same", "two"])
def test_vectors_that_are_too_large_are_passed_on_and_not_stored(serve: Serve, texts: Any) -> None:
    def script(received: Received) -> Scripted:
        if received.json["input"] == ["small"]:
            return Scripted([json.dumps({"data": [{"index": 0, "embedding": [1.0]}]}).encode()])
        return Scripted(sent, tears=tears)

    sent, tears = [json.dumps({"data": [{"index": 0, "embedding": [0.5] * 100_000}]}).encode()] * 3, False
    with Upstream(script) as upstream:
        proxy: Proxy = serve(upstream.url, "--max-body-bytes", "300000")

        def post(given: Any) -> httpx2.Response:
            return posted(proxy.url, {"model": "e", "input": given}, "/v1/embeddings")

        for calls in (1, 2):
            reply = post(texts)
            assert reply.content == b"".join(sent) and len(upstream.received) == calls
            assert reply.headers["cache-status"] == "askonce; fwd=miss"
        assert post(["small"]).json()["data"] and post(["small", "long"]).content == b"".join(sent)
        tears = True
        with suppress(httpx2.RemoteProtocolError):  # or nothing was passed on by then
            assert post(texts).status_code == 502


def test_a_reply_that_is_too_large_is_not_held_in_memory(serve: Serve) -> None:
    part = b"data: " + json.dumps(delta(content="x" * 1_000_000)).encode() + b"\n\n"

    class Many(list[bytes]):
        def __iter__(self) -> Any:
            return (part for _ in range(300))

    with Upstream(lambda _: Scripted(Many([part, part]), 200, STREAM)) as upstream:
        proxy = serve(upstream.url, "--max-body-bytes", "2000000")
        status = Path(f"/proc/{proxy.process.pid}/status")
        if not status.exists():
            pytest.skip("this system does not say how much memory a process has")
        with (
            httpx2.Client(timeout=60) as client,
            client.stream("POST", f"{proxy.url}/v1/chat/completions", json=STREAMED, headers=KEY) as reply,
        ):
            assert sum(map(len, reply.iter_raw(65_536))) == 300 * len(part)
        most = int(status.read_text().partition("VmHWM:")[2].split()[0])
        assert most < 200_000, f"{most} kB"


def test_a_reply_that_is_too_large_ends_when_its_client_leaves(serve: Serve) -> None:
    part, has_ended = b"data: " + json.dumps(delta(content="x" * 1_000_000)).encode() + b"\n\n", threading.Event()

    class Endless(list[bytes]):
        def __iter__(self) -> Any:
            try:
                while True:
                    yield part
            finally:
                has_ended.set()

    with Upstream(lambda _: Scripted(Endless([part, part]), 200, STREAM)) as upstream:
        url = serve(upstream.url, "--max-body-bytes", "2000000").url
        with (
            httpx2.Client(timeout=60) as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=STREAMED, headers=KEY) as reply,
        ):
            parts = reply.iter_raw(65_536)
            assert sum(len(next(parts)) for _ in range(100)) > 5_000_000
        assert has_ended.wait(30)


async def test_a_tape_that_is_dropped_holds_what_its_slowest_reader_has_not_read() -> None:
    tape: Tape[int] = Tape(None, None, lambda: None)
    fast, slow = tape.reader(), tape.reader()
    for item in range(100):
        if item == 10:
            tape.drop()
        writing = asyncio.create_task(tape.write(item))
        if item > 10:
            assert await fast.next() is not None
        await asyncio.wait_for(writing, 10)  # although the other reads nothing
    assert [await slow.next() for _ in range(60)] == list(range(60))
    assert tape.items == list(range(60, 100))
    tape.leave(slow)
    assert tape.items == list(range(89, 100))
    for item in range(100, 106):
        writing = asyncio.create_task(tape.write(item))
        await asyncio.sleep(0)
    assert not writing.done()
    assert await fast.next() == 89
    await asyncio.wait_for(writing, 10)
    assert tape.items == list(range(90, 106))
