"""A client that begins a request and does not go on, and one that sends none at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from askonce.proxy import connection
from askonce.proxy.call import ClientLeft, ProxyCall
from askonce.proxy.connection import ClientConnection
from tests.httpx.test_right_answers import CHAT
from tests.httpx.upstream import STREAM, Scripted, Upstream

from .conftest import Serve
from .test_proxy import CHUNKS


async def app(scope: Any, receive: Any, send: Any) -> None:
    call = ProxyCall(scope, receive, send)
    with contextlib.suppress(ClientLeft):
        await call.respond(200, [], await call.body(2**20) or b"")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=ClientConnection, ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110  (it has no event for that)
            await asyncio.sleep(0.01)
        yield int(listener.getsockname()[1])
        server.should_exit = True
        await serving


WHOLE = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"


@pytest.mark.parametrize("begun", [b"", b"POST / HT", WHOLE[:-1], WHOLE + WHOLE[:30], WHOLE + WHOLE[:-1]])
async def test_who_does_not_go_on_is_left(port: int, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SILENT_SECONDS", 0.1)
    whole_reader, whole_writer = await asyncio.open_connection("127.0.0.1", port)
    whole_writer.write(WHOLE)
    assert (await whole_reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    async with asyncio.timeout(30):
        answered = await reader.read()  # until it is closed
    assert answered.count(b"200 OK") == begun.count(WHOLE)
    whole_writer.write(WHOLE)  # one that is idle between requests is not
    assert (await whole_reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
    for one in (writer, whole_writer):
        one.close()


async def test_who_sends_no_request_is_named(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "askonce")
    for sent in (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", b"what is this?\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert b"400 Bad Request" in await reader.read()
        writer.close()
    tls, other = (one.getMessage() for one in caplog.records if one.name == "askonce")
    assert "127.0.0.1" in tls and "TLS" in tls
    assert "127.0.0.1" in other and "TLS" not in other


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_client_of_http_1_0_gets_no_chunks(serve: Serve, breaks: bool) -> None:
    """What has no length ends with the connection; what breaks off does not look whole."""
    stream = Scripted(CHUNKS, headers=STREAM, tears=breaks)
    body = json.dumps({**CHAT, "stream": True}).encode()
    with Upstream(lambda _: stream) as upstream:
        proxy = serve(upstream.url)
        for number, path in enumerate(["/v1/chat/completions", "/v1/chat/completions", "/v1/other"]):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
            fields = f"authorization: Bearer sk\r\ncontent-length: {len(body)}"
            writer.write(f"POST {path} HTTP/1.0\r\n{fields}\r\n\r\n".encode() + body)
            came = b""
            try:
                async with asyncio.timeout(30):
                    while part := await reader.read(2**16):
                        came += part
                assert not breaks
            except ConnectionResetError:
                assert breaks
            writer.close()
            head, _, got = came.partition(b"\r\n\r\n")
            if breaks and not head:
                continue  # a reset may overtake what was sent before
            assert b"transfer-encoding" not in head and b"connection: close" in head
            assert (b"content-length" in head) == (number == 1 and not breaks)
            assert b"".join(CHUNKS).startswith(got) if breaks else got == b"".join(CHUNKS)
