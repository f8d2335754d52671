"""What an optimizer writes into the bodies of requests, and into what real SDK clients send."""

from __future__ import annotations

import copy
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anthropic
import boto3
import openai
import pytest

from askonce.entries.entry import Usage
from askonce.errors import ConfigError
from askonce.prefix import BreakpointPlan, PrefixOptimizer, optimize_prefix
from askonce.prefix.optimize.statistics import LAST_BLOCK, LAST_TOOL, TAIL, Mark, Slot
from askonce.prefix.requests.rules import rule_for
from tests.support.provider import Answer, Provider
from tests.support.provider import Call as ToolCall

HANDBOOK = "People of group 7 go first. " * 400


def plan_for(provider: str, model: str, *marks: Mark, **more: Any) -> BreakpointPlan:
    rule = rule_for(provider, model)
    assert rule is not None
    return BreakpointPlan(rule, model, marks, **{"tools_sorted": True} | more)


CLAUDE = plan_for("anthropic", "claude-opus-4-8", Mark(LAST_TOOL, "1h"), Mark(LAST_BLOCK, "1h"), Mark(TAIL, "5m"))
HOUR, MINUTES = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}


def tool(name: str) -> dict[str, Any]:
    properties = {"place": {"type": "string"}, "day": {"type": "string"}}
    return {"name": name, "input_schema": {"type": "object", "properties": properties}}


def claude(*messages: Any, **more: Any) -> dict[str, Any]:
    dialogue = [{"role": ("user", "assistant")[turn % 2], "content": one} for turn, one in enumerate(messages)]
    return {"model": "claude-opus-4-8", "max_tokens": 9, "system": HANDBOOK, "messages": dialogue, **more}


def test_marks_are_written_where_the_plan_has_them_and_the_body_stays_as_it_is() -> None:
    body = claude("Who?", [{"type": "text", "text": "You."}], "Why?", tools=[tool("write"), tool("look")])
    before = copy.deepcopy(body)
    sent = PrefixOptimizer(CLAUDE).sending(body, "anthropic")
    assert body == before
    assert [(one["name"], one.get("cache_control")) for one in sent["tools"]] == [("look", None), ("write", HOUR)]
    assert sent["system"] == [{"type": "text", "text": HANDBOOK, "cache_control": HOUR}]
    assert sent["messages"][-1]["content"] == [{"type": "text", "text": "Why?", "cache_control": MINUTES}]
    assert "cache_control" not in json.dumps(sent["messages"][:-1])


def test_breakpoints_of_the_application_stay_and_a_plan_adds_no_more_than_fit() -> None:
    marked = [{"type": "text", "text": "Who?", "cache_control": MINUTES}]
    body = claude(marked, "You.", marked, "You.", [*marked, {"type": "text", "text": "Why?"}])
    sent = PrefixOptimizer(CLAUDE).sending(body, "anthropic")
    assert sent["messages"][0]["content"] == sent["messages"][2]["content"] == marked
    assert sent["messages"][-1]["content"][0] == marked[0]
    assert sent["system"][0]["cache_control"] == HOUR
    assert json.dumps(sent).count("cache_control") == 4
    full = claude(
        marked, "You.", marked, "You.", [*marked, {"type": "text", "text": "Why?"}], cache_control=MINUTES
    )
    assert PrefixOptimizer(CLAUDE).sending(full, "anthropic") == full


def test_a_breakpoint_is_never_shorter_than_one_behind_it_nor_longer_than_one_before_it() -> None:
    hour = [{"type": "text", "text": "Who?", "cache_control": HOUR}]
    minutes = [{"type": "text", "text": HANDBOOK, "cache_control": MINUTES}]
    short = plan_for("anthropic", "claude-opus-4-8", Mark(LAST_BLOCK, "5m"))
    assert PrefixOptimizer(short).sending(claude(hour), "anthropic")["system"][0]["cache_control"] == HOUR
    long = plan_for("anthropic", "claude-opus-4-8", Mark(TAIL, "1h"))
    sent = PrefixOptimizer(long).sending(claude("Who?", system=minutes), "anthropic")
    assert sent["messages"][0]["content"][0]["cache_control"] == MINUTES


def test_thinking_and_empty_texts_are_not_marked() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    body = claude("Who?", [{"type": "text", "text": "You."}, thought, {"type": "text", "text": ""}])
    sent = PrefixOptimizer(CLAUDE).sending(body, "anthropic")
    assert [one.get("cache_control") for one in sent["messages"][-1]["content"]] == [MINUTES, None, None]


def test_tools_and_their_json_have_one_order_and_properties_that_of_their_first_time() -> None:
    optimizer, turned = PrefixOptimizer(CLAUDE), tool("look")
    turned = dict(reversed(turned.items()))
    schema = turned["input_schema"] = dict(reversed(turned["input_schema"].items()))
    schema["properties"] = dict(reversed(schema["properties"].items()))
    first, second = (
        json.dumps(optimizer.sending(claude("Who?", tools=tools), "anthropic")["tools"])
        for tools in ([tool("write"), tool("look")], [turned, tool("write")])
    )
    assert first == second
    assert first.index("place") < first.index("day")


def test_the_same_tools_stand_before_the_breakpoints_of_the_application() -> None:
    marked, deferred = {**tool("look"), "cache_control": MINUTES}, {**tool("zip"), "defer_loading": True}
    sent = PrefixOptimizer(plan_for("anthropic", "claude-opus-4-8")).sending(
        claude("Who?", tools=[deferred, tool("write"), marked, tool("call"), tool("bill")]), "anthropic"
    )
    assert [(one["name"], one.get("cache_control")) for one in sent["tools"]] == [
        ("zip", None),
        ("look", None),
        ("write", MINUTES),
        ("bill", None),
        ("call", None),
    ]


def test_values_in_the_schema_of_a_tool_keep_their_order() -> None:
    value = {"required": ["b", "a"], "also": 1}
    schema = {"type": "object", "properties": {"x": {"enum": [value], "default": value, "examples": [value]}}}
    before = {"name": "look", "input_schema": schema, "input_examples": [{"x": value}]}
    plan = plan_for("anthropic", "claude-opus-4-8")
    [after] = PrefixOptimizer(plan).sending(claude("Who?", tools=[before]), "anthropic")["tools"]
    for place in (lambda one: one["input_schema"]["properties"]["x"].values(), lambda one: one["input_examples"]):
        assert sorted(map(json.dumps, place(after))) == sorted(map(json.dumps, place(before)))


def test_a_deferred_tool_is_not_marked_and_breakpoints_inside_a_result_count_too() -> None:
    parts = [{"type": "text", "text": "Group 7.", "cache_control": MINUTES}] * 2
    result = {"type": "tool_result", "tool_use_id": "1", "content": parts}
    call = {"type": "tool_use", "id": "1", "name": "look", "input": {}}
    deferred = {**tool("write"), "defer_loading": True}
    sent = PrefixOptimizer(CLAUDE).sending(
        claude("Who?", [call], [result], tools=[tool("look"), deferred]), "anthropic"
    )
    assert [one.get("cache_control") for one in sent["tools"]] == [None, HOUR]
    assert json.dumps(sent).count("cache_control") == 4
    assert "cache_control" not in sent["messages"][-1]["content"][-1]


def test_what_cannot_be_changed_is_sent_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    def broken(text: str) -> int:
        raise RuntimeError(f"no tokenizer for {text}")

    body = claude("Who?")
    optimizer = PrefixOptimizer(count_tokens=broken)
    assert optimizer.sending(body, "anthropic") is optimizer.sending(body, "anthropic") is body
    stored = {"model": "gpt-5", "prompt": {"id": "pmpt_1"}}  # what is sent then stands at the provider
    assert PrefixOptimizer().sending(stored, "openai") == stored
    assert len(caplog.records) == 2
    assert "RuntimeError" in caplog.text and "People" not in caplog.text


def test_the_requests_that_are_stored_for_plans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.prefix.optimize.optimizer._MOST_REQUESTS_IN_ALL", 10)
    optimizer = PrefixOptimizer()
    for number in range(30):
        optimizer.start(claude("Who?", tools=[tool(f"tool{number % 15 % 8}")]), "anthropic").answered(None)
    assert sum(len(one.watched) for one in optimizer._families.values()) == 10


def test_a_key_and_a_retention_of_the_application_stay() -> None:
    plan = plan_for("openai", "gpt-5", keys=4, retention="24h")
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": "Who?"}]}
    sent = PrefixOptimizer(plan).sending(body, "openai")
    assert sent["prompt_cache_key"].startswith("askonce-")
    assert sent["prompt_cache_retention"] == "24h"
    own = {**body, "prompt_cache_key": "mine", "prompt_cache_retention": "in_memory"}
    assert PrefixOptimizer(plan).sending(own, "openai") == own


@pytest.mark.parametrize("allowed", [False, True])
def test_a_longer_retention_is_only_proposed_unless_it_is_allowed(allowed: bool) -> None:
    reported: list[str] = []
    now = 0.0
    optimizer = PrefixOptimizer(longer_retention=allowed, on_message=reported.append, clock=lambda: now)
    for number in range(60):
        dialogue = [{"role": "system", "content": HANDBOOK}, {"role": "user", "content": f"Who is {number}?"}]
        request = optimizer.start({"model": "gpt-5", "messages": dialogue}, "openai")
        request.answered(Usage(2800, 5))
        now += 2400
        if number % 10 == 0 and not optimizer.plans():
            optimizer.replan()
    assert request.body.get("prompt_cache_retention") == ("24h" if allowed and optimizer.plans() else None)
    assert any("longer_retention=True" in line for line in reported) is not allowed


@pytest.mark.parametrize("kind", ["messages", "input"])
def test_breakpoints_of_gpt_5_6_stand_on_parts_of_messages(kind: str) -> None:
    dialogue = [{"role": "system", "content": HANDBOOK}, {"role": "user", "content": "Who?"}]
    sent = PrefixOptimizer(plan_for("openai", "gpt-5.6", Mark(Slot("system", -1), "30m"))).sending(
        {"model": "gpt-5.6", kind: dialogue}, "openai"
    )
    assert "prompt_cache_options" not in sent  # the provider's own breakpoint stays
    [part] = sent[kind][0]["content"]
    assert part["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert part["type"] == ("text" if kind == "messages" else "input_text")
    assert "prompt_cache_breakpoint" not in json.dumps(sent[kind][1])


# -- the content stays ------------------------------------------------------------------------------------------


def bodies(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A body of a request of any form, with marks of others, deferred tools, thinking, images and empty texts."""

    def marked() -> dict[str, Any]:
        return {"cache_control": MINUTES} if chance.random() < 0.2 else {}

    def part() -> dict[str, Any]:
        inner = [{"type": "text", "text": "7", **marked()}]
        return chance.choice(
            [
                {"type": "text", "text": HANDBOOK, **marked()},
                {"type": "text", "text": ""},
                {"type": "image", "source": {"type": "base64", "data": "AA"}, **marked()},
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "tool_use", "id": "1", "name": "look", "input": {"b": 1, "a": [2, 1]}},
                {"type": "tool_result", "tool_use_id": "1", "content": inner, **marked()},
            ]
        )

    def one_tool() -> dict[str, Any]:
        schema = {
            "type": "object",
            "required": chance.sample("xyz", 2),
            "properties": {name: {"type": "string"} for name in chance.sample(["x", "y", "z", "required"], 3)},
        }
        more = {"defer_loading": True} if chance.random() < 0.3 else marked()
        return {"name": f"tool{chance.randrange(99)}", "input_schema": schema, **more}

    roles = ["user", "assistant"] * 10
    dialogue = [
        {"role": role, "content": chance.choice(["Who?", "", [part() for _ in range(chance.randrange(1, 5))]])}
        for role in roles[: chance.randrange(1, 20)]
    ]
    tools = [one_tool() for _ in range(chance.randrange(5))]
    if chance.random() < 0.5:
        system: Any = chance.choice(["", HANDBOOK, [{"type": "text", "text": HANDBOOK, **marked()}] * 3])
        return "anthropic", {"model": "claude-opus-4-8", "system": system, "messages": dialogue, "tools": tools}
    for one in dialogue:
        one["content"] = chance.choice(["Who?", HANDBOOK, [{"type": "text", "text": HANDBOOK}] * 2])
    for one in tools:
        one.pop("cache_control", None)
    return "openai", {"model": chance.choice(["gpt-5.6", "gpt-5"]), "messages": dialogue, "tools": tools}


def seen(value: Any) -> Any:
    """What a model sees of a body, or of a part of it: no marks, no keys, and sets where order says nothing."""
    if isinstance(value, list):
        return [seen(one) for one in value]
    if not isinstance(value, dict):
        return value
    rest = {name: seen(item) for name, item in value.items() if "cache" not in name}
    for name in ("system", "content"):
        if isinstance(rest.get(name), str):
            rest[name] = [{"type": "text", "text": rest[name]}] if rest[name] else []
    for name in ("tools", "required"):
        if isinstance(rest.get(name), list):
            rest[name] = sorted(rest[name], key=lambda one: json.dumps(one, sort_keys=True))
    return rest


def breakpoints(value: Any) -> list[str]:
    """What is marked in a body, each as JSON without its breakpoint."""
    found = []
    if isinstance(value, list):
        found = [one for item in value for one in breakpoints(item)]
    elif isinstance(value, dict):
        if "cache_control" in value:
            found = [json.dumps({name: seen(item) for name, item in value.items() if name != "cache_control"})]
        found += [one for item in value.values() for one in breakpoints(item)]
    return found


def test_no_plan_changes_what_a_model_sees_or_takes_a_breakpoint_away_or_is_refused_for_its_own() -> None:
    chance = random.Random(7)
    slots = [LAST_TOOL, Slot("system", -1), LAST_BLOCK, Slot("messages", 0), Slot("messages", 2), TAIL]
    for _ in range(400):
        provider, body = bodies(chance)
        rule = rule_for(provider, body["model"])
        assert rule is not None
        names = [one.name for one in rule.lifetimes]
        several = sorted(chance.sample(range(len(slots)), chance.randrange(5)))
        hours = chance.randrange(len(several) + 1)
        marks = [Mark(slots[at], names[-1 if number < hours else 0]) for number, at in enumerate(several)]
        plan = plan_for(provider, body["model"], *(() if rule.marking == "automatic" else marks), keys=4)
        before = copy.deepcopy(body)
        sent = PrefixOptimizer(plan).sending(body, provider)
        assert body == before
        assert seen(sent) == seen(before)
        assert PrefixOptimizer().sending(body, provider) is body
        places = ("system", "messages") if any("cache_control" in one for one in body["tools"]) else tuple(body)
        stay = Counter(one for name in places for one in breakpoints(body[name]))
        assert stay <= Counter(one for name in places for one in breakpoints(sent[name]))
        own, ttls = (
            re.findall(r'"cache_control": \{(.*?)\}', "".join(json.dumps(one.get(name)) for name in LEVELS))
            for one in (body, sent)
        )
        assert len(ttls) <= max(4, len(own))
        assert ttls == sorted(ttls, key=lambda one: "1h" not in one)  # those of an hour must come first
        if not any("cache_control" in one and "defer_loading" in one for one in body["tools"]):
            assert not any("cache_control" in one and "defer_loading" in one for one in sent["tools"])


LEVELS = ("tools", "system", "messages")


# -- clients ---------------------------------------------------------------------------------------------------


def test_a_client_of_the_sdk_is_optimized_and_the_original_is_not() -> None:
    with Provider() as provider:
        with anthropic.Anthropic(base_url=provider.anthropic_url, api_key="none", max_retries=0) as client:
            optimized = optimize_prefix(client, PrefixOptimizer(CLAUDE))
            for one in (
                optimized,
                optimized.with_options(timeout=9).copy(),
                client,
                client.with_options(timeout=9),
            ):
                one.messages.create(**claude("Who?"))
            with optimized.messages.stream(**claude("Why?")) as stream:
                stream.get_final_message()
        first, second, *plain, streamed = provider.ledger
    assert first.written and second.read == sum(first.written.values())
    assert not any(one.read or one.written for one in plain)
    assert streamed.read
    with pytest.raises(ConfigError, match="str"):
        optimize_prefix("client", PrefixOptimizer())


def test_answers_of_the_sdk_may_be_given_back() -> None:
    with Provider() as provider, openai.OpenAI(base_url=provider.openai_url, api_key="none") as client:
        provider.answer = lambda request: Answer("", (ToolCall("look", {"day": 1}),))
        optimized = optimize_prefix(client, PrefixOptimizer())
        dialogue: list[Any] = [{"role": "system", "content": HANDBOOK}, {"role": "user", "content": "Who?"}]
        for one in (client, optimized):
            message = one.chat.completions.create(model="gpt-4o", messages=dialogue).choices[0].message
            assert message.tool_calls
            result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "7"}
            one.chat.completions.create(model="gpt-4o", messages=(each for each in [*dialogue, message, result]))
            output: Any = one.responses.create(model="gpt-4o", input=dialogue).output
            one.responses.create(model="gpt-4o", input=[*dialogue, *output])
        rows = [(row.interface, row.input) for row in provider.ledger]
        assert rows[:4] == rows[4:]


class Converse(BaseHTTPRequestHandler):
    """Takes in what is sent to Bedrock."""

    def do_POST(self) -> None:
        bodies: list[Any] = self.server.bodies  # type: ignore[attr-defined]
        bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = {
            "output": {"message": {"role": "assistant", "content": [{"text": "You."}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            "metrics": {"latencyMs": 1},
        }
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def bedrock() -> Iterator[tuple[Any, list[Any]]]:
    """A client of boto3, and the bodies that it has sent."""
    with HTTPServer(("127.0.0.1", 0), Converse) as server:
        server.bodies = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            aws_access_key_id="none",
            aws_secret_access_key="none",
        )
        yield client, server.bodies  # type: ignore[attr-defined]
        client.close()
        server.shutdown()


def test_what_a_boto3_client_sends_to_bedrock_is_optimized(bedrock: tuple[Any, list[Any]]) -> None:
    client, bodies = bedrock
    model = "anthropic.claude-opus-4-8-v1:0"
    marks = Mark(LAST_TOOL, "5m"), Mark(LAST_BLOCK, "5m"), Mark(TAIL, "5m")
    optimized = optimize_prefix(client, PrefixOptimizer(plan_for("bedrock", model, *marks)))
    specs = [
        {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}} for name in ("write", "look")
    ]
    request: dict[str, Any] = {
        "modelId": model,
        "system": [{"text": HANDBOOK}],
        "messages": [{"role": "user", "content": [{"text": "Who?"}]}],
        "toolConfig": {"tools": specs},
    }
    optimized.converse(**request)
    client.converse(**request)
    point = {"cachePoint": {"type": "default"}}
    changed, plain = bodies
    assert [list(one) for one in changed["toolConfig"]["tools"]] == [
        ["toolSpec"],
        ["toolSpec"],
        ["cachePoint"],
    ]
    assert changed["toolConfig"]["tools"][0]["toolSpec"]["name"] == "look"
    assert changed["system"] == [{"text": HANDBOOK}, point]
    assert changed["messages"][0]["content"] == [{"text": "Who?"}, point]
    assert "cachePoint" not in json.dumps(plain)
    with pytest.raises(ConfigError, match="str"):
        optimize_prefix("client", PrefixOptimizer())
