"""Laws of the diagnosis: what is sent again is read, and what is changed is named."""

from __future__ import annotations

import copy
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askonce.entries.entry import Usage
from askonce.prefix import PrefixTracker
from askonce.prefix.tracking.diagnosis import Cause, Diagnosis
from askonce.testing import FakeClock

Json = dict[str, Any]
MODELS = ("gpt-4o", "gpt-5.6", "claude-sonnet-4-5")


def count(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def text(seed: object) -> str:
    rng = random.Random(str(seed))
    return " ".join("".join(rng.choices("abcdefgh", k=rng.randint(2, 8))) for _ in range(450))


def request(model: str) -> Json:
    """Two tools, a system prompt, and three messages, each of some 450 tokens."""
    texts = [text(number) for number in range(6)]
    dialogue = [
        {"role": role, "content": one} for role, one in zip(("user", "assistant", "user"), texts[3:], strict=True)
    ]
    if model.startswith("claude"):
        system = [{"type": "text", "text": texts[2], "cache_control": {"type": "ephemeral"}}]
        tools = [
            {"name": name, "description": one, "input_schema": {}} for name, one in zip("ab", texts, strict=False)
        ]
        messages = copy.deepcopy(dialogue)
        messages[-1]["content"] = [{"type": "text", "text": texts[5], "cache_control": {"type": "ephemeral"}}]
        return {"model": model, "tools": tools, "system": system, "messages": messages}
    functions = [
        {"type": "function", "function": {"name": n, "description": t}} for n, t in zip("ab", texts, strict=False)
    ]
    return {"model": model, "tools": functions, "messages": [{"role": "system", "content": texts[2]}, *dialogue]}


LABELS = {
    "gpt": ["tool a", "tool b", "system prompt", "message 2 (user)", "message 3 (assistant)", "message 4 (user)"],
    "cla": ["tool a", "tool b", "system prompt", "message 1 (user)", "message 2 (assistant)", "message 3 (user)"],
}


def observe(tracker: PrefixTracker, payload: Json) -> Diagnosis:
    """A provider that does just what the rule says."""
    call = tracker.start(payload, "anthropic" if payload["model"].startswith("claude") else "openai")
    usage = Usage(call.chain.tokens, 1, call.prediction.read_tokens, sum(call.prediction.written_tokens.values()))
    diagnosis = call.finish(usage, 0.1)
    assert diagnosis is not None
    return diagnosis


def changed(payload: Json, segment: int, place: int) -> Json:
    """The payload with another character at a place of one segment's text."""
    texts = [text(number) for number in range(6)]
    other = texts[segment][:place] + "X" + texts[segment][place + 1 :]

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return other if value == texts[segment] else value

    return walk(payload)  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_sent_again_is_read_as_far_as_the_rule_allows(model: str) -> None:
    clock = FakeClock()
    tracker = PrefixTracker("memory://", count_tokens=count, clock=clock)
    assert observe(tracker, request(model)).cause is Cause.FIRST_SEEN
    clock.advance(1)
    again = observe(tracker, request(model))
    whole = again.input_tokens // 128 * 128 if model == "gpt-4o" else again.input_tokens
    assert (again.cause, again.read_tokens, again.lost_tokens) == (Cause.HIT, whole, 0)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=25, deadline=None)
@given(segment=st.integers(0, 5), place=st.integers(0, 1500))
def test_a_segment_that_changed_by_one_character_is_named(model: str, segment: int, place: int) -> None:
    clock = FakeClock()
    tracker = PrefixTracker(count_tokens=count, clock=clock, keep_text=True)
    observe(tracker, request(model))
    clock.advance(1)
    place = min(place, len(text(segment)) - 1)
    broken = observe(tracker, changed(request(model), segment, place))
    if broken.input_tokens - broken.read_tokens < 128 + 32:
        return  # so near the end that next to nothing is lost
    assert (broken.cause, broken.segment) == (Cause.BROKEN, LABELS[model[:3]][segment])
    assert broken.difference is not None
    assert "X" in broken.difference.now
    assert broken.readable_tokens > 0.9 * broken.input_tokens  # all but the piece around the change


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("change", ["model", "cache key", "parameter"])
def test_what_else_changed_is_named(model: str, change: str) -> None:
    clock = FakeClock()
    tracker = PrefixTracker("memory://", count_tokens=count, clock=clock)
    payload = request(model)
    claude = model.startswith("claude")
    observe(tracker, payload)
    clock.advance(1)
    if change == "model":
        other, name = payload | {"model": f"{model}-next"}, "model"
    elif change == "parameter":
        name = "tool_choice" if claude else "response_format"
        other = payload | {name: {"type": "any"}}
    elif claude:
        return  # Anthropic has no such key
    else:
        other, name = payload | {"prompt_cache_key": "shop"}, "cache key"
    diagnosis = observe(tracker, other)
    assert (diagnosis.cause, diagnosis.changed) == (Cause.CHANGED, name)


def test_a_conversation_that_goes_on_is_no_loss_to_another_one() -> None:
    clock = FakeClock()
    tracker = PrefixTracker("memory://", count_tokens=count, clock=clock)
    dialogue: list[list[Json]] = [[], []]
    causes = []
    for turn in range(8):
        conversation = dialogue[turn % 2]
        conversation.append({"role": "user", "content": text((turn, "asked"))})
        messages = [{"role": "system", "content": text(0) * 4}, *conversation]
        causes.append(observe(tracker, {"model": "gpt-4o", "messages": messages}).cause)
        conversation.append({"role": "assistant", "content": text((turn, "answered"))})
        clock.advance(10)
    assert causes == [Cause.FIRST_SEEN] + [Cause.HIT] * 7


def test_a_clock_is_named_although_another_application_calls_the_same_model_in_between() -> None:
    with PrefixTracker("memory://", count_tokens=count, clock=FakeClock()) as tracker:
        for minute in range(4):
            for name, clock in (("shop", f"It is 10:0{minute}. "), ("bank", "")):
                system = clock + text(name) * 4
                dialogue = [
                    {"role": "system", "content": system},
                    {"role": "user", "content": text((name, minute))},
                ]
                seen = observe(tracker, {"model": "gpt-4o", "messages": dialogue})
                if name == "shop" and minute:
                    assert (seen.cause, seen.segment) == (Cause.BROKEN, "system prompt")
