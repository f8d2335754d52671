"""The proxy as it is started, configured and ended, and what real servers and clients do to it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import uvicorn

from askonce import ConfigError
from askonce.proxy.app import ProxyApp
from askonce.proxy.config import ProxySettings, UpstreamSettings, read_settings
from askonce.proxy.connection import ClientConnection
from askonce.proxy.tenants import read_keys
from tests.httpx.test_right_answers import CHAT
from tests.httpx.upstream import STREAM, Held, Received, Scripted, Upstream, completion, delta, events
from tests.support.provider import Provider

from .conftest import Serve
from .test_proxy import CHUNKS, KEY, PLAIN, posted

HIT, MISS = "askonce; hit", "askonce; fwd=miss"


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What the command writes when it does not start."""
    command = [sys.executable, "-m", "askonce.cli", "proxy", "--store", "memory://", "--port", "0", *arguments]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_wrong_settings_are_refused_in_a_line_that_names_them(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    start = '[[upstreams]]\nurl = "http://127.0.0.1:1"\n'
    for text, named in [
        ("prot = 1\n" + start, "`prot`"),
        ("prot = 1\n" + start, "known are upstreams, store, cache, host, port"),
        (start + 'modles = ["x"]', "`modles`"),
        (start + 'modles = ["x"]', "known are url, prefix, models, key_env"),
        (start + "[cache]\ntll = 1", f"{file}: [cache] has no setting tll; did you mean ttl?"),
        (start + "[cache]\nodd = 1", "known are access_log, admission"),
        ("cache = 1\n" + start, "cache"),
        ('workers = "x"\n' + start, "workers"),
        ("port = ", str(file)),
        ("ttl = 60\n" + start, "ttl is a setting of the cache: write it below [cache]"),
    ]:
        file.write_text(text)
        assert named in refused("--config", str(file)), text
    assert str(tmp_path / "none.toml") in refused("--config", str(tmp_path / "none.toml"))
    assert "no upstream" in refused()
    for url in ("api.openai.com", "ftp://x", "http://"):
        assert repr(url) in refused("--upstream", url)
    one = "http://127.0.0.1:1"
    for nothing in ("=", ",="):
        assert "one begins with =" in refused("--upstream", f"{nothing}{one}")
    assert "local_ttl is zero or a positive number" in refused("--upstream", one, "--local-ttl", "-1")
    unknown = refused(
        env={"ASKONCE_PROXY_UPSTREAMS": one, "ASKONCE_PROXY_SECRET": "s", "ASKONCE_PROXY_SERVICE_HOST": "10.0.0.1"}
    )
    assert unknown.count("there is no variable") == 1
    assert "ASKONCE_PROXY_UPSTREAMS; did you mean ASKONCE_PROXY_UPSTREAM?" in " ".join(unknown.split())
    assert "spaces between several" in refused(env={"ASKONCE_PROXY_UPSTREAM": f"{one},claude-*={one}"})
    held = ["--upstream", "http://127.0.0.1:1", "--upstream-key-env", "THE_KEY"]
    assert "--keys-file" in refused(*held, "--host", "0.0.0.0", env={"THE_KEY": "sk"})
    assert "THE_KEY" in refused(*held)
    assert "/askonce/x is the proxy's own" in refused("--upstream", "/askonce/x=http://127.0.0.1:1")
    for option in ("--timeout", "--connect-timeout", "--max-body-bytes"):
        assert "positive" in refused("--upstream", "http://127.0.0.1:1", option, "0")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_it_reaches_its_upstream_through_the_proxy_of_the_network(
    serve: Serve, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with Upstream(lambda _: Scripted([json.dumps(completion()).encode()])) as network:
        way = network.url.removeprefix("http://").partition("/")[0]  # as companies write it, without a scheme
        proxy = serve("http://provider.invalid", env={variable: way})
        assert posted(proxy.url).json() == completion()
    assert network.received[0].path == "http://provider.invalid/v1/chat/completions"
    line = refused("--upstream", "http://provider.invalid", env={variable: "socks5://127.0.0.1:1"})
    assert "socks5 proxy" in line and variable.upper() in line


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://[::1",
            "http://h:99999",
            "http://h:abc",
            "http://h:0",
            "http://",
            "http://exa mple",
            "http://ü.de",
        ),
        *("http://h#x", "http://h?x=1", "http://u:p@h", "http://:p@h", "https://h ", "http://h\n"),
        *("http://h,http://g", "http://h;http://g"),
    ],
)
def test_an_upstream_to_which_nothing_could_be_sent_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="an upstream is a URL"):
        ProxySettings((UpstreamSettings(url),)).check()


def test_a_file_of_keys_is_beside_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", "sk")
    file = tmp_path / "proxy.toml"
    upstream = '[[upstreams]]\nurl = "http://127.0.0.1:1"\nkey_env = "THE_KEY"\n'
    for named in ("keys.toml", str(tmp_path / "keys.toml")):
        file.write_text(f'keys_file = "{named}"\n{upstream}')
        assert read_settings(str(file), {}).keys_file == str(tmp_path / "keys.toml")
    assert read_settings(str(file), {"keys_file": "other.toml"}).keys_file == "other.toml"
    (tmp_path / "keys.toml").write_text(f'[[keys]]\nkey = "{"a" * 20}"\ntennant = "red"\n')
    with pytest.raises(ConfigError, match=r"`tennant`.*known are key, tenant, models"):
        read_keys(str(tmp_path / "keys.toml"))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ([("a" * 20, "red"), ("a" * 20, "blue")], "'red'"),
        ([("a" * 20, "red"), ("a" * 20, "red")], "'red'"),
        ([(" " + "a" * 20, "red")], "spaces"),
    ],
)
def test_a_file_of_keys_that_says_two_things_is_refused(
    keys: list[tuple[str, str]], named: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("".join(f'[[keys]]\nkey = "{key}"\ntenant = "{tenant}"\n' for key, tenant in keys))
    with pytest.raises(ConfigError, match=named):
        read_keys(str(file))


def test_the_log_says_what_is_true_of_workers_and_of_websockets(serve: Serve) -> None:
    offered = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    for workers in ("1", "2"):
        proxy = serve("http://127.0.0.1:1", "--workers", workers, store="memory://")
        assert httpx2.get(f"{proxy.url}/v1/realtime", headers=offered, timeout=60).status_code == 501
        log = proxy.log.read_text()
        assert ("a cache of its own" in log) == (workers == "2") and "WebSocket" not in log and "pgrade" not in log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_says_that_it_serves_when_it_can(workers: str) -> None:
    upstream = ["--upstream", "http://127.0.0.1:1", "--workers", workers]
    assert "askonce proxy on" not in refused(*upstream, "--store", "nosql://x")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        written = refused(*upstream, "--port", port)
    assert f"127.0.0.1 at port {port}" in written and "askonce proxy on" not in written
    assert "cannot listen on 192.0.2.1" in refused(*upstream, "--host", "192.0.2.1")


def test_stale_answers_and_time_outs_are_options(serve: Serve) -> None:
    ended = threading.Event()

    def script(_: Received) -> Scripted:
        if len(upstream.received) > 1:
            ended.wait(60)
        return Scripted([PLAIN])

    with Upstream(script) as upstream:
        url = serve(upstream.url, "--ttl", "1e-9", "--stale-if-error", "60", "--timeout", "0.2").url
        assert posted(url).headers["cache-status"] == MISS
        again = posted(url)
        assert again.content == PLAIN and again.headers["cache-status"].startswith("askonce; fwd=stale; ttl=-")
        assert posted(url, {**CHAT, "seed": 1}).status_code == 504
        ended.set()


def test_cache_status_says_why_a_request_went_on(serve: Serve) -> None:
    """As RFC 9211 means it."""

    def script(received: Received) -> Scripted:
        if b"fail" in received.body and len(upstream.received) > 1:
            return Scripted([b"{}"], 503)
        if received.path.endswith("embeddings"):
            data = [{"index": at, "embedding": [1.0]} for at in range(len(received.json["input"]))]
            return Scripted([json.dumps({"object": "list", "data": data, "model": "e"}).encode()])
        return Scripted([PLAIN])

    with Upstream(script) as upstream:
        url = serve(upstream.url, "--ttl", "1e-9", "--stale-if-error", "60", "--max-body-bytes", "2000").url
        failing = {**CHAT, "messages": [{"role": "user", "content": "fail"}]}
        posted(url, failing)
        for headers in ({}, {"cache_control": "max-age=5"}):
            again = posted(url, failing, **headers)
            assert again.status_code == 200
            assert again.headers["cache-status"].startswith("askonce; fwd=stale; fwd-status=503; ttl=-")
        assert posted(url, failing, cache_control="stale-if-error=0").headers["cache-status"] == (
            "askonce; fwd=stale; fwd-status=503"
        )
        assert posted(url, failing, cache_control="max-stale").headers["cache-status"].startswith(f"{HIT}; ttl=-")
        assert posted(url).headers["cache-status"] == MISS
        assert posted(url).headers["cache-status"] == "askonce; fwd=stale"
        assert posted(url, cache_control="no-cache").headers["cache-status"] == "askonce; fwd=request"
        for status in (MISS, "askonce; fwd=stale"):
            vectors = posted(url, {"model": "e", "input": ["a", "b"]}, "/v1/embeddings")
            assert vectors.headers["cache-status"] == status
        twice = b'{"model": "m", "model": "m", "messages": []}'
        assert posted(url, twice).headers["cache-status"] == "askonce; fwd=bypass; detail=unreadable"
        large = posted(url, {**CHAT, "user": "u" * 3000})
        assert large.headers["cache-status"] == "askonce; fwd=bypass; detail=too-large"
        assert "cache-status" not in posted(url, path="/v1/other").headers


def test_a_file_gives_way_to_variables_and_they_to_options(serve: Serve, tmp_path: Path) -> None:
    keys, file = tmp_path / "keys.toml", tmp_path / "proxy.toml"
    keys.write_text(f'[[keys]]\nkey = "{"a" * 20}"\ntenant = "red"\n')
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        file.write_text(
            'host = "192.0.2.1"\nport = 1\n'
            f'[[upstreams]]\nurl = "{upstream.url}"\nprefix = "/file"\n[cache]\nttl = 1e-9\n'
        )
        env = {"ASKONCE_PROXY_HOST": "127.0.0.1", "ASKONCE_PROXY_TTL": "60", "ASKONCE_PROXY_CONFIG": str(file)}
        env |= {"ASKONCE_PROXY_SHARE": "true", "ASKONCE_PROXY_NAMESPACE": "other"}
        url = serve(None, env=env).url  # the port is an option
        got = [posted(url, path="/file/v1/chat/completions", authorization=f"Bearer {n}") for n in range(2)]
        assert [one.headers["cache-status"].startswith(HIT) for one in got] == [False, True]
        assert posted(url).status_code == 404
        env = {"THE_KEY": "sk-real", "ASKONCE_PROXY_UPSTREAM_KEY_ENV": "THE_KEY"}
        env |= {"ASKONCE_PROXY_KEYS_FILE": str(keys), "ASKONCE_PROXY_UPSTREAM": upstream.url}
        url = serve(None, env=env).url
        assert posted(url).status_code == 401
        posted(url, authorization=f"Bearer {'a' * 20}")
        assert upstream.received[-1].headers["authorization"] == "Bearer sk-real"


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_a_stale_answer_is_served_while_a_new_one_is_made(serve: Serve, streams: bool) -> None:
    second = threading.Event()

    def script(_: Received) -> Scripted:
        number = len(upstream.received)
        if number > 1:
            second.wait(60)
        text = f"The {number}. answer."
        if streams:
            return Scripted(events(delta(content=text), delta("stop")), 200, STREAM)
        return Scripted([json.dumps(completion({"role": "assistant", "content": text})).encode()])

    with Upstream(script) as upstream:
        url = serve(upstream.url, "--ttl", "0.001", "--stale-while-revalidate", "600").url
        body = {**CHAT, "stream": streams}
        first = posted(url, body)
        for _ in range(3):  # while the second answer is made
            again = posted(url, body)
            assert again.content == first.content and again.headers["cache-status"].startswith(f"{HIT}; ttl=-")
        while len(upstream.received) < 2:
            time.sleep(0.01)
        assert len(upstream.received) == 2
        second.set()
        while posted(url, body).content == first.content:
            pass


def test_help_names_every_option_and_its_variable() -> None:
    command = [sys.executable, "-m", "askonce.cli", "proxy", "--help"]
    env = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERMINAL_WIDTH": "200"}
    printed = subprocess.run(command, capture_output=True, encoding="utf-8", env=env, timeout=60).stdout
    names = "upstream config host port workers ttl namespace local-ttl share upstream-key-env keys-file timeout"
    names += " connect-timeout store-timeout stale-while-revalidate stale-if-error max-bytes max-body-bytes"
    for name in names.split():
        assert f"--{name}" in printed and f"ASKONCE_PROXY_{name.upper().replace('-', '_')}" in printed, name
    assert "--store" in printed and "ASKONCE_STORE" in printed


@pytest.mark.parametrize("end", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_its_end_lets_a_stream_end(serve: Serve, workers: str, end: str) -> None:
    go_on = threading.Event()

    with Upstream(lambda _: Scripted(Held(CHUNKS, go_on), 200, STREAM)) as upstream:
        proxy = serve(upstream.url, "--workers", workers)
        request = {"json": {**CHAT, "stream": True}, "headers": KEY}
        with (
            httpx2.Client(timeout=60) as client,
            client.stream("POST", f"{proxy.url}/v1/chat/completions", **request) as reply,
        ):
            parts = reply.iter_raw()
            got = next(parts)
            proxy.process.send_signal(getattr(signal, end))
            while True:  # until it takes no more connections
                try:
                    socket.create_connection(("127.0.0.1", httpx2.URL(proxy.url).port), 5).close()
                except ConnectionError:
                    break
            go_on.set()
            assert got + b"".join(parts) == b"".join(CHUNKS)
        assert proxy.process.wait(30) == 0, proxy.log.read_text()
        assert "Traceback" not in proxy.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_goes_on_without_its_terminal_under_nohup(serve: Serve, workers: str) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        proxy = serve("http://127.0.0.1:1", "--workers", workers)
    finally:
        signal.signal(signal.SIGHUP, before)
    proxy.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        proxy.process.wait(2)
    assert httpx2.get(f"{proxy.url}/health", timeout=60).status_code == 200 and proxy.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_its_end_does_not_wait_for_half_a_request(serve: Serve, workers: str) -> None:
    proxy = serve("http://127.0.0.1:1", "--workers", workers)
    half = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: 9\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", httpx2.URL(proxy.url).port), 60) as client:
        client.sendall(half)
        time.sleep(0.5)
        began = time.monotonic()
        assert proxy.stop() == 0 and time.monotonic() - began < 20
        assert client.recv(1000) == b""
    assert proxy.log.read_text().count("\n") == 2, proxy.log.read_text()  # what it said at its start


async def test_what_is_not_answered_when_it_waits_no_longer_is_a_503(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    over = threading.Event()

    def script(_: Received) -> Scripted:
        over.wait(60)
        return Scripted([PLAIN])

    with Upstream(script) as upstream, socket.create_server(("127.0.0.1", 0)) as listener:
        settings = ProxySettings((UpstreamSettings(upstream.url),), f"sqlite:///{tmp_path / 'cache.db'}")
        server = uvicorn.Server(
            uvicorn.Config(
                ProxyApp(settings),
                log_config=None,
                lifespan="on",
                http=ClientConnection,
                timeout_graceful_shutdown=1,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        waiting = [
            asyncio.create_task(asyncio.to_thread(posted, url, path=path))
            for path in ("/v1/chat/completions", "/v1/other")
        ]
        try:
            while len(upstream.received) < 2:  # noqa: ASYNC110  (it runs in threads)
                await asyncio.sleep(0.01)
            server.should_exit = True
            assert [(await one).status_code for one in waiting] == [503, 503]
            await asyncio.wait_for(serving, 30)
        finally:
            over.set()
    assert not [one for one in caplog.records if one.exc_info]


async def test_its_end_does_not_wait_for_a_stale_answer_that_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("askonce.proxy.app.GRACE_SECONDS", 0.1)
    over = threading.Event()

    def script(_: Received) -> Scripted:
        if len(upstream.received) > 1:
            over.wait(60)
        return Scripted([json.dumps(completion()).encode()])

    with Upstream(script) as upstream, socket.create_server(("127.0.0.1", 0)) as listener:
        rules = {"ttl": 0.001, "stale_while_revalidate": 600.0}
        settings = ProxySettings((UpstreamSettings(upstream.url),), f"sqlite:///{tmp_path / 'cache.db'}", rules)
        config = uvicorn.Config(ProxyApp(settings), log_level="warning", lifespan="on", http=ClientConnection)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            while len(upstream.received) < 2:
                await asyncio.to_thread(posted, url)
            server.should_exit = True
            await asyncio.wait_for(serving, 30)
        finally:
            over.set()


def test_eight_megabytes_and_an_upstream_that_always_compresses(serve: Serve) -> None:
    packed = gzip.compress(PLAIN)
    sent = [("content-type", "application/json"), ("content-encoding", "gzip")]
    body = {**CHAT, "messages": [{"role": "user", "content": "x" * 8 * 2**20}]}
    with Upstream(lambda _: Scripted([packed], 200, sent)) as upstream:
        url = serve(upstream.url).url
        for _ in range(2):
            assert posted(url, body).content == PLAIN
        assert len(upstream.received) == 1 and upstream.received[0].json == body
        assert posted(url, path="/v1/other").content == PLAIN  # passed on as it is, for the client to unpack
        if curl := shutil.which("curl"):
            command = [curl, "-sSi", "--compressed", "-H", "Authorization: Bearer sk-1", "-d", json.dumps(CHAT)]
            printed = [
                subprocess.run([*command, f"{url}/v1/chat/completions"], capture_output=True, timeout=60).stdout
                for _ in range(2)
            ]
            assert all(one.endswith(PLAIN) for one in printed) and HIT.encode() in printed[1]


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("x-gzip", gzip.compress(PLAIN)),
        ("gzip, gzip", gzip.compress(gzip.compress(PLAIN))),
        ("odd", PLAIN),
        ("zstd", b"(\xb5/\xfd"),
        ("br", b"\x1b"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_an_encoding_that_the_proxy_cannot_read_comes_as_it_was_sent(
    serve: Serve, path: str, encoding: str, body: bytes
) -> None:
    sent = [("content-type", "application/json"), ("content-encoding", encoding)]
    with Upstream(lambda _: Scripted([body], 200, sent)) as upstream:
        url = serve(upstream.url).url
        for calls in (1, 2):  # it is not stored
            request = httpx2.Request("POST", f"{url}{path}", json={**CHAT, "input": "x"}, headers=KEY)
            with httpx2.Client(timeout=60) as client:
                reply = client.send(request, stream=True)
                assert b"".join(reply.iter_raw()) == body and reply.headers["content-encoding"] == encoding
            assert len(upstream.received) == calls


RAW = zlib.compress(PLAIN)[2:-4]
DEFLATED = [
    ("deflate", zlib.compress(PLAIN), 200),
    ("deflate", RAW, 200),
    ("gzip", gzip.compress(PLAIN[:50]) + gzip.compress(PLAIN[50:]), 200),
    ("deflate", zlib.compress(PLAIN)[:-8], 502),
    ("deflate", RAW[:-8], 502),
    ("gzip", gzip.compress(PLAIN)[:-1], 502),
    ("gzip", PLAIN, 502),
]


@pytest.mark.parametrize(("encoding", "body", "status"), DEFLATED)
@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "with its length"])
def test_a_compressed_reply_that_is_cut_is_an_error(
    serve: Serve, encoding: str, body: bytes, status: int, is_chunked: bool
) -> None:
    sent = [("content-type", "application/json"), ("content-encoding", encoding)]
    parts = [body[:7], body[7:]] if is_chunked else [body]
    with Upstream(lambda _: Scripted(parts, 200, sent)) as upstream:
        proxy = serve(upstream.url, "--timeout", "5")
        for _ in range(2):
            try:
                reply = posted(proxy.url)
            except httpx2.RemoteProtocolError:  # it had begun
                assert status != 200
                continue
            assert reply.status_code == status and (status != 200 or reply.content == PLAIN)
        assert len(upstream.received) == (1 if status == 200 else 2)
        began = time.monotonic()
        proxy.stop()
        assert time.monotonic() - began < 20


def test_a_slow_client_gets_all_and_holds_up_nobody(serve: Serve) -> None:
    long = [CHUNKS[0]] * 20_000 + CHUNKS[1:]
    with Upstream(lambda _: Scripted(long, 200, STREAM)) as upstream:
        url = serve(upstream.url).url
        request = {"json": {**CHAT, "stream": True}, "headers": KEY}
        with (
            httpx2.Client(timeout=60) as client,
            client.stream("POST", f"{url}/v1/chat/completions", **request) as slow,
        ):
            parts = slow.iter_raw(1024)
            got = next(parts)
            assert posted(url, {**CHAT, "stream": True}).content == b"".join(long)
            assert got + b"".join(parts) == b"".join(long)
        assert len(upstream.received) == 1


def test_more_idle_connections_than_a_process_may_have_by_default(serve: Serve) -> None:
    resource = pytest.importorskip("resource", reason="this system has no such limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip(f"a process may have {hard} open files here")
    with Upstream(lambda _: Scripted([PLAIN])) as upstream, contextlib.ExitStack() as idle:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            url = serve(upstream.url).url
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
        for _ in range(500):
            idle.enter_context(socket.create_connection(("127.0.0.1", httpx2.URL(url).port), 30))
        assert [posted(url).content for _ in range(2)] == [PLAIN] * 2 and len(upstream.received) == 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_responses_and_tool_calls(serve: Serve) -> None:
    tool = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = json.loads(PLAIN)
    body["choices"][0] |= {"finish_reason": "tool_calls"}
    body["choices"][0]["message"] |= {"content": None, "tool_calls": [call]}
    with Upstream(lambda _: Scripted([json.dumps(body).encode()])) as upstream:
        with openai.OpenAI(api_key="k", base_url=f"{serve(upstream.url).url}/v1", max_retries=0) as sdk:
            request: Any = {**CHAT, "tools": [{"type": "function", "function": tool}]}
            got = [sdk.chat.completions.create(**request).choices[0].message.tool_calls for _ in range(2)]
            streamed = list(sdk.chat.completions.create(**request, stream=True))
        assert got[0] == got[1] and got[0] is not None and got[0][0].id == "c"
        assert any(one.choices and one.choices[0].delta.tool_calls for one in streamed)
        assert len(upstream.received) == 1
    part = {"type": "output_text", "text": "Hello.", "annotations": []}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    response = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed"}
    response |= {"output": [message], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    with Upstream(lambda _: Scripted([json.dumps(response).encode()])) as upstream:
        with openai.OpenAI(api_key="k", base_url=f"{serve(upstream.url).url}/v1", max_retries=0) as sdk:
            texts = [sdk.responses.create(model="m", input="hello").output_text for _ in range(2)]
            streamed = list(sdk.responses.create(model="m", input="hello", stream=True))
        assert texts == ["Hello."] * 2 and len(upstream.received) == 1
        assert streamed[-1].type == "response.completed" and streamed[-1].response.output_text == "Hello."


def test_anthropics_sdk_plain_and_streamed(serve: Serve, provider: Provider) -> None:
    anthropic = pytest.importorskip("anthropic", reason="Anthropic's SDK is not installed")
    url = serve(provider.anthropic_url).url
    request: Any = {"model": "claude-opus-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as sdk:
        texts = [sdk.messages.create(**request).content[0].text for _ in range(2)]
        for _ in range(2):
            with sdk.messages.stream(**request) as stream:
                texts.append("".join(stream.text_stream))
    assert len(set(texts)) == 1 and texts[0] and provider.count == 1


# -- pages of the web ----------------------------------------------------------------------------------------------

FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"host": "rebound.evil.example:8787"},
    {"host": "localhost.evil.example"},
]
OWN = [
    {},
    {"origin": "http://localhost:3000", "sec-fetch-site": "cross-site"},
    {"origin": "http://127.0.0.1:8787"},
    {"host": "localhost:1"},
    {"host": "[::1]:1"},
    {"sec-fetch-site": "same-origin"},
]


@pytest.mark.parametrize("holds_key", [True, False])
def test_no_page_of_another_site_spends_the_key_of_the_provider(serve: Serve, holds_key: bool) -> None:
    more: dict[str, Any] = {"env": {"THE_KEY": "sk-real"}} if holds_key else {}
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url, *(["--upstream-key-env", "THE_KEY"] if holds_key else []), **more).url
        assert posted(url).status_code == 200  # what is stored is no page's either
        for shown in FOREIGN:
            replies = [
                httpx2.post(f"{url}/v1/chat/completions", json=CHAT, headers=shown),
                httpx2.get(f"{url}/v1/files", headers=shown),
            ]
            assert {one.status_code for one in replies} == {403 if holds_key else 200}
            if holds_key:
                assert "--keys-file" in replies[0].json()["error"]["message"]
        assert len(upstream.received) == (1 if holds_key else 1 + 2 * len(FOREIGN))
        for shown in OWN:
            assert httpx2.post(f"{url}/v1/chat/completions", json=CHAT, headers=shown).status_code == 200
        assert httpx2.get(f"{url}/health", headers=FOREIGN[0]).status_code == 200


# -- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://h/v1?api_key=SECRET",
        "https://u:SECRET@h/?x",
        "https://h?key=a@SECRET",
        "https://u:SEC?RET@h",
        "https://h/#SECRET",
    ],
)
def test_an_error_about_a_url_shows_no_key(url: str) -> None:
    with pytest.raises(ConfigError, match="without query or key") as raised:
        ProxySettings((UpstreamSettings(url),)).check()
    assert "SEC" not in str(raised.value) and "RET" not in str(raised.value)


@pytest.mark.parametrize(
    ("upstreams", "named"),
    [
        ([{}, {}], "neither a prefix nor models"),
        ([{"prefix": "/a"}, {"prefix": "/a"}], "the prefix /a"),
        ([{"models": ("x", "y")}, {"models": ("y",)}], "the model y"),
        ([{"models": ("x", "x")}, {}, {"prefix": "/a"}, {"prefix": "/a", "models": ("x",)}], ""),
    ],
)
def test_an_upstream_behind_another_one_is_an_error(upstreams: list[Any], named: str) -> None:
    settings = ProxySettings(tuple(UpstreamSettings(f"http://{at}", **one) for at, one in enumerate(upstreams)))
    if not named:
        settings.check()
        return
    with pytest.raises(ConfigError, match=named):
        settings.check()


@pytest.mark.parametrize("path", ["//askonce/stats", "/ASKONCE/stats", "/askonce%2fstats", "/./askonce/stats"])
def test_a_path_of_the_proxys_own_goes_to_no_provider_however_it_is_written(serve: Serve, path: str) -> None:
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url, env={"ASKONCE_PROXY_ADMIN_TOKEN": "admin-token"}).url
        client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        client.request("GET", path, headers={"authorization": "Bearer admin-token"})
        assert client.getresponse().status == 404 and not upstream.received
        client.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/other"])
async def test_a_reply_without_content_has_no_length(serve: Serve, path: str) -> None:
    async def replied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]}")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(replied, "127.0.0.1", 0)
    proxy = await asyncio.to_thread(serve, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    reply = await asyncio.to_thread(posted, proxy.url, path=path)
    assert reply.status_code == 204 and "content-length" not in reply.headers
    server.close()
