"""What is stored of replies, and the law of replays: what a stream says is what the whole answer says."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.entries.entry import Entry, Hit, Incomplete
from askonce.wire import chat, messages, replies, responses
from askonce.wire.events import DONE, event_of, events_in, has_ended, written
from askonce.wire.headers import lasting, of_hit
from askonce.wire.requests import WireRequest

from .requests import CHAT, OPENAI, wire

JSON, EVENTS = [("content-type", "application/json")], [("content-type", "text/event-stream; charset=utf-8")]
words = st.text(max_size=12)
objects = st.dictionaries(st.text("abc", min_size=1, max_size=3), words | st.integers(0, 9), max_size=3)


# -- laws ----------------------------------------------------------------------------------------------------------


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    choices = []
    for index in range(draw(st.integers(1, 2))):
        message: dict[str, Any] = {"role": "assistant", "content": draw(words | st.none())}
        if draw(st.booleans()):
            message["reasoning_content"] = draw(words)
        if arguments := draw(st.lists(objects, max_size=2)):
            message["tool_calls"] = [
                {"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": json.dumps(one)}}
                for at, one in enumerate(arguments)
            ]
        tokens = draw(st.none() | st.just({"content": [{"token": "a", "logprob": -1.0}], "refusal": None}))
        reason = draw(st.sampled_from(["stop", "length", "tool_calls"]))
        choices.append({"index": index, "message": message, "logprobs": tokens, "finish_reason": reason})
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    return {**whole, "system_fingerprint": "fp", "usage": {"prompt_tokens": 1, "completion_tokens": 2}}


@given(completions())
def test_a_completion_as_a_stream_adds_up_to_it(whole: dict[str, Any]) -> None:
    body = chat.as_stream(whole, wants_usage=True)
    assert chat.assembled(events_in(body)) == (whole, True) and has_ended("chat", body)
    without = chat.with_usage_as_wanted(body, wants_usage=False)
    assert without == chat.as_stream(whole, wants_usage=False)
    added, is_faithful = chat.assembled(events_in(without))
    assert not is_faithful and added == {name: value for name, value in whole.items() if name != "usage"}
    with pytest.raises(Incomplete):
        chat.with_usage_as_wanted(without, wants_usage=True)


blocks = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, words),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, words),
    st.just({"type": "redacted_thinking", "data": "x"}),
    st.builds(lambda given: {"type": "tool_use", "id": "t", "name": "f", "input": given}, objects),
    st.just({"type": "web_search_tool_result", "tool_use_id": "t", "content": [{"type": "x"}]}),
    st.just({"type": "text", "text": "so", "citations": [{"type": "char_location", "cited_text": "a"}]}),
)


@given(st.lists(blocks, max_size=4), st.sampled_from(["end_turn", "tool_use", "max_tokens"]))
def test_a_message_as_a_stream_adds_up_to_it(content: list[dict[str, Any]], reason: str) -> None:
    usage = {"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 3, "service_tier": "standard"}
    ends = {"stop_reason": reason, "stop_sequence": None}
    whole = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        **ends,
        "usage": usage,
    }
    body = messages.as_stream(whole)
    assert messages.assembled(events_in(body)) == (whole, True) and has_ended("messages", body)
    assert has_ended("messages", body + b"data: [DONE]\n\n")  # as some gateways end all streams


@given(words, objects)
def test_a_response_as_a_stream_adds_up_to_it(text: str, given: dict[str, Any]) -> None:
    part = {"type": "output_text", "text": text, "annotations": [{"type": "url_citation"}], "logprobs": []}
    output = [
        {"id": "r", "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]},
        {"id": "m", "type": "message", "status": "completed", "role": "assistant", "content": [part]},
        {"id": "f", "type": "function_call", "status": "completed", "name": "f", "arguments": json.dumps(given)},
        {"id": "w", "type": "web_search_call", "status": "completed"},
    ]
    whole = {"id": "r", "object": "response", "status": "completed", "output": output, "usage": {"input_tokens": 1}}
    body = responses.as_stream(whole)
    assert responses.assembled(events_in(body)) == (whole, True) and has_ended("responses", body)
    streamed = wire({"model": "m", "input": "Hi", "stream": True}, f"{OPENAI}/responses")
    assert replies.packed(streamed, 200, EVENTS, body + b"data: [DONE]\n\n") is not None
    assert replies.packed(streamed, 200, EVENTS, b"data: [DONE]\n\n") is None
    data = [one.data for one in events_in(body)]
    assert "".join(one["delta"] for one in data if one["type"] == "response.output_text.delta") == text
    assert [one["item"] for one in data if one["type"] == "response.output_item.done"] == output


@given(completions(), st.integers(0, 10_000))
def test_no_part_of_a_stream_is_a_whole_one(whole: dict[str, Any], at: int) -> None:
    body = chat.as_stream(whole, wants_usage=True)
    cut = body[: at % (len(body) - len(b"data: [DONE]\n\n") + 1)]
    assert replies.packed(wire({**CHAT, "stream": True}), 200, EVENTS, cut) is None


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
def test_events_are_read_whatever_ends_their_lines(end: str) -> None:
    sent = [f'id: 1{end[: len(end) // 2]}data:{{"n": {n}}}{end}' for n in range(3)]
    read = events_in("".join(sent).encode() + b"data: {")
    assert [one.data for one in read] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert b"".join(one.raw for one in read).decode() == "".join(sent)


# -- what is stored ------------------------------------------------------------------------------------------------


def chunks(*deltas: dict[str, Any], **more: Any) -> bytes:
    """A stream of one choice, with its usage."""
    parts = [{"choices": [{"index": 0, "delta": one, "finish_reason": None}], **more} for one in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    lines = [*parts, last, {"choices": [], "usage": {"prompt_tokens": 1}}]
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in lines) + b"data: [DONE]\n\n"


def test_pieces_of_any_kind_of_tool_call_add_up() -> None:
    first = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "py", "input": ""}}
    pieces = [first, *({"index": 0, "custom": {"input": one}} for one in ("print(", "1+1)"))]
    whole, is_faithful = chat.assembled(events_in(chunks(*({"tool_calls": [one]} for one in pieces))))
    assert whole is not None and is_faithful
    assert whole["choices"][0]["message"]["tool_calls"] == [
        {"id": "c1", "type": "custom", "custom": {"name": "py", "input": "print(1+1)"}}
    ]


@pytest.mark.parametrize(
    "deltas",
    [
        [{"tool_calls": [{"index": 0, "id": "c", "function": {"name": one}}]} for one in ("get_", "weather")],
        [{"tool_calls": [{"index": 0, "id": "c", "unknown": {"field": one}}]} for one in ("a", "b")],
        [{"tool_calls": [{"index": 0, "id": "c", "unknown": one}]} for one in ([1], [2])],
        [{"function_call": {"name": one}} for one in ("get_", "weather")],
        [{"unknown": one} for one in ("a", "b")],
        [{"content": one} for one in ([{"type": "thinking"}], "so")],
    ],
    ids=["name", "field", "member", "function", "delta", "content"],
)
def test_pieces_that_may_not_add_up_are_no_whole_answer(deltas: list[dict[str, Any]]) -> None:
    assert not chat.assembled(events_in(chunks(*deltas)))[1]


def test_members_of_chunks_that_change_are_no_whole_answer() -> None:
    same = chunks({"content": "Hi"}, created=1, citations=["a"])
    assert chat.assembled(events_in(same))[1] and chat.assembled(events_in(same.replace(b"1", b"2", 1)))[1]
    other = same + chunks({"content": ""}, created=2, citations=["b"])
    assert not chat.assembled(events_in(other))[1]


@pytest.mark.parametrize("place", ["apart", "in the last chunk"])  # as Mistral and DeepSeek send it
def test_usage_that_nobody_requested_is_in_a_hit_as_it_was_made(place: str) -> None:
    body = chunks({"content": "Hi"})
    if place != "apart":
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
        body = b"".join(event.raw for event in events_in(body)[:-3]) + written([last], named=False) + DONE
    plain, wanting = {**CHAT, "stream": True}, {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    made = replies.packed(wire(plain), 200, EVENTS, body)
    assert made is not None and b"usage" in body
    for request in (plain, wanting):
        assert replies.replayed(wire(request), made.payload).body == body
    wanted = replies.packed(wire(wanting), 200, EVENTS, body)
    assert wanted is not None and b"usage" not in replies.replayed(wire(plain), wanted.payload).body


def test_the_usage_of_another_member_is_not_that_of_a_stream() -> None:
    body = chunks({"content": "Hi"}).replace(b'"usage"', b'"x_groq": {"usage"').replace(b"1}}", b"1}}}")
    with pytest.raises(Incomplete):
        chat.with_usage_as_wanted(body, wants_usage=True)


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "required": ["a"]}}}


def reply_of(reason: Any = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}


def call(name: str, arguments: str) -> list[dict[str, Any]]:
    return [{"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}]


def outcome(request: WireRequest, body: Any) -> str:
    answer = replies.packed(request, 200, JSON, json.dumps(body).encode())
    if answer is None:
        return "not storable"
    return (
        "truncated" if answer.truncated else "empty" if answer.empty else "invalid" if answer.invalid else "stored"
    )


@pytest.mark.parametrize(
    ("more", "body", "expected"),
    [
        ({}, reply_of(content="Hi"), "stored"),
        ({}, reply_of(None, content="Hi"), "truncated"),
        ({}, reply_of("length", content="Hi"), "truncated"),
        ({}, reply_of("content_filter", content="Hi"), "truncated"),
        ({}, reply_of("tool_calls", content=None, tool_calls=call("add", '{"a": 1}')), "stored"),
        ({"tools": [TOOL]}, reply_of("tool_calls", tool_calls=call("add", '{"a": 1}')), "stored"),
        ({"tools": [TOOL]}, reply_of("tool_calls", tool_calls=call("add", '{"b": 1}')), "invalid"),
        ({"tools": [TOOL]}, reply_of("tool_calls", tool_calls=call("sub", '{"a": 1}')), "invalid"),
        ({}, reply_of("tool_calls", tool_calls=call("add", '{"a":')), "invalid"),
        ({}, reply_of(content=""), "empty"),
        ({}, reply_of(content=None, reasoning_content="Let me see"), "empty"),
        ({}, reply_of(content="<think>hm</think>"), "empty"),
        ({}, reply_of(content="<think>hm</think>Hi"), "stored"),
        ({}, reply_of(content=None, refusal="I will not"), "truncated"),
        ({"response_format": {"type": "json_object"}}, reply_of(content="no"), "invalid"),
        ({"response_format": {"type": "json_object"}}, reply_of(content="{}"), "stored"),
        ({}, {"error": {"message": "no"}}, "truncated"),
        ({}, {**reply_of(content="Hi"), "choices": []}, "truncated"),
        ({"n": 2}, reply_of(content="Hi"), "truncated"),
        ({}, ["Hi"], "not storable"),
    ],
)
def test_which_completions_are_stored(more: dict[str, Any], body: Any, expected: str) -> None:
    assert outcome(wire({**CHAT, **more}), body) == expected


@pytest.mark.parametrize(
    ("reason", "content", "expected"),
    [
        ("end_turn", [{"type": "text", "text": "Hi"}], "stored"),
        ("stop_sequence", [{"type": "text", "text": "Hi"}], "stored"),
        ("tool_use", [{"type": "tool_use", "name": "f", "input": {}}], "stored"),
        ("tool_use", [{"type": "tool_use", "name": "f", "input": "{"}], "invalid"),
        ("max_tokens", [{"type": "text", "text": "Hi"}], "truncated"),
        ("refusal", [], "truncated"),
        ("pause_turn", [{"type": "text", "text": "Hi"}], "truncated"),
        ("", [{"type": "text", "text": "Hi"}], "truncated"),
        ("of_another_kind", [{"type": "text", "text": "Hi"}], "truncated"),
        ("end_turn", [{"type": "thinking", "thinking": "hm"}], "empty"),
    ],
)
def test_which_messages_are_stored(reason: str, content: list[Any], expected: str) -> None:
    body = {"type": "message", "content": content, "stop_reason": reason}
    assert outcome(wire(CHAT, "https://api.anthropic.com/v1/messages"), body) == expected


@pytest.mark.parametrize(
    ("status", "output", "expected"),
    [
        ("completed", [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}], "stored"),
        ("completed", [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}], "truncated"),
        ("completed", [{"type": "reasoning", "summary": []}], "empty"),
        ("completed", [{"type": "function_call", "name": "f", "arguments": "{"}], "invalid"),
        ("incomplete", [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}], "truncated"),
        ("queued", [], "truncated"),
    ],
)
def test_which_responses_are_stored(status: str, output: list[Any], expected: str) -> None:
    body = {"object": "response", "status": status, "error": None, "output": output}
    assert outcome(wire({"model": "m", "input": "Hi"}, f"{OPENAI}/responses"), body) == expected


@pytest.mark.parametrize("status", [201, 204, 206, 400, 429, 500])
def test_only_status_200_is_stored(status: int) -> None:
    assert replies.packed(wire(), status, JSON, json.dumps(reply_of(content="Hi")).encode()) is None


def test_a_reply_of_the_other_kind_is_not_stored() -> None:
    body = chat.as_stream({**reply_of(content="Hi")}, wants_usage=False)
    assert replies.packed(wire(), 200, EVENTS, body) is None
    assert (
        replies.packed(wire({**CHAT, "stream": True}), 200, JSON, json.dumps(reply_of(content="Hi")).encode())
        is None
    )


def test_the_tokens_and_the_price_of_an_answer_are_known() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    answer = replies.packed(wire(), 200, JSON, json.dumps({**reply_of(content="Hi"), "usage": usage}).encode())
    assert answer is not None and answer.model == "m" and answer.answer_text == "Hi"
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cache_read_tokens) == (9, 2, 4)


def test_which_headers_last() -> None:
    gone = (
        "connection transfer-encoding content-length content-encoding set-cookie date age cache-control"
        " x-request-id request-id cf-ray openai-organization openai-processing-ms x-ratelimit-limit-requests"
        " retry-after keep-alive"
        " anthropic-ratelimit-tokens-reset anthropic-organization-id alt-svc x-envoy-upstream-service-time"
        " openai-project msh-uid x-account-id x-litellm-key-spend x-litellm-call-id helicone-id x-remaining-credits"
        " authentication-info clear-site-data www-authenticate x-cache x-should-retry x-litellm-response-cost"
        " x-remaining-balance x-user x_account_id requestid location server-timing"
    ).split()
    lasting_headers = [("Content-Type", "application/json"), ("openai-version", "2020-10-01"), ("x-own", "1")]
    assert (
        lasting([*((name, "1") for name in gone), *lasting_headers, *((name.title(), "1") for name in gone)])
        == lasting_headers
    )
    ours = [("content-language", "en"), ("Content-Type", "a/b"), ("openai-version", "1"), ("openai-model", "m")]
    assert lasting([*ours, ("x-own", "1"), ("x-plan", "gold"), ("openai-project", "p")], shared=True) == ours


@pytest.mark.parametrize("share", [False, True])
def test_a_shared_answer_has_no_header_that_may_be_of_its_first_caller(share: bool) -> None:
    sent = [*JSON, ("x-plan", "gold"), ("x-account-id", "a")]
    made = replies.packed(wire(share=share), 200, sent, json.dumps(reply_of(content="Hi")).encode())
    assert made is not None
    assert replies.replayed(wire(share=share), made.payload).headers == (JSON if share else sent[:2])


@pytest.mark.parametrize(
    ("kind", "until", "failed", "status"),
    [
        ("exact", 100.5, None, "askonce; hit; ttl=0"),
        ("exact", None, None, "askonce; hit"),
        ("stale", 99.9, None, "askonce; hit; ttl=-1"),
        ("stale", 150.0, None, "askonce; hit"),
        ("stale", 98.0, 0, "askonce; fwd=stale; ttl=-2"),
        ("stale", 98.0, 503, "askonce; fwd=stale; fwd-status=503; ttl=-2"),
        ("coalesced", 150.0, None, "askonce; fwd=miss; collapsed; ttl=50"),
    ],
)
def test_cache_status_of_what_is_stored(kind: Any, until: float | None, failed: int | None, status: str) -> None:
    entry = Entry(kind="answer", payload=b"", created_at=90.0, fresh_until=until)
    assert dict(of_hit(Hit(entry, kind, 10.0), 100.0, failed)) == {"age": "10", "cache-status": status}


def test_what_is_no_stored_reply_is_refused() -> None:
    with pytest.raises((msgspec.DecodeError, msgspec.ValidationError)):
        replies.replayed(wire(), b"\x93\xa5plain\x01\x02")


# -- streams that hold what is not known ---------------------------------------------------------------------------

DAMAGED = [
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"NOT \n\n',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"NOT "},"logprobs":{"content":[-Infinity]}}]}\n\n',
    b'dat: {"id":"c","choices":[{"index":0,"delta":{"content":"NOT "}}]}\n\n',
    b'data: "NOT "\n\n',
    b"data: null\n\n",
    b"data: \xff\n\n",
]


def streams() -> list[tuple[WireRequest, bytes]]:
    """A request of each API, and the stream that it gets."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    chat_body = chat.as_stream({**reply_of(content="Do this"), "usage": usage}, wants_usage=True)
    message = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    response = {"object": "response", "status": "completed", "output": [MESSAGE]}
    streaming = {"model": "m", "stream": True}
    return [
        (wire({**CHAT, "stream": True}), chat_body),
        (wire({**CHAT, "stream": True}, "https://api.anthropic.com/v1/messages"), messages.as_stream(message)),
        (wire({**streaming, "input": "Hi"}, f"{OPENAI}/responses"), responses.as_stream(response)),
    ]


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("event", DAMAGED)
def test_a_stream_with_an_event_that_cannot_be_read_is_not_stored(event: bytes, at: int) -> None:
    request, body = streams()[at]
    assert replies.packed(request, 200, EVENTS, b": a comment\n\nid: 1\nretry: 5\n\n" + body) is not None
    begins = [one.raw for one in events_in(body)]
    for place in range(len(begins) + 1):
        damaged = b"".join([*begins[:place], event, *begins[place:]])
        assert replies.packed(request, 200, EVENTS, damaged) is None


@pytest.mark.parametrize(
    "part", ["a", {"index": 0, "delta": "a"}, {"index": 0, "delta": ["a"]}], ids=["choice", "text", "list"]
)
def test_a_choice_that_is_none_adds_up_to_no_whole_answer(part: Any) -> None:
    body = streams()[0][1]
    odd = b'data: {"choices": [' + json.dumps(part).encode() + b"]}\n\n"
    assert chat.assembled(events_in(body))[1] and not chat.assembled(events_in(odd + body))[1]


# -- long streams --------------------------------------------------------------------------------------------------


def test_a_text_that_comes_in_many_pieces_is_whole() -> None:
    pieces = [f"piece {at} " for at in range(3000)]
    text, token = "".join(pieces), {"token": "a", "logprob": -1.0}
    sent: list[dict[str, Any]] = [{"content": one} for one in pieces] + [{"reasoning": one} for one in pieces]
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "'}}
    ends: list[Any] = [{"index": 0, "function": {"arguments": one}} for one in [*pieces, '"}']]
    sent += [{"tool_calls": [one]} for one in [call, *ends]]
    events = [
        {"choices": [{"index": 0, "delta": one, "logprobs": {"content": [token]}, "finish_reason": None}]}
        for one in sent
    ]
    whole, is_faithful = chat.assembled(
        events_in(written([*events, {"choices": [], "usage": {"a": 1}}], named=False))
    )
    assert is_faithful and whole is not None
    message = whole["choices"][0]["message"]
    assert message["content"] == message["reasoning"] == text
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"a": text}
    assert whole["choices"][0]["logprobs"] == {"content": [token] * len(sent)}


def test_the_blocks_of_a_message_that_come_in_many_pieces_are_whole() -> None:
    pieces = [f"piece {at} " for at in range(3000)]
    text = "".join(pieces)
    deltas = [
        [{"type": "thinking_delta", "thinking": one} for one in pieces],
        [{"type": "text_delta", "text": one} for one in pieces],
        [{"type": "input_json_delta", "partial_json": one} for one in ['{"a": "', *pieces, '"}']],
    ]
    deltas[1] += [{"type": "citations_delta", "citation": at} for at in range(1000)]
    begun: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": ""},
        {"type": "text", "text": ""},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"type": "message"}}]
    for at, block in enumerate(begun):
        events.append({"type": "content_block_start", "index": at, "content_block": block})
        events += [{"type": "content_block_delta", "index": at, "delta": one} for one in deltas[at]]
        events.append({"type": "content_block_stop", "index": at})
    whole, is_faithful = messages.assembled(events_in(written(events, named=True)))
    assert is_faithful and whole is not None
    thought, written_text, used = whole["content"]
    assert thought["thinking"] == written_text["text"] == used["input"]["a"] == text
    assert written_text["citations"] == list(range(1000))


def test_a_text_that_is_something_else_in_between_adds_up_to_no_whole_answer() -> None:
    for pieces in (["a", ["b"], "c"], ["a", {"b": 1}], [{"a": 1}, "b"]):
        sent = [{"choices": [{"index": 0, "delta": {"content": one}}]} for one in pieces]
        assert not chat.assembled(events_in(written([*sent, {"choices": [], "usage": {"a": 1}}], named=False)))[1]


@pytest.mark.parametrize("between", ["\n", "\r\n", "\r"])
def test_an_event_reads_alike_however_its_lines_end(between: str) -> None:
    texts = [
        'data: {"type": "a", "text": "\\n\\n"}',
        'event: a\ndata: {"type": "a"}',
        'event: a\nevent: b\ndata: {"type": "a"}',
        'data: {"type":\ndata: "a"}',
        'data:{"type": "a"}',
        'data: {"type": "a"}\nid: 1',
        'odd\ndata: {"type": "a"}',
        "data: {",
        "data: [DONE]",
        "data: [1]",
        ": a comment",
        "",
    ]
    body = "".join(f"{one}\n\n" for one in texts)
    expected = [
        (None if one.is_unreadable and one.data is None else one.data, one.is_done, one.is_unreadable)
        for one in map(event_of, [f"{one}\n\n".replace("\n", "\r\n").encode() for one in texts])
    ]
    read = events_in(body.replace("\n", between).encode())
    assert [(one.data, one.is_done, one.is_unreadable) for one in read] == expected
    assert b"".join(one.raw for one in read) == body.replace("\n", between).encode()
    assert [place for place, one in enumerate(expected) if one[2]] == [6, 7, 9]


# -- what a reply repeats of its request ---------------------------------------------------------------------------


@pytest.mark.parametrize("stored_as", ["plain", "stream"])
@pytest.mark.parametrize("wanted", ["plain", "stream"])
@pytest.mark.parametrize("bob", [{}, {"metadata": {"ticket": "bob"}, "safety_identifier": "bob"}])
def test_a_response_repeats_what_its_own_request_says(stored_as: str, wanted: str, bob: dict[str, Any]) -> None:
    alice = {
        "metadata": {"ticket": "alice", "n": 10**30},
        "safety_identifier": "alice",
        "prompt_cache_key": "alice",
    }

    def request(kind: str, more: dict[str, Any]) -> WireRequest:
        return wire({"model": "m", "input": "Hi", **more, "stream": kind == "stream"}, f"{OPENAI}/responses")

    whole = {"object": "response", "status": "completed", "output": [MESSAGE], **alice, "user": None}
    if stored_as == "stream":
        answer = replies.packed(request("stream", alice), 200, EVENTS, responses.as_stream(whole))
    else:
        answer = replies.packed(request("plain", alice), 200, JSON, json.dumps(whole).encode())
    assert answer is not None
    own = replies.replayed(request(stored_as, alice), answer.payload).body
    assert own == (responses.as_stream(whole) if stored_as == "stream" else json.dumps(whole).encode())
    body = replies.replayed(request(wanted, bob), answer.payload).body
    assert b"alice" not in body
    expected = {**whole, "metadata": {}, "safety_identifier": None, "prompt_cache_key": None, **bob}
    if wanted == "plain":
        assert json.loads(body) == expected
    else:
        found = [one.data["response"] for one in events_in(body) if "response" in one.data]
        assert len(found) == 3 and found[-1] == expected
        assert all(one["metadata"] == expected["metadata"] for one in found)
        assert body.startswith(b"event: response.created\n")


ERRORS = [
    b'event: error\ndata: {"type":"error","code":"server_error","message":"no"}\n\n',
    b'event: error\ndata: {"error":{"type":"overloaded_error","message":"no"}}\n\n',
    b'event: error\ndata: {"message":"no"}\n\n',
]


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("error", ERRORS)
def test_a_stream_with_an_error_in_it_is_not_stored(error: bytes, at: int) -> None:
    request, body = streams()[at]
    parts = [one.raw for one in events_in(body)]
    assert replies.packed(request, 200, EVENTS, body) is not None
    for place in range(len(parts) + 1):
        assert replies.packed(request, 200, EVENTS, b"".join([*parts[:place], error, *parts[place:]])) is None


@pytest.mark.parametrize("ended", ["failed", "incomplete", "cancelled", "completed"])
def test_a_response_that_ends_twice_is_not_stored(ended: str) -> None:
    request, body = streams()[2]
    *parts, last = [one.raw for one in events_in(body)]
    twice = b"".join([*parts, last.replace(b"response.completed", f"response.{ended}".encode()), last])
    assert replies.packed(request, 200, EVENTS, twice) is None


def test_a_stream_that_says_less_than_it_ends_with_is_not_stored() -> None:
    """None of the events can be missing that a client puts an answer together from."""
    request = streams()[2][0]
    function = {"type": "function_call", "name": "f", "arguments": '{"a": 1}'}
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]}
    whole = {"object": "response", "status": "completed", "output": [thought, MESSAGE, function]}
    parts = [one.raw for one in events_in(responses.as_stream(whole))]
    assert replies.packed(request, 200, EVENTS, b"".join(parts)) is not None
    assert replies.packed(request, 200, EVENTS, parts[-1]) is None
    for place, part in enumerate(parts):
        if (b"text.delta" in part and b"summary" not in part) or b"arguments.delta" in part or b"item.done" in part:
            assert replies.packed(request, 200, EVENTS, b"".join(parts[:place] + parts[place + 1 :])) is None
        changed = part.replace(b'"so"', b'"no"').replace(b'"Hi"', b'"Ho"').replace(b'a\\": 1', b'a\\": 2')
        if changed != part and (b".delta" in part or b"item.done" in part):
            assert (
                replies.packed(request, 200, EVENTS, b"".join([*parts[:place], changed, *parts[place + 1 :]]))
                is None
            )


@pytest.mark.parametrize("place", [1, 3], ids=["beginning", "end"])
def test_a_message_with_a_block_without_beginning_or_end_is_not_stored(place: int) -> None:
    request, body = streams()[1]
    parts = [one.raw for one in events_in(body)]
    assert replies.packed(request, 200, EVENTS, b"".join(parts[:place] + parts[place + 1 :])) is None
