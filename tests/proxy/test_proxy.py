"""The proxy under real clients: what it passes on, who waits for whom, whose answers are whose, and faults."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from askonce.wire import messages, responses
from tests.httpx.test_right_answers import CHAT
from tests.httpx.upstream import STREAM, Held, Received, Scripted, Upstream, completion, delta, events
from tests.support import servers
from tests.support.provider import Provider, Talk

from .conftest import Serve

PLAIN = json.dumps(completion()).encode()
KEY = {"authorization": "Bearer sk-1"}
CHUNKS = events(delta(content="Hello."), delta("stop"))


EMBEDDING = {"model": "text-embedding-3-small", "input": "Why?"}


def posted(url: str, body: Any = CHAT, path: str = "/v1/chat/completions", **headers: str) -> httpx2.Response:
    """A reply; in the names of headers ``_`` stands for ``-``."""
    sent = {**KEY, **{name.replace("_", "-"): value for name, value in headers.items()}}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx2.post(f"{url}{path}", content=content, headers=sent, timeout=60)


@pytest.mark.parametrize("reason", ["length", "content_filter", None])
@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_what_is_not_stored_is_given_to_no_later_request(serve: Serve, streams: bool, reason: str | None) -> None:
    def script(_: Received) -> Scripted:
        if streams:
            return Scripted(events(delta(content="Hel"), delta(reason), done=reason is not None), 200, STREAM)
        answer = completion()
        answer["choices"][0]["finish_reason"] = reason
        return Scripted([json.dumps(answer).encode()])

    with Upstream(script) as upstream, httpx2.Client() as client:
        url = serve(upstream.url).url
        for number in range(1, 21):
            reply = client.post(
                f"{url}/v1/chat/completions", json={**CHAT, "stream": streams}, headers=KEY, timeout=60
            )
            assert "collapsed" not in reply.headers["cache-status"]
            assert len(upstream.received) == number


def test_errors_malformed_bodies_and_other_paths_pass_through(serve: Serve) -> None:
    def script(received: Received) -> Scripted:
        if received.path.startswith("/v1/chat"):
            sent = [
                ("content-type", "application/json"),
                ("retry-after", "7"),
                ("x-odd", "1"),
                ("x-request-id", "r"),
            ]
            return Scripted([b'{"error":  {"message": "slow down"}}'], 429, sent)
        return Scripted([b"\x00\xff", b"two"], 200, [("content-type", "x/y")])

    with Upstream(script) as upstream:
        url = serve(upstream.url).url
        for _ in range(2):
            reply = posted(url)
            assert (reply.status_code, reply.content) == (429, b'{"error":  {"message": "slow down"}}')
            assert reply.headers["retry-after"] == "7" and reply.headers["x-request-id"] == "r"
            assert reply.headers["cache-status"] == "askonce; fwd=miss; fwd-status=429"
        assert len(upstream.received) == 2
        for body in (b"{", b"[]", b"null", b"\xff", b'"x"', b""):
            assert posted(url, body).status_code == 400
        assert len(upstream.received) == 2
        for body in (b'{"temperature": NaN}', '{"model": "x"}'.encode("utf-16")):  # some providers read it
            assert posted(url, body).status_code == 429 and upstream.received[-1].body == body
        for sent in ({"content_encoding": "gzip"}, {"content_type": "multipart/form-data; boundary=x"}):
            assert posted(url, b"\x1f\x8b", **sent).status_code == 429
        reply = posted(url, b"one" * 100_000, "/v1/files?purpose=x", x_own="1")
        assert reply.content == b"\x00\xfftwo" and "cache-status" not in reply.headers
        assert (
            upstream.received[-1].body == b"one" * 100_000 and upstream.received[-1].path == "/v1/files?purpose=x"
        )
        assert httpx2.get(f"{url}/v1/models", headers=KEY).status_code == 200
        for wrong in ({"askonce_ttl": "-1"}, {"askonce_tags": "a\tb"}, {"askonce_namespace": "a\tb"}):
            assert posted(url, **wrong).status_code == 400
        calls = len(upstream.received)
        for body, path in ((b"[]", "/v1/chat/completions"), (b"{}", "/v1/files")):
            assert posted(url, body, path, cache_control="only-if-cached").status_code == 504
        assert posted(url, upgrade="websocket", connection="upgrade").status_code == 501
        offered = posted(url, upgrade="h2c", connection="upgrade, http2-settings", http2_settings="AA")  # as Java's
        assert offered.status_code == 400 and "HTTP/1.1" in offered.json()["error"]["message"]
        for path in ("/askonce", "/askonce/", "/askonce/x", "/askonce/v1/chat/completions"):
            assert posted(url, path=path).status_code == httpx2.get(f"{url}{path}").status_code == 404
        assert len(upstream.received) == calls


def test_a_hit_is_what_was_made_and_is_the_callers_own(serve: Serve, tmp_path: Path) -> None:
    sent = [("content-type", "application/json"), ("set-cookie", "a=1"), ("x-ratelimit-limit", "1"), ("x-own", "1")]
    with Upstream(lambda _: Scripted([PLAIN], 200, sent)) as upstream:
        proxy = serve(upstream.url)
        first, again = posted(proxy.url), posted(proxy.url)
        assert first.content == again.content == PLAIN and len(upstream.received) == 1
        assert first.headers["cache-status"] == "askonce; fwd=miss" and first.headers["set-cookie"] == "a=1"
        assert again.headers["cache-status"].startswith("askonce; hit") and again.headers["age"].isdigit()
        assert again.headers["x-own"] == "1" and not {"set-cookie", "x-ratelimit-limit"} & set(again.headers)
        assert posted(proxy.url, authorization="Bearer sk-2").headers["cache-status"] == "askonce; fwd=miss"
        for _ in range(2):  # nobody's
            assert (
                posted(proxy.url, authorization="").headers["cache-status"]
                == "askonce; fwd=bypass; detail=no-credential"
            )
        assert len(upstream.received) == 4
        assert upstream.received[0].headers["authorization"] == "Bearer sk-1"
        proxy.stop()
        written = proxy.log.read_bytes() + b"".join(one.read_bytes() for one in tmp_path.glob("proxy.db*"))
        assert b"sk-1" not in written and b"sk-2" not in written


def test_credentials_of_the_machine_are_not_sent(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login foo password bar")
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url, env={"NETRC": f"{tmp_path}/netrc"}).url
        assert posted(url).status_code == 200
        assert posted(url, authorization="").status_code == 200
        assert [one.headers.get("authorization") for one in upstream.received] == ["Bearer sk-1", ""]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/other"])
def test_headers_beyond_ascii_are_sent_on_as_they_came_or_not_at_all(serve: Serve, path: str) -> None:
    def send(url: str, value: bytes) -> httpx2.Response:
        headers = [(b"authorization", b"Bearer sk-1"), (b"x-title", value)]
        return httpx2.post(f"{url}{path}", json=CHAT, headers=headers, timeout=60)

    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url).url
        refused = send(url, b"Gr\xf6\xdfe")
        assert refused.status_code == 400 and "x-title" in refused.json()["error"]["message"]
        assert send(url, "Größe".encode()).status_code == 200
        assert [one.headers["x-title"].encode("latin-1") for one in upstream.received] == ["Größe".encode()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--upstream", "http://127.0.0.1:9", "--upstream-key-env", "THE_KEY"], "key_env"),
        (["--upstream-key-env", "NONE"], "the variable NONE"),
    ],
)
def test_a_provider_is_sent_its_own_key_alone(arguments: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "askonce.cli", "proxy", "--upstream", "http://127.0.0.1:9", *arguments]
    done = subprocess.run(
        [*command, "--store", f"sqlite:///{tmp_path}/proxy.db"],
        env={**os.environ, "THE_KEY": "sk-real", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr


def test_keys_of_its_own_are_tenants(serve: Serve, tmp_path: Path) -> None:
    keys = [("a" * 20, "red"), ("b" * 20, "red"), ("c" * 20, "blue")]
    rows = [f'[[keys]]\nkey = "{key}"\ntenant = "{tenant}"\nmodels = ["gpt-*"]\n' for key, tenant in keys]
    (tmp_path / "keys.toml").write_text("".join(rows))
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        options = ["--upstream-key-env", "THE_KEY", "--keys-file", f"{tmp_path}/keys.toml"]
        options += ["--max-body-bytes", "2000"]
        env = {"THE_KEY": "sk-real", "ASKONCE_PROXY_ADMIN_TOKEN": "admin"}
        url = serve(upstream.url, *options, env=env).url
        calls = [len(upstream.received) for key, _ in keys if posted(url, authorization=f"Bearer {key}")]
        assert calls == [1, 1, 2]
        assert {one.headers["authorization"] for one in upstream.received} == {"Bearer sk-real"}
        assert posted(url).status_code == posted(url, authorization="").status_code == 401
        assert posted(url, {**CHAT, "model": "o1"}, authorization=f"Bearer {keys[0][0]}").status_code == 403
        deployed = f"{url}/openai/deployments/o1"  # Azure's model, whatever the body names
        assert posted(deployed, authorization=f"Bearer {keys[0][0]}").status_code == 403
        unread = {**CHAT, "user": "u" * 3000}  # whose own model is not known, though the path names one
        allowed = f"{url}/openai/deployments/gpt-4o"
        for reply in (
            posted(allowed, unread, authorization=f"Bearer {keys[0][0]}"),
            httpx2.get(f"{url}/v1/models", headers={"authorization": f"Bearer {keys[0][0]}"}),
        ):
            assert reply.status_code == 403 and "cannot be read" in reply.json()["error"]["message"]
        for body in (b'{"model": "o1", "model": "gpt-4o"}', b'{"model": "gpt-4o", "MODEL": "o1"}'):
            assert posted(url, body, authorization=f"Bearer {keys[0][0]}").status_code == 403
        for further in ({"models": ["o1"]}, {"fallbacks": [{"model": "o1"}]}, {"extra_body": {"models": ["o1"]}}):
            assert posted(url, {**CHAT, **further}, authorization=f"Bearer {keys[0][0]}").status_code == 403
        elsewhere = '{"model": "o1"}'.encode("utf-16")  # which some providers read
        assert posted(allowed, elsewhere, authorization=f"Bearer {keys[0][0]}").status_code == 403
        assert httpx2.get(f"{url}/askonce/stats").status_code == 401
        stats = httpx2.get(f"{url}/askonce/stats", headers={"authorization": "Bearer admin"}).json()
        assert len(upstream.received) == 2 and stats["hits"] == 1
        posted(url, authorization=f"Bearer {keys[0][0]}", askonce_namespace="eval")
        stats = httpx2.get(f"{url}/askonce/stats", headers={"authorization": "Bearer admin"}).json()
        assert stats["entries"] == 3 and stats["size_bytes"] > 300  # of all tenants, and of the namespaces in them


@pytest.mark.parametrize(
    ("options", "cached"),
    [
        ([], {"eval", "team-a", "other"}),
        (["--max-bytes", "2MB"], set()),
        (["--max-bytes", "2MB", "--namespaces", "eval, team-*"], {"eval", "team-a"}),
        (["--namespaces", ""], set()),
    ],
)
def test_clients_name_the_namespaces_that_they_may(serve: Serve, options: list[str], cached: set[str]) -> None:
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url, *options).url
        for name in ("eval", "team-a", "other"):
            for body, path in ((CHAT, "/v1/chat/completions"), (EMBEDDING, "/v1/embeddings")):
                status = posted(url, body, path, askonce_namespace=name).headers["cache-status"]
                assert status == (
                    "askonce; fwd=miss" if name in cached else "askonce; fwd=bypass; detail=namespace"
                )
            sent = {"askonce_namespace": name, "cache_control": "only-if-cached"}
            assert posted(url, **sent).status_code == (200 if name in cached else 504)
        posted(url)
        assert "hit" in posted(url).headers["cache-status"]


def test_the_detail_names_why_a_request_is_not_cached(serve: Serve) -> None:
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url).url
        for body, path in ((CHAT, "/v1/chat/completions"), (EMBEDDING, "/v1/embeddings")):
            for shown, detail in (({"cookie": "lb=1"}, "cookie"), ({"authorization": ""}, "no-credential")):
                status = posted(url, body, path, **shown).headers["cache-status"]
                assert status == f"askonce; fwd=bypass; detail={detail}"
            assert (
                posted(url, body, path, cache_control="no-store").headers["cache-status"] == "askonce; fwd=bypass"
            )


def test_only_callers_of_an_upstream_with_the_proxys_own_key_share(serve: Serve, tmp_path: Path) -> None:
    with Upstream(lambda _: Scripted([PLAIN])) as own, Upstream(lambda _: Scripted([PLAIN])) as held:
        file = tmp_path / "mixed.toml"
        file.write_text(
            f'[[upstreams]]\nurl = "{own.url}"\n'
            f'[[upstreams]]\nurl = "{held.url}"\nmodels = ["claude-*"]\nkey_env = "THE_KEY"\n'
        )
        url = serve(None, "--config", str(file), env={"THE_KEY": "sk-real"}).url
        for caller in ("Bearer sk-alice", "Bearer sk-bob", "", ""):
            posted(url, authorization=caller)
            posted(url, {**CHAT, "model": "claude-x"}, authorization=caller)
        sent = [one.headers["authorization"] for one in own.received]
        assert sent == ["Bearer sk-alice", "Bearer sk-bob", "", ""]
        assert [one.headers["authorization"] for one in held.received] == ["Bearer sk-real"]


@pytest.mark.parametrize("by", ["key", "namespace"])
def test_users_of_a_tenant_whose_hosted_tools_act_for_them_share_nothing(
    serve: Serve, tmp_path: Path, by: str
) -> None:
    keys, options, own = tmp_path / "keys.toml", [], {"askonce_namespace": "search"}
    if by == "key":
        keys.write_text(f'[[keys]]\nkey = "{"a" * 20}"\ntenant = "search"\n')
        options, own = ["--upstream-key-env", "THE_KEY", "--keys-file", str(keys)], {}
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url, *options, env={"THE_KEY": "sk-real"}).url
        for user in ("ann", "bob", "ann"):
            body = {**CHAT, "tools": [{"type": "mcp", "server_label": "mail", "authorization": user}]}
            posted(url, body, authorization=f"Bearer {'a' * 20}", **own)
        assert [one.json["tools"][0]["authorization"] for one in upstream.received] == ["ann", "bob"]


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_a_thousand_requests_over_two_workers_are_one_call(serve: Serve, streams: bool, tmp_path: Path) -> None:
    """Those who come while it is made get each event as it comes; the store has time on a busy machine, too."""
    config = tmp_path / "proxy.toml"
    config.write_text("[cache]\ntimeout_seconds = 10\n")
    half_way = threading.Event()

    def script(_: Received) -> Scripted:
        if streams:
            return Scripted(Held(CHUNKS, half_way), 200, STREAM)
        half_way.wait(60)
        return Scripted([PLAIN])

    async def send(client: httpx2.AsyncClient, url: str) -> bytes:
        reply = await client.post(f"{url}/v1/chat/completions", json={**CHAT, "stream": streams}, headers=KEY)
        assert reply.status_code == 200
        return reply.content

    async def run(url: str) -> set[bytes]:
        limits = httpx2.Limits(max_connections=200)
        async with httpx2.AsyncClient(timeout=120, limits=limits) as client:
            replies = []
            if streams:
                request = {"json": {**CHAT, "stream": True}, "headers": KEY}
                async with client.stream("POST", f"{url}/v1/chat/completions", **request) as leader:
                    parts = leader.aiter_raw()
                    assert await anext(parts) == CHUNKS[0]  # before there is a second
                    replies = [asyncio.create_task(send(client, url)) for _ in range(999)]
                    await asyncio.sleep(1)
                    half_way.set()
                    assert CHUNKS[0] + b"".join([part async for part in parts]) == b"".join(CHUNKS)
            else:
                replies = [asyncio.create_task(send(client, url)) for _ in range(1000)]
                await asyncio.sleep(1)
                half_way.set()
            return set(await asyncio.gather(*replies))

    with servers.start("redis-8.2") as redis, Upstream(script) as upstream:
        url = serve(upstream.url, "--workers", "2", "--config", str(config), store=redis.url).url
        assert asyncio.run(run(url)) == {b"".join(CHUNKS) if streams else PLAIN}
        assert len(upstream.received) == 1


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_who_waits_for_a_response_to_another_gets_his_own_metadata(serve: Serve, streams: bool) -> None:
    go_on = threading.Event()
    body = {"model": "m", "input": "Hi", "stream": streams}

    def script(received: Received) -> Scripted:
        message = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
        whole = {"object": "response", "status": "completed", "output": [message]}
        whole["metadata"] = received.json["metadata"]
        if streams:
            return Scripted(Held([b": begun\n\n", responses.as_stream(whole)], go_on), 200, STREAM)
        return Scripted(Held([b" ", json.dumps(whole).encode()], go_on))

    with Upstream(script) as upstream, ThreadPoolExecutor() as pool:
        url = serve(upstream.url).url
        names = ["alice", *["bob"] * 3, "carol"]
        waiting = [
            pool.submit(posted, url, {**body, "metadata": {"name": name}}, "/v1/responses") for name in names
        ]
        time.sleep(1)
        go_on.set()
        for name, reply in zip(names, waiting, strict=True):
            others = set(names) - {name}
            assert name in reply.result().text and not any(other in reply.result().text for other in others)
        assert len(upstream.received) == 1


def test_who_leaves_costs_nobody_an_answer_that_others_wait_for(serve: Serve) -> None:
    go_on = threading.Event()

    async def run(url: str) -> bytes:
        request = {"json": {**CHAT, "stream": True}, "headers": KEY}
        async with (
            httpx2.AsyncClient(timeout=60) as client,
            client.stream("POST", url, **request) as leader,
        ):
            made = leader.aiter_raw()
            await anext(made)
            async with client.stream("POST", url, **request) as follower:
                parts = follower.aiter_raw()
                got = await anext(parts)
                assert follower.headers["cache-status"] == "askonce; fwd=miss; collapsed"
                await leader.aclose()
                go_on.set()
                return got + b"".join([part async for part in parts])

    with Upstream(lambda _: Scripted(Held(CHUNKS, go_on), 200, STREAM)) as upstream:
        url = serve(upstream.url).url
        assert asyncio.run(run(f"{url}/v1/chat/completions")) == b"".join(CHUNKS)
        assert posted(url, {**CHAT, "stream": True}).headers["cache-status"].startswith("askonce; hit")
        assert len(upstream.received) == 1


WHOLE_STREAMS = {
    "/v1/chat/completions": b"".join(CHUNKS),
    "/v1/messages": messages.as_stream(
        {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    ),
    "/v1/responses": responses.as_stream(
        {
            "object": "response",
            "status": "completed",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}],
        }
    ),
}


@pytest.mark.parametrize("path", WHOLE_STREAMS)
def test_a_stream_is_stored_whose_client_leaves_at_its_end_event(serve: Serve, path: str) -> None:
    """As OpenAI's SDK does; the provider ends the body later."""
    later, body = threading.Event(), {**CHAT, "input": "Hi", "stream": True}
    whole = WHOLE_STREAMS[path]
    with Upstream(lambda _: Scripted(Held([whole, b": so long\n\n"], later), 200, STREAM)) as upstream:
        url = serve(upstream.url).url
        with (
            httpx2.Client(timeout=60) as client,
            client.stream("POST", f"{url}{path}", json=body, headers=KEY) as reply,
        ):
            parts, got = reply.iter_raw(), b""
            while len(got) < len(whole):
                got += next(parts)
        until = time.monotonic() + 30
        while (found := posted(url, body, path, cache_control="only-if-cached")).status_code != 200:
            assert time.monotonic() < until
        assert found.content == whole and len(upstream.received) == 1
        later.set()


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
def test_who_has_his_whole_answer_finds_it_stored(serve: Serve, streams: bool) -> None:
    def script(_: Received) -> Scripted:
        return Scripted(CHUNKS, 200, STREAM) if streams else Scripted([PLAIN])

    with Upstream(script) as upstream, httpx2.Client(headers=KEY, timeout=60) as client:
        url = f"{serve(upstream.url).url}/v1/chat/completions"
        for number in range(40):
            body = {**CHAT, "seed": number, "stream": streams}
            client.post(url, json=body)
            own = {"cache-control": "only-if-cached"} if number % 2 else {}
            again = client.post(url, json=body, headers=own)
            assert again.headers["cache-status"].startswith("askonce; hit") and "age" in again.headers
        assert len(upstream.received) == 40


@pytest.mark.parametrize("breaks", ["ends", "tears"])
def test_a_broken_stream_is_passed_on_broken_and_never_stored(
    breaks: Any, serve: Serve, provider: Provider, talk: Talk
) -> None:
    talk.breaks, talk.says = breaks, "one two three four five six"
    proxy = serve(provider.openai_url)
    url = proxy.url
    if breaks == "ends":
        assert b"[DONE]" not in posted(url, {**CHAT, "stream": True}).content
    else:
        with pytest.raises(httpx2.RemoteProtocolError):
            posted(url, {**CHAT, "stream": True})
    talk.breaks = ""
    assert b"[DONE]" in posted(url, {**CHAT, "stream": True}).content
    assert provider.count == 2
    log = proxy.log.read_text()
    assert "ASGI" not in log and ("broke off" in log) == (breaks == "tears")


def test_an_upstream_that_is_down_is_a_502_and_what_is_stored_is_served(serve: Serve) -> None:
    sent = [("content-type", "application/json"), ("connection", "close")]
    with Upstream(lambda _: Scripted([PLAIN], 200, sent)) as upstream:
        url = serve(upstream.url).url
        assert posted(url).status_code == 200
    assert posted(url).headers["cache-status"].startswith("askonce; hit")
    failed = posted(url, {**CHAT, "seed": 1})
    assert (failed.status_code, failed.headers["cache-status"]) == (502, "askonce; fwd=miss")
    only = posted(url, {**CHAT, "seed": 1}, cache_control="only-if-cached")
    assert only.status_code == 504 and only.headers["x-should-retry"] == "false"


def test_requests_are_answered_while_the_store_is_down(serve: Serve) -> None:
    with servers.start("redis-8.2", private=True) as redis, Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url, store=redis.url).url
        assert posted(url).content == posted(url).content == PLAIN and len(upstream.received) == 1
        redis.stop()
        for calls in (2, 3):
            assert posted(url).content == PLAIN and len(upstream.received) == calls


def test_embeddings_are_cached_text_by_text(serve: Serve) -> None:
    def script(received: Received) -> Scripted:
        texts = received.json["input"]
        vectors = [
            {"object": "embedding", "index": at, "embedding": [1.0, len(one)]} for at, one in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        return Scripted([json.dumps({"object": "list", "data": vectors, "model": "e", "usage": usage}).encode()])

    with Upstream(script) as upstream:
        with openai.OpenAI(api_key="k", base_url=f"{serve(upstream.url).url}/v1") as sdk:
            got = [
                [one.embedding for one in sdk.embeddings.create(model="e", input=texts).data]
                for texts in (["a", "bb"], ["bb", "ccc"], ["ccc", "a"])
            ]
        assert got == [[[1, 1], [1, 2]], [[1, 2], [1, 3]], [[1, 3], [1, 1]]]
        assert [one.json["input"] for one in upstream.received] == [["a", "bb"], ["ccc"]]


def test_embeddings_of_another_length_than_stored_ones_are_not_mixed_with_them(serve: Serve) -> None:
    length = 4

    def script(received: Received) -> Scripted:
        vectors = [{"index": at, "embedding": [1.0] * length} for at in range(len(received.json["input"]))]
        return Scripted([json.dumps({"object": "list", "data": vectors, "model": "e"}).encode()])

    with Upstream(script) as upstream:
        with openai.OpenAI(api_key="k", base_url=f"{serve(upstream.url).url}/v1") as sdk:

            def lengths(*texts: str) -> list[int]:
                return [len(one.embedding) for one in sdk.embeddings.create(model="e", input=texts).data]

            assert lengths("a", "b") == lengths("c", "d") == [4, 4]
            length = 8
            assert lengths("a", "b", "new") == lengths("b", "new", "a") == [8, 8, 8]
            assert lengths("a", "c") == lengths("c", "a") == [8, 8]
        sent = [one.json["input"] for one in upstream.received]
        assert sent[2:] == [["new"], ["a", "b", "new"], ["a", "c"]]


def test_what_providers_read_differently_is_passed_on_and_not_cached(serve: Serve) -> None:
    members = [json.dumps({"messages": [{"role": "user", "content": text}]})[1:-1] for text in ("one", "two")]
    body = f'{{"model": "gpt-4o", {members[0]}, {members[1]}}}'.encode()
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        url = serve(upstream.url).url
        for _ in range(2):
            assert posted(url, body).content == PLAIN
        assert [one.body for one in upstream.received] == [body, body]
        assert posted(url, body, cache_control="only-if-cached").status_code == 504


def test_upstreams_by_prefix_and_by_model(serve: Serve) -> None:
    with (
        Upstream(lambda _: Scripted([PLAIN])) as one,
        Upstream(lambda _: Scripted([PLAIN])) as two,
        Upstream(lambda _: Scripted([PLAIN])) as three,
    ):
        more = ["--upstream", f"/three={three.url}/base", "--upstream", f"claude-*={two.url}"]
        url = serve(one.url, *more).url
        posted(url)
        posted(url, {**CHAT, "model": "claude-x"})
        posted(url, path="/three/v1/chat/completions")
        assert [len(upstream.received) for upstream in (one, two, three)] == [1, 1, 1]
        assert three.received[0].path == "/base/v1/chat/completions"


@pytest.mark.parametrize(
    "path",
    [
        "/../b/v1/models",
        "/v1/..",
        "/v1/../../b",
        "/%2e%2E/b",
        "/v1/.%2e/b",
        "/v1%2f..%2Fb",
        "/v1\\..\\b",
        "/v1/..;/b",
    ],
)
def test_the_base_path_of_an_upstream_cannot_be_left(serve: Serve, path: str) -> None:
    with Upstream(lambda _: Scripted([PLAIN])) as upstream:
        port = httpx2.URL(serve(f"{upstream.url}/a").url).port
        for sent, status in ((path, 400), ("/v1/..x", 200), ("/v1/a..", 200)):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)  # which sends a path as it is
            client.request("GET", sent, headers=KEY)
            assert client.getresponse().status == status, sent
            client.close()
        assert [one.path for one in upstream.received] == ["/a/v1/..x", "/a/v1/a.."]


def test_a_key_goes_to_no_other_provider(serve: Serve) -> None:
    with Upstream(lambda _: Scripted([PLAIN])) as default, Upstream(lambda _: Scripted([PLAIN])) as claude:
        url = serve(default.url, "--upstream", f"claude-*={claude.url}", "--max-body-bytes", "1000").url
        body = {**CHAT, "model": "claude-x"}
        for path in ("/v1/messages/count_tokens", "/v1/completions"):
            assert posted(url, body, path, x_api_key="sk-ant").status_code == 200
        assert (
            posted(url, json.dumps([body]).encode(), "/v1/files", content_type="application/json").status_code
            == 200
        )
        assert (len(default.received), len(claude.received)) == (1, 2)
        large = {**body, "messages": [{"role": "user", "content": "x" * 2000}]}
        refused = [
            posted(url, {"requests": [{"params": body}]}, "/v1/messages/batches", x_api_key="sk-ant"),
            posted(url, large, "/v1/messages", x_api_key="sk-ant"),
            posted(url, large),
            posted(url, gzip.compress(json.dumps(body).encode()), content_encoding="gzip"),
            httpx2.get(f"{url}/v1/models", headers={"x-api-key": "sk-ant"}, timeout=60),
        ]
        assert [one.status_code for one in refused] == [404] * 5
        assert all("prefix" in one.json()["error"]["message"] for one in refused)
        assert (len(default.received), len(claude.received)) == (1, 2)
        assert httpx2.get(f"{url}/v1/models", headers=KEY, timeout=60).status_code == 200


def test_stale_vectors_stand_in_for_those_of_several_texts(serve: Serve) -> None:
    status = 200

    def script(received: Received) -> Scripted:
        data = [{"index": at, "embedding": [float(len(one))]} for at, one in enumerate(received.json["input"])]
        return Scripted([json.dumps({"data": data, "model": "e"}).encode()] if status == 200 else [b"no"], status)

    with Upstream(script) as upstream:
        url = serve(upstream.url, "--ttl", "1e-9", "--stale-if-error", "600").url

        def send(*texts: str, **headers: str) -> httpx2.Response:
            return posted(url, {"model": "e", "input": texts}, "/v1/embeddings", **headers)

        send("a", "bb")
        status = 503
        reply = send("bb", "a")
        assert [one["embedding"] for one in reply.json()["data"]] == [[2.0], [1.0]]
        assert reply.headers["cache-status"].startswith("askonce; fwd=stale; fwd-status=503")
        refused = [send("a", "new"), send("a", "bb", cache_control="stale-if-error=0")]
        assert [one.status_code for one in refused] == [503, 503]
