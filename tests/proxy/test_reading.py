"""Reading a request that came before gives what it gave then; one that differs is read by itself."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from askonce.proxy import reading
from askonce.proxy.call import ProxyCall
from askonce.proxy.config import ProxySettings, UpstreamSettings
from askonce.proxy.reading import RequestReader
from askonce.proxy.upstream import Upstreams

BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}).encode()
HEADERS = {"authorization": "Bearer sk-1", "user-agent": "one"}


@pytest.fixture
async def reader() -> AsyncIterator[RequestReader]:
    settings = ProxySettings(
        upstreams=(UpstreamSettings("http://a"), UpstreamSettings("http://b", models=("claude-*",)))
    )
    upstreams = Upstreams(settings)
    yield RequestReader(upstreams, share=False, secret=b"")
    await upstreams.close()


def call(path: str = "/v1/chat/completions", query: str = "", **headers: str) -> ProxyCall:
    sent = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope: dict[str, Any] = {"method": "POST", "path": path, "query_string": query.encode()}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in sent.items()]

    async def unused(*_: Any) -> Any:
        raise AssertionError

    return ProxyCall(scope, unused, unused)


async def test_what_differs_is_read_anew(reader: RequestReader) -> None:
    first = reader.read(call(), BODY)
    assert first.wire is not None and first.target is not None and first.target.url.startswith("http://a/")
    assert reader.read(call(user_agent="two"), BODY) is first  # neither the caller nor the request depends on it
    digests = {first.wire.digest()}
    others = [
        call(authorization="Bearer sk-2"),
        call(x_api_key="k"),
        call(openai_organization="org"),
        call(anthropic_version="2"),
        call("/other/v1/chat/completions"),
        call(query="api-version=1"),
        call(askonce_sample="1"),
    ]
    for other in others:
        read = reader.read(other, BODY).wire
        assert read is not None
        digests.add(read.digest())
    digests |= {one.digest() for one in [reader.read(call(), BODY.replace(b"Hi", b"Ho")).wire] if one is not None}
    assert len(digests) == len(others) + 2
    for directive in ("no-store", "no-cache", "only-if-cached"):
        read = reader.read(call(cache_control=directive), BODY).wire
        assert read is not None and read.directives != first.wire.directives
    cookie = reader.read(call(cookie="session=1"), BODY).wire
    assert cookie is not None and cookie.has_cookie
    claude = reader.read(call(), BODY.replace(b"gpt-4o", b"claude-1"))
    assert claude.target is not None and claude.target.url.startswith("http://b/")


MANY = {
    "short questions": lambda at: (json.dumps({"model": "m", "messages": [{"content": f"{at}"}]}).encode(), "", ""),
    "empty bodies": lambda at: (b"", f"page={at}", ""),
    "long queries": lambda at: (b"{}", f"page={at}&x={'y' * 8000}", ""),
    "queries of many parts": lambda at: (b"{}", f"page={at}{'&x=1' * 500}", ""),
    "long headers": lambda at: (b"{}", f"page={at}", "o" * 8000),
    "many values": lambda at: (b'{"model": "m", "x": [%d%b]}' % (at, b",{}" * 2_000), "", ""),
    "long texts": lambda at: (b'{"model": "m", "x": "%d%b"}' % (at, b"x" * 40_000), "", ""),
}


@pytest.mark.parametrize("kind", MANY)
async def test_only_so_much_memory_is_held(
    reader: RequestReader, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_BYTES", 2 * 2**20)
    tracemalloc.start()
    try:
        for at in range(60 if "many" in kind else 600):
            body, query, organization = MANY[kind](at)
            read = reader.read(call(query=query, openai_organization=organization), body)
            if read.wire is not None:
                read.wire.digest()
            if at % 20 == 0:
                assert tracemalloc.get_traced_memory()[0] < 3 * 2**20
    finally:
        tracemalloc.stop()


async def test_what_is_large_is_not_held(reader: RequestReader) -> None:
    reader.read(call(), BODY.replace(b"Hi", b"x" * 100_000))
    assert not reader._recent
    reader.read(call(), BODY)
    assert len(reader._recent) == 1
