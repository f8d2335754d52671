"""The transport under the real SDKs: what it passes on, what it stores, and who waits for whom."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest

from askonce import Cache, ConfigError, cache_options
from askonce.httpx import CachedTransport
from askonce.stores.memory import MemoryStore
from tests.support.provider import Answer, Provider, Talk
from tests.support.provider import Call as ToolCall

from .conftest import Connect
from .test_right_answers import CHAT, text_of
from .upstream import STREAM, Held, Received, Scripted, Upstream, completion, delta, events

PLAIN = json.dumps(completion()).encode()
JSON = (("content-type", "application/json"),)


def replies(*scripted: Scripted) -> Upstream:
    """An upstream that replies these one after the other, and the last one for ever."""
    waiting = list(scripted)
    return Upstream(lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0])


# -- passed on as it came ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
async def test_an_error_is_passed_on_byte_for_byte_and_not_stored(
    status: int, asynchronous: bool, streams: bool, package: Any, cache: Cache
) -> None:
    sent = [("content-type", "application/json"), ("retry-after", "7"), ("x-should-retry", "true"), ("x-odd", "1")]
    body = b'{"error": {"message": "no",  "code": null}}'
    with replies(Scripted([body], status, sent)) as upstream:
        request = {"headers": {"authorization": "Bearer k"}, "json": {**CHAT, "stream": streams}}
        for calls in (1, 2):
            if asynchronous:
                async with package.AsyncClient(transport=CachedTransport(cache)) as client:
                    reply = await client.post(f"{upstream.url}/v1/chat/completions", **request)
            else:
                with package.Client(transport=CachedTransport(cache)) as client:
                    reply = client.post(f"{upstream.url}/v1/chat/completions", **request)
            assert (reply.status_code, reply.content, len(upstream.received)) == (status, body, calls)
            got = {name: value for name, value in reply.headers.multi_items() if name not in ("server", "date")}
            why = f"askonce; fwd=miss; fwd-status={status}"
            assert got == {**dict(sent), "content-length": str(len(body)), "cache-status": why}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/threads/t/messages", "/v1/audio/speech"])
def test_what_is_no_known_api_is_passed_on_untouched(path: str, package: Any, cache: Cache) -> None:
    with (
        replies(Scripted([b"\x00\xff"], 200, [("content-type", "x/y")])) as upstream,
        package.Client(transport=CachedTransport(cache)) as client,
    ):
        for calls in (1, 2):
            reply = client.post(f"{upstream.url}{path}", content=iter([b"one", b"two"]), headers={"x-own": "1"})
            assert reply.content == b"\x00\xff" and "cache-status" not in reply.headers
            assert len(upstream.received) == calls and upstream.received[-1].headers["x-own"] == "1"
            assert upstream.received[-1].body == b"onetwo"
        directives = {"cache-control": "only-if-cached"}
        assert client.post(f"{upstream.url}{path}", content=b"", headers=directives).status_code == 504
        assert (
            client.post(f"{upstream.url}/v1/chat/completions", content=b"[]", headers=directives).status_code == 504
        )
        assert len(upstream.received) == 2


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_what_is_no_answer_is_passed_on_and_not_stored(content_type: str, package: Any, cache: Cache) -> None:
    with (
        replies(Scripted([b"<html>"], 200, [("content-type", content_type)])) as upstream,
        package.Client(transport=CachedTransport(cache), headers={"authorization": "Bearer k"}) as client,
    ):
        for calls in (1, 2):
            assert client.post(f"{upstream.url}/v1/chat/completions", json=CHAT).content == b"<html>"
            assert len(upstream.received) == calls
    assert cache.stats().entries == 0


def test_a_hit_has_the_bytes_that_came_and_the_headers_that_last(package: Any, cache: Cache, clock: Any) -> None:
    sent = [
        *JSON,
        ("x-request-id", "r1"),
        ("set-cookie", "__cf_bm=1; path=/"),
        ("x-ratelimit-remaining-tokens", "1"),
        ("x-own", "1"),
    ]
    body = b' {"id":"chatcmpl-1",  "object":"chat.completion", "choices":[{"index":0,"finish_reason":"stop",' + (
        b'"message":{"role":"assistant","content":"\\u00e4","reasoning_content":"hm"}}],"odd":[1.0]}\n'
    )
    headers = {"askonce-ttl": "90", "authorization": "Bearer k"}
    with (
        replies(Scripted([body], 200, sent)) as upstream,
        package.Client(transport=CachedTransport(cache), headers=headers) as client,
    ):
        first = client.post(f"{upstream.url}/v1/chat/completions", json=CHAT)
        clock.advance(60)
        again = client.post(f"{upstream.url}/v1/chat/completions", json=CHAT)
    assert first.content == again.content == body and len(upstream.received) == 1
    assert first.headers["cache-status"] == "askonce; fwd=miss" and first.headers["x-request-id"] == "r1"
    key = next(iter(cache.store.scan("default")))[0].hex()
    expected = {"content-type": "application/json", "x-own": "1", "age": "60", "content-length": str(len(body))}
    status = f'askonce; hit; ttl=30; key="{key}"'
    got = {name: value for name, value in again.headers.multi_items() if name != "server"}
    assert got == {**expected, "cache-status": status}
    assert not any(name.startswith("askonce") for name in upstream.received[0].headers)


@pytest.mark.parametrize("is_referenced", [True, False])
def test_a_stream_that_is_left_half_way_ends_without_an_error(
    package: Any, cache: Cache, caplog: pytest.LogCaptureFixture, is_referenced: bool
) -> None:
    if package.__name__ == "httpx2":
        pytest.skip("httpx2 ends so without a cache, too: its own generators are closed while one closes the other")
    go_on, streams = threading.Event(), []

    async def run() -> None:
        transport = CachedTransport(cache)
        async with openai.AsyncOpenAI(
            api_key="k", base_url=f"{upstream.url}/v1", http_client=package.AsyncClient(transport=transport)
        ) as sdk:
            stream = await sdk.chat.completions.create(**CHAT, stream=True)
            async for _ in stream:
                break
            if is_referenced:
                streams.append(stream)

    with replies(Scripted(Held(events(delta(content="Hel"), delta("stop")), go_on), 200, STREAM)) as upstream:
        asyncio.run(run(), debug=True)
        go_on.set()
    streams.clear()
    gc.collect()
    assert not [one.message for one in caplog.records if one.name == "asyncio" and one.levelno > logging.WARNING]


def test_a_stream_that_an_sdk_has_read_gives_its_connection_back(package: Any, cache: Cache) -> None:
    """The SDK closes it at its last event, before the connection has ended it."""
    transport = CachedTransport(cache, transport=package.HTTPTransport(limits=package.Limits(max_connections=1)))
    client = package.Client(transport=transport, timeout=package.Timeout(10, pool=0.1))
    streamed = Scripted(events(delta(content="Hi"), delta("stop")), 200, STREAM)
    gc.disable()
    try:
        with (
            replies(streamed, streamed, streamed) as upstream,
            openai.OpenAI(api_key="k", base_url=f"{upstream.url}/v1", http_client=client, max_retries=0) as sdk,
        ):
            for question in "abc":
                messages = [{"role": "user", "content": question}]
                assert len(list(sdk.chat.completions.create(**{**CHAT, "messages": messages, "stream": True}))) == 2
    finally:
        gc.enable()
    assert len(upstream.received) == 3


def test_a_stream_is_replayed_with_the_bytes_that_came(package: Any, cache: Cache) -> None:
    chunks = events(
        delta(role="assistant", content="", reasoning_content="let "),
        delta(reasoning_content="me see", logprobs=None),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
    )
    chunks = [b": comment\r\n\r\n", *chunks[:2], b"".join(chunks[2:])]
    with (
        replies(Scripted(chunks, 200, STREAM)) as upstream,
        package.Client(transport=CachedTransport(cache, share=True)) as client,
    ):
        request = {**CHAT, "stream": True}
        first, again = (client.post(f"{upstream.url}/v1/chat/completions", json=request) for _ in range(2))
    assert first.content == again.content == b"".join(chunks) and len(upstream.received) == 1


@pytest.mark.parametrize("streams", [False, True])
def test_a_compressed_reply_is_passed_on_and_stored_as_it_reads(
    streams: bool, connect: Connect, package: Any, cache: Cache
) -> None:
    body = b"".join(events(delta(content="Hello."), delta("stop"))) if streams else PLAIN
    packed = gzip.compress(body)
    sent = [*(STREAM if streams else JSON), ("content-encoding", "gzip")]
    with replies(Scripted([packed[:20], packed[20:]], 200, sent)) as upstream:
        sdk = connect(upstream.url)
        for _ in range(2):
            assert asyncio.run(text_of(sdk, {**CHAT, "stream": streams})) == "Hello."
    assert len(upstream.received) == 1


# -- nothing is lost -----------------------------------------------------------------------------------------------

MESSAGE = {
    "role": "assistant",
    "content": "Hello.",
    "refusal": None,
    "reasoning_content": "They greet.",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
        {"id": "c2", "type": "function", "function": {"name": "add", "arguments": '{"a": 3, "b": 4}'}},
    ],
}
LOGPROBS = {"content": [{"token": "Hello", "logprob": -0.1, "bytes": [1], "top_logprobs": []}], "refusal": None}


def test_a_plain_answer_with_all_its_parts_as_a_stream(connect: Connect) -> None:
    whole = completion(MESSAGE, system_fingerprint="fp", service_tier="default")
    whole["choices"][0] |= {"logprobs": LOGPROBS, "finish_reason": "tool_calls"}
    with replies(Scripted([json.dumps(whole).encode()])) as upstream:
        sdk = connect(upstream.url)
        plain = sdk.chat.completions.create(**CHAT)
        with sdk.chat.completions.stream(**CHAT, stream_options={"include_usage": True}) as stream:
            final = stream.get_final_completion()
    assert len(upstream.received) == 1
    got = final.to_dict(exclude_none=True)
    for call in got["choices"][0]["message"]["tool_calls"]:
        del call["index"]
        call["function"].pop("parsed_arguments", None)
    assert got == plain.to_dict(exclude_none=True)


def test_a_stream_with_all_its_parts_as_a_plain_answer(connect: Connect) -> None:
    calls = [
        {"index": at, **call, "function": {**call["function"]}} for at, call in enumerate(MESSAGE["tool_calls"])
    ]
    pieces: list[dict[str, Any]] = []
    for call in calls:
        function = call["function"]
        pieces.append({"tool_calls": [{**call, "function": {"name": function["name"], "arguments": ""}}]})
        text = function["arguments"]
        pieces += [
            {"tool_calls": [{"index": call["index"], "function": {"arguments": part}}]}
            for part in (text[:5], text[5:])
        ]
    first = delta(role="assistant", content="", refusal=None, reasoning_content="They ")
    spoken = delta(content="Hello.")
    spoken["choices"][0]["logprobs"] = LOGPROBS
    chunks = [
        first,
        delta(reasoning_content="greet."),
        spoken,
        *(delta(**one) for one in pieces),
        delta("tool_calls"),
    ]
    usage = {"choices": [], "usage": completion()["usage"]}
    with replies(Scripted(events(*chunks, usage), 200, STREAM)) as upstream:
        sdk = connect(upstream.url)
        list(sdk.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}))
        got = sdk.chat.completions.create(**CHAT).to_dict()
    assert len(upstream.received) == 1
    assert got["choices"][0]["message"] == MESSAGE and got["usage"] == completion()["usage"]
    assert got["choices"][0]["logprobs"] == LOGPROBS and got["choices"][0]["finish_reason"] == "tool_calls"


def test_what_the_other_kind_cannot_hold_is_a_miss(connect: Connect) -> None:
    odd = [delta(reasoning_details=[{"n": n}]) for n in (1, 2)]
    chunks = events(*odd, delta(content="Hello."), delta("stop"), {"choices": [], "usage": completion()["usage"]})
    parameters = {"stream": True, "stream_options": {"include_usage": True}}

    def script(received: Received) -> Scripted:
        return Scripted(chunks, 200, STREAM) if received.json.get("stream") else Scripted([PLAIN])

    with Upstream(script) as upstream:
        sdk = connect(upstream.url)
        for _ in range(2):
            assert len(list(sdk.chat.completions.create(**CHAT, **parameters))) == 5
        assert len(upstream.received) == 1
        sdk.chat.completions.create(**CHAT)
        assert len(upstream.received) == 2


# -- streams that do not come to their end -------------------------------------------------------------------------


@pytest.mark.parametrize("breaks", ["ends", "tears", "fails"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_broken_stream_is_passed_on_broken_and_never_stored(
    breaks: Any, asynchronous: bool, connect: Connect, provider: Provider, talk: Talk, cache: Cache
) -> None:
    cache = Cache(MemoryStore(), cache_truncated=True, cache_empty=True)
    talk.breaks, talk.says = breaks, "one two three four five six"
    sdk = connect(provider.openai_url, cache=cache, asynchronous=asynchronous)
    if breaks == "ends":
        assert await text_of(sdk, {**CHAT, "stream": True}) == "one two "
    else:
        with pytest.raises((openai.APIError, Exception)):
            await text_of(sdk, {**CHAT, "stream": True})
    talk.breaks = ""
    assert await text_of(sdk, {**CHAT, "stream": True}) == talk.says
    assert provider.count == 2


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_stream_that_is_closed_half_way_is_not_stored(
    asynchronous: bool, connect: Connect, provider: Provider, talk: Talk, cache: Cache
) -> None:
    talk.says = "one two three four five six"
    sdk = connect(provider.openai_url, asynchronous=asynchronous)
    if asynchronous:
        stream = await sdk.chat.completions.create(**CHAT, stream=True)
        await anext(aiter(stream))
        await stream.close()
    else:
        stream = sdk.chat.completions.create(**CHAT, stream=True)
        next(iter(stream))
        stream.close()
    assert cache.stats().entries == 0
    assert await text_of(sdk, {**CHAT, "stream": True}) == talk.says
    assert await text_of(sdk, {**CHAT, "stream": True}) == talk.says
    assert provider.count == 2


@pytest.mark.parametrize("leaves", ["closes", "is cancelled"])
async def test_a_stream_is_stored_whose_reader_leaves_at_its_end_event(
    leaves: str, package: Any, cache: Cache
) -> None:
    later, whole = threading.Event(), events(delta(content="Hello."), delta("stop"))
    with Upstream(lambda _: Scripted(Held([b"".join(whole), b": so long\n\n"], later), 200, STREAM)) as upstream:
        async with package.AsyncClient(
            transport=CachedTransport(cache), headers={"authorization": "Bearer k"}, timeout=60
        ) as client:
            url, body = f"{upstream.url}/v1/chat/completions", {**CHAT, "stream": True}
            ended = asyncio.Event()

            async def read() -> None:
                async with client.stream("POST", url, json=body) as reply:
                    got = b""
                    async for part in reply.aiter_raw():
                        got += part
                        if got.endswith(b"[DONE]\n\n"):
                            ended.set()
                            if leaves == "closes":
                                return

            reading = asyncio.create_task(read())
            await asyncio.wait_for(ended.wait(), 30)
            if leaves == "is cancelled":
                await asyncio.sleep(0.05)
                reading.cancel()
            await asyncio.wait((reading,))
            again = await client.post(url, json=body)
            assert again.content == b"".join(whole) and len(upstream.received) == 1
            later.set()


async def test_who_waits_for_a_stream_goes_on_when_its_reader_is_cancelled_before_the_reply(
    package: Any, cache: Cache
) -> None:
    came, over, whole = asyncio.Event(), threading.Event(), events(delta(content="Hello."), delta("stop"))
    loop = asyncio.get_running_loop()

    def script(_: Received) -> Scripted:
        if len(upstream.received) == 1:
            loop.call_soon_threadsafe(came.set)
            over.wait(60)
        return Scripted(whole, 200, STREAM)

    with Upstream(script) as upstream:
        async with package.AsyncClient(
            transport=CachedTransport(cache), headers={"authorization": "Bearer k"}, timeout=60
        ) as client:
            url, body = f"{upstream.url}/v1/chat/completions", {**CHAT, "stream": True}
            first = asyncio.create_task(client.post(url, json=body))
            await came.wait()
            second = asyncio.create_task(client.post(url, json=body))
            await asyncio.sleep(0.1)
            assert len(upstream.received) == 1
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            reply = await asyncio.wait_for(second, 4)  # an abandoned stream would hold it up for 5 seconds
            assert reply.content == b"".join(whole) and len(upstream.received) == 2
            over.set()


# -- at once -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
async def test_a_hundred_tasks_at_once_are_one_call(
    streams: bool, connect: Connect, provider: Provider, talk: Talk
) -> None:
    provider.delay_seconds, talk.says = 0.2, "Answer {number}"
    sdk = connect(provider.openai_url, asynchronous=True)
    texts = await asyncio.gather(*[text_of(sdk, {**CHAT, "stream": streams}) for _ in range(100)])
    assert provider.count == 1 and set(texts) == {"Answer 1"}


@pytest.mark.parametrize("streams", [False, True])
def test_threads_at_once_are_one_call(streams: bool, connect: Connect, provider: Provider, talk: Talk) -> None:
    provider.delay_seconds, talk.says = 0.2, "Answer {number}"
    sdk = connect(provider.openai_url)
    together = threading.Barrier(40)

    def call(_: int) -> str:
        together.wait()
        return asyncio.run(text_of(sdk, {**CHAT, "stream": streams}))

    with ThreadPoolExecutor(40) as pool:
        texts = set(pool.map(call, range(40)))
    assert provider.count == 1 and texts == {"Answer 1"}


async def test_a_plain_request_waits_for_a_stream_of_the_same(connect: Connect, provider: Provider) -> None:
    provider.delay_seconds = 0.2
    sdk = connect(provider.openai_url, asynchronous=True)
    streamed = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    texts = await asyncio.gather(*[text_of(sdk, request) for request in [streamed, CHAT, streamed, CHAT]])
    assert provider.count == 1 and len(set(texts)) == 1


# -- the store, the clock, the client's directives ----------------------------------------------------------------


class DownStore(MemoryStore):
    """Every call fails."""

    def get(self, *_: Any) -> Any:
        raise OSError("down")

    put_many = put = get_many = get  # type: ignore[assignment]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_requests_are_answered_while_the_store_is_down(
    streams: bool, asynchronous: bool, connect: Connect, provider: Provider
) -> None:
    sdk = connect(provider.openai_url, cache=Cache(DownStore()), asynchronous=asynchronous)
    for calls in (1, 2):
        assert await text_of(sdk, {**CHAT, "stream": streams}) == "You said: Why is the sky blue?"
        assert provider.count == calls


@pytest.mark.parametrize("streams", [False, True])
def test_a_stale_answer_stands_in_for_an_error(streams: bool, package: Any, store: Any, clock: Any) -> None:
    chunks = events(delta(content="Hello."), delta("stop")) if streams else [PLAIN]
    fine = Scripted(chunks, 200, STREAM if streams else JSON)
    transport = CachedTransport(Cache(store, clock=clock, ttl=10, stale_if_error=100), share=True)
    with replies(fine, Scripted([b"no"], 503)) as upstream, package.Client(transport=transport) as client:
        for status in ("askonce; fwd=miss", "askonce; fwd=stale; fwd-status=503; ttl=-1"):
            reply = client.post(f"{upstream.url}/v1/chat/completions", json={**CHAT, "stream": streams})
            assert reply.status_code == 200 and reply.content == b"".join(chunks)
            assert reply.headers["cache-status"].startswith(status)
            clock.advance(11)
        clock.advance(100)
        assert (
            client.post(f"{upstream.url}/v1/chat/completions", json={**CHAT, "stream": streams}).status_code == 503
        )


def test_a_client_may_take_what_is_stale(package: Any, store: Any, clock: Any) -> None:
    cache = Cache(store, clock=clock, ttl=10, stale_if_error=100)
    with (
        replies(Scripted([PLAIN])) as upstream,
        package.Client(transport=CachedTransport(cache, share=True)) as client,
    ):

        def status(control: str) -> str:
            directives = {"cache-control": control} if control else {}
            return str(
                client.post(f"{upstream.url}/v1/chat/completions", json=CHAT, headers=directives).headers[
                    "cache-status"
                ]
            )

        status("")
        clock.advance(15)
        assert status("max-stale=4, only-if-cached") == "askonce; detail=only-if-cached"
        assert status("max-stale=6").startswith("askonce; hit; ttl=-5")
        assert status("max-stale").startswith("askonce; hit; ttl=-5")
        assert len(upstream.received) == 1
        assert status("no-cache") == "askonce; fwd=request"


def test_only_if_cached_is_a_504_that_no_sdk_repeats(connect: Connect, provider: Provider) -> None:
    sdk = connect(provider.openai_url).with_options(max_retries=3)
    with pytest.raises(openai.InternalServerError, match="only-if-cached") as raised:
        sdk.chat.completions.create(**CHAT, extra_headers={"cache-control": "only-if-cached"})
    assert raised.value.status_code == 504 and provider.count == 0


def test_options_of_a_block_and_headers_name_tags_and_tenants(
    connect: Connect, provider: Provider, cache: Cache
) -> None:
    sdk = connect(provider.openai_url)
    with cache_options(namespace="ann", tags=["a"]):
        sdk.chat.completions.create(**CHAT, extra_headers={"askonce-tags": "b, c"})
        assert cache.stats().entries == 1
        assert cache.invalidate("c") == 1
    sdk.chat.completions.create(**CHAT)
    assert cache.explain(lambda: sdk.chat.completions.create(**CHAT)).outcome == "hit"
    assert provider.count == 2


def test_no_credential_is_in_the_store(connect: Connect, provider: Provider, store: Any, clock: Any) -> None:
    cache = Cache(store, clock=clock, store_requests=True)
    connect(provider.openai_url, "sk-SECRET", cache=cache).chat.completions.create(**CHAT, user="ann")
    ((key, data),) = store.scan("default")
    assert b"SECRET" not in key + data and b"scope" in data


# -- other APIs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("order", [(False, False, True), (True, True, False)])
async def test_responses_plain_and_streamed(
    order: tuple[bool, ...], asynchronous: bool, connect: Connect, provider: Provider
) -> None:
    provider.answer = lambda request: Answer("Hello.", (ToolCall("add", {"a": 1}),))
    sdk = connect(provider.openai_url, asynchronous=asynchronous)
    seen = []
    for streams in order:
        made = sdk.responses.create(model="gpt-4o", input="Hi", stream=streams)
        made = await made if asynchronous else made
        if streams:
            received = [one async for one in made] if asynchronous else list(made)
            assert [one.sequence_number for one in received] == list(range(len(received)))
            assert "".join(one.delta for one in received if one.type == "response.output_text.delta") == "Hello."
            made = received[-1].response
        seen.append(made.to_dict())
    assert provider.count == 1 and seen[0] == seen[1] == seen[2]


DAY = 86_400.0


@pytest.mark.parametrize("ttl", [None, 100 * DAY, 28.5 * DAY])
def test_a_response_that_the_provider_holds_is_served_for_29_days(
    ttl: float | None, package: Any, store: Any, clock: Any
) -> None:
    """It is forgotten there after 30, and then no request can refer to it by its id."""
    rules: Any = {"ttl": ttl, "stale_if_error": 1000 * DAY} if ttl else {}
    whole: Any = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "error": None}
    whole["output"] = [
        {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "Hi.", "annotations": []}
        ]}
    ]  # fmt: skip
    transport = CachedTransport(Cache(store, clock=clock, **rules))

    def status(*, held: bool = True, **headers: str) -> int:
        body = {"model": "m", "input": "Hi", **({} if held else {"store": False})}
        headers = {"authorization": "Bearer k", **{name.replace("_", "-"): one for name, one in headers.items()}}
        return int(client.post(f"{upstream.url}/v1/responses", json=body, headers=headers).status_code)

    reply = Scripted([json.dumps(whole).encode()])
    failing = Scripted([b"no"], 503)
    with replies(reply, reply, failing) as upstream, package.Client(transport=transport) as client:
        assert status() == status(held=False) == 200
        clock.advance(28.9 * DAY)
        assert status() == status(held=False) == 200
        assert status(cache_control="only-if-cached, max-stale") == 200
        clock.advance(0.2 * DAY)
        assert status() == 503 and status(cache_control="only-if-cached, max-stale") == 504
        assert status(askonce_ttl=str(200 * DAY)) == status(cache_control="stale-if-error=99999999") == 503
        assert status(held=False) == 200


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("order", [(False, False, True), (True, True, False)])
async def test_messages_plain_and_streamed(
    order: tuple[bool, ...], asynchronous: bool, provider: Provider, cache: Cache
) -> None:
    provider.answer = lambda request: Answer("Hello.", (ToolCall("add", {"a": 1}), ToolCall("now")))
    transport: Any = CachedTransport(cache)
    parameters: Any = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": CHAT["messages"]}
    seen = []
    if asynchronous:
        async with anthropic.AsyncAnthropic(
            api_key="k",
            base_url=provider.anthropic_url,
            http_client=anthropic.DefaultAsyncHttpxClient(transport=transport),
        ) as client:
            for streams in order:
                if streams:
                    async with client.messages.stream(**parameters) as stream:
                        seen.append((await stream.get_final_message()).to_dict())
                else:
                    seen.append((await client.messages.create(**parameters)).to_dict())
    else:
        with anthropic.Anthropic(
            api_key="k",
            base_url=provider.anthropic_url,
            http_client=anthropic.DefaultHttpxClient(transport=transport),
        ) as client:
            for streams in order:
                if streams:
                    with client.messages.stream(**parameters) as stream:
                        seen.append(stream.get_final_message().to_dict())
                else:
                    seen.append(client.messages.create(**parameters).to_dict())
    assert provider.count == 1
    assert all(one["content"] == seen[0]["content"] and one["usage"] == seen[0]["usage"] for one in seen)
    assert all(one["stop_reason"] == "tool_use" for one in seen)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_embeddings_are_cached_for_each_text(
    asynchronous: bool, connect: Connect, provider: Provider
) -> None:
    sdk = connect(provider.openai_url, asynchronous=asynchronous)

    async def embed(texts: Any, **more: Any) -> list[Any]:
        made = sdk.embeddings.create(model="text-embedding-3-small", input=texts, **more)
        made = await made if asynchronous else made
        assert [one.index for one in made.data] == list(range(len(made.data)))
        return [one.embedding for one in made.data]

    assert [one[0] for one in await embed(["a", "bb"])] == [1.0, 2.0]
    assert [one[0] for one in await embed(["bb", "ccc", "bb"], encoding_format="float")] == [2.0, 3.0, 2.0]
    assert [request["input"] for request in provider.requests] == [["a", "bb"], ["ccc"]]
    assert [one[0] for one in await embed(["ccc", "a", "bb"])] == [3.0, 1.0, 2.0]
    assert (await embed("ccc", encoding_format="float"))[0] == [3.0, 0.5, -0.25]
    text: Any = (await embed("ccc", encoding_format="base64"))[0]
    assert isinstance(text, str) and provider.count == 2
    await embed("ccc", dimensions=2)
    await embed("ccc", user="ann")
    assert provider.count == 4


async def test_a_hundred_embeddings_at_once_are_one_call(connect: Connect, provider: Provider) -> None:
    provider.delay_seconds = 0.2
    sdk = connect(provider.openai_url, asynchronous=True)
    await asyncio.gather(*[sdk.embeddings.create(model="text-embedding-3-small", input="a") for _ in range(100)])
    assert provider.count == 1


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_closing_the_client_closes_the_transport(asynchronous: bool, package: Any, cache: Cache) -> None:
    class Closing:
        closed = 0

        def handle_request(self, request: Any) -> Any:
            return package.Response(200, json=completion(), request=request)

        async def handle_async_request(self, request: Any) -> Any:
            return self.handle_request(request)

        def close(self) -> None:
            self.closed += 1

        async def aclose(self) -> None:
            self.closed += 1

    inner: Any = Closing()
    transport = CachedTransport(cache, inner, share=True)
    if asynchronous:
        async with package.AsyncClient(transport=transport) as client:
            bodies = [(await client.post("http://host/v1/chat/completions", json=CHAT)).json() for _ in range(2)]
    else:
        with package.Client(transport=transport) as client:
            bodies = [client.post("http://host/v1/chat/completions", json=CHAT).json() for _ in range(2)]
    assert bodies == [completion()] * 2 and inner.closed == 1 and cache.stats().hits == 1


# -- erased --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
async def test_a_text_in_a_reply_is_erased(streams: bool, connect: Connect) -> None:
    pieces = ["It was Wil", "helmina Zyx", "-M\u00e4", "rker."]
    bodies = [
        events(*(delta(content=one) for one in texts), delta("stop"))
        if streams
        else [json.dumps(completion({"role": "assistant", "content": "".join(texts)})).encode()]
        for texts in (pieces, ["Nobody."])
    ]
    cache = Cache(MemoryStore(), timeout_seconds=10)
    with replies(*(Scripted(one, headers=STREAM if streams else JSON) for one in bodies)) as upstream:
        sdk = connect(f"{upstream.url}/v1", cache=cache)
        for question in ("Who?", "Who else?"):
            await text_of(sdk, {**CHAT, "messages": [{"role": "user", "content": question}], "stream": streams})
    assert cache.stats().entries == 2
    assert cache.erase(text="Wilhelmina Zyx-M\u00e4rker").total == 1


def test_whether_callers_share_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match="share is True or False"):
        CachedTransport("memory://", share="false")  # type: ignore[arg-type]


def embedded(received: Received) -> Scripted:
    """Vectors whose last number is the length of the text."""
    texts = received.json["input"]
    data = [{"index": at, "embedding": [1.0, len(one)]} for at, one in enumerate(texts)]
    return Scripted([json.dumps({"data": data, "model": "e"}).encode()])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("rule", ["stale_if_error", "stale_while_revalidate"])
async def test_stale_vectors_stand_in_for_those_of_several_texts(
    rule: Any, asynchronous: bool, package: Any, store: Any, clock: Any
) -> None:
    transport = CachedTransport(Cache(store, clock=clock, ttl=10, **{rule: 100}), share=True)
    client = (package.AsyncClient if asynchronous else package.Client)(transport=transport)
    status = 200

    async def send(*texts: str, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        made = client.post(f"{upstream.url}/v1/embeddings", json={"model": "e", "input": texts}, headers=sent)
        return await made if asynchronous else made

    with Upstream(lambda one: embedded(one) if status == 200 else Scripted([b"no"], status)) as upstream:
        await send("a", "bb")
        clock.advance(6)
        await send("ccc", "dddd")
        clock.advance(6)
        status = 503
        reply = await send("a", "ccc", "bb")
        assert reply.status_code == 200 and [one["embedding"][1] for one in reply.json()["data"]] == [1, 3, 2]
        assert reply.headers["cache-status"].startswith("askonce; fwd=stale; fwd-status=503; ttl=-2")
        assert (await send("a", "bb", "new")).status_code == 503
        assert (await send("a", "bb", cache_control="max-age=1, stale-if-error=0")).status_code == 503
        status = 401
        assert (await send("a", "bb")).status_code == 401
        status = 503
        clock.advance(100)
        assert (await send("a", "bb")).status_code == 503
    stats = transport.cache.stats()
    assert (stats.hits, stats.misses) == (3, 4 + 3 + 2 + 2 + 2)
    if asynchronous:
        await client.aclose()


def test_one_transport_serves_one_event_loop_after_another(package: Any, cache: Cache) -> None:
    transport = CachedTransport(cache, share=True)

    async def send(question: str) -> int:
        client = package.AsyncClient(transport=transport)  # not closed, as an SDK's in a script is not
        body = {**CHAT, "messages": [{"role": "user", "content": question}]}
        return int((await client.post(f"{upstream.url}/v1/chat/completions", json=body)).status_code)

    with replies(Scripted([PLAIN])) as upstream:
        assert [asyncio.run(send(question)) for question in "abc"] == [200] * 3
    assert len(transport._own_of_loops) == 1 and len(upstream.received) == 3
