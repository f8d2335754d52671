"""The emulated provider keeps the providers' rules: called by their own clients, counted by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from genai_prices import Usage, calc_price

from askonce.testing import FakeClock
from tests.support.provider import MODELS, Answer, Call, Model, Provider, count

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOL_TOKENS = 37  # {"type":"function","function":{"name":"look","parameters":{"type":"object"}}}
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def words(number: int, seed: str = "w") -> str:
    return " ".join(f"{seed}{index}" for index in range(number))


@pytest.fixture(scope="module")
def serving() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(serving: Provider, clock: FakeClock) -> Provider:
    serving.forget()
    serving.clock, serving.answer = clock, lambda request: Answer()
    return serving


@pytest.fixture(scope="module")
def gpt(serving: Provider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=serving.openai_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(serving: Provider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=serving.anthropic_url, api_key="none", max_retries=0) as client:
        yield client


def chat(gpt: openai.OpenAI, *texts: str, model: str = "gpt-4.1", **more: Any) -> tuple[int, int]:
    """Prompt tokens and cached tokens of a system prompt and what the user and the model wrote in turn."""
    roles = ["system", *(["user", "assistant"] * len(texts))]
    messages: Any = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    usage = gpt.chat.completions.create(model=model, messages=messages, **more).usage
    assert usage and usage.prompt_tokens_details
    return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens or 0


def newer(gpt: openai.OpenAI, messages: Any, **more: Any) -> tuple[int, int, int]:
    """Read, written and other tokens of GPT-5.6."""
    usage = gpt.chat.completions.create(model="gpt-5.6-sol", messages=messages, **more).usage
    assert usage and usage.prompt_tokens_details
    details = usage.prompt_tokens_details
    read, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    return read, written, usage.prompt_tokens - read - written


def message(role: str, text: str, *, marked: bool = False) -> Any:
    part: Any = {"type": "text", "text": text}
    if marked:
        part["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return {"role": role, "content": [part]}


def block(text: str, mark: Any = None) -> Any:
    return {"type": "text", "text": text, **({"cache_control": mark} if mark else {})}


def read_and_written(
    claude: anthropic.Anthropic, system: Any, *messages: Any, **more: Any
) -> tuple[int, int, int, int]:
    """Read, written for 5 minutes, written for an hour, and other tokens."""
    turns: Any = [
        {"role": ("user", "assistant")[turn % 2], "content": content} for turn, content in enumerate(messages)
    ]
    request = {"model": "claude-sonnet-5", "max_tokens": 99, **more}
    usage = claude.messages.create(system=system, messages=turns, **request).usage
    assert usage.cache_creation
    split = usage.cache_creation.ephemeral_5m_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens
    assert usage.cache_creation_input_tokens == sum(split)
    return usage.cache_read_input_tokens or 0, *split, usage.input_tokens


# --- OpenAI before GPT-5.6 ------------------------------------------------------------------------


def test_a_known_prefix_is_read_in_steps_of_128_tokens(provider: Provider, gpt: openai.OpenAI) -> None:
    assert chat(gpt, words(1500), "one two") == (1510, 0)  # 4 + 1500 + 4 + 2
    assert chat(gpt, words(1500), "three") == (1509, 1408)  # 11 × 128; 12 × 128 is past the end
    assert chat(gpt, words(1500), "one two", "yes", words(200), tools=[TOOL]) == (1719 + TOOL_TOKENS, 0)
    assert chat(gpt, words(1500) + " more", "one two") == (1511, 1408)  # tokens match, not whole messages
    assert chat(gpt, "a " + words(1500), "one two") == (1511, 0)
    assert [row.why for row in provider.ledger[1:4]] == ["", "nothing longer known", ""]


def test_a_prompt_below_1024_tokens_is_not_cached(provider: Provider, gpt: openai.OpenAI) -> None:
    assert [chat(gpt, words(1014), "a") for _ in range(2)] == [(1023, 0)] * 2
    assert provider.ledger[-1].why == "too short"
    assert [chat(gpt, words(1015), "a") for _ in range(2)] == [(1024, 0), (1024, 1024)]


def test_a_prefix_is_cached_five_minutes_after_its_last_use_and_an_hour_at_most(
    provider: Provider, gpt: openai.OpenAI, clock: FakeClock
) -> None:
    cached = []
    for seconds in (0, 299, 299, 300, *[240] * 14, 241):
        clock.advance(seconds)
        cached.append(chat(gpt, words(1500), "hi")[1] > 0)
    assert cached == [False, True, True, False, *[True] * 14, False]
    clock.advance(3600)
    assert not chat(gpt, words(1500), "hi", prompt_cache_retention="24h")[1]
    clock.advance(86_399)
    assert chat(gpt, words(1500), "hi", prompt_cache_retention="24h")[1]
    assert provider.ledger[3].why == "expired"


def test_more_than_fifteen_requests_a_minute_reach_another_machine(
    provider: Provider, gpt: openai.OpenAI, clock: FakeClock
) -> None:
    def burst(**more: Any) -> list[bool]:
        return [chat(gpt, words(1500), f"question {number}", **more)[1] > 0 for number in range(17)]

    assert burst() == [False, *[True] * 14, False, True]
    assert provider.ledger[15].why == "another machine"
    clock.advance(60)
    assert chat(gpt, words(1500), "later")[1]
    assert [chat(gpt, words(1500), "q", prompt_cache_key=key)[1] > 0 for key in ("a", "bb", "a")][-1]


def test_settings_that_change_the_instructions_change_the_prefix(provider: Provider, gpt: openai.OpenAI) -> None:
    chat(gpt, words(1500), "hi", tools=[TOOL])
    assert chat(gpt, words(1500), "hi", tools=[TOOL], tool_choice="none", temperature=1)[1]
    assert not chat(gpt, words(1500), "hi", tools=[TOOL], parallel_tool_calls=False)[1]
    assert not chat(gpt, words(1500), "hi", tools=[TOOL], response_format={"type": "json_object"})[1]
    assert not chat(gpt, words(1500), "hi", tools=[TOOL], model="gpt-4o")[1]


def test_models_before_5_6_refuse_breakpoints(provider: Provider, gpt: openai.OpenAI) -> None:
    for more in ({"prompt_cache_options": {"mode": "explicit"}}, {"prompt_cache_retention": "24h"}):
        with pytest.raises(openai.BadRequestError, match="not supported with this model"):
            chat(gpt, "hi", "ho", model="gpt-4o", **more)
    with pytest.raises(openai.BadRequestError, match="prompt_cache_breakpoint is not supported"):
        gpt.chat.completions.create(model="gpt-4o", messages=[message("user", "hi", marked=True)])
    with pytest.raises(openai.NotFoundError):
        chat(gpt, "hi", "ho", model="claude-sonnet-5")


# --- OpenAI from GPT-5.6 on -----------------------------------------------------------------------


def test_the_implicit_breakpoint_stands_after_the_latest_message(provider: Provider, gpt: openai.OpenAI) -> None:
    first = [message("system", words(1000)), message("user", words(50))]
    assert newer(gpt, first) == (0, 1058, 0)
    assert newer(gpt, first) == (1058, 0, 0)
    grown = [*first, message("assistant", "yes"), message("user", words(10, "x"))]
    assert newer(gpt, grown) == (1058, 5 + 14, 0)
    assert newer(gpt, [first[0], message("user", "something else")]) == (0, 0, 1010)
    assert provider.ledger[-1].why == "too short"
    other = (
        [message("system", words(1100)), message("user", "a")],
        [message("system", words(1100)), message("user", "b")],
    )
    assert [newer(gpt, one) for one in other] == [(0, 1109, 0)] * 2  # no way back to an end that was not written
    assert newer(gpt, other[0][:1]) == (0, 1104, 0)
    assert newer(gpt, [other[0][0], message("user", "c")]) == (1104, 5, 0)  # the end of the first instructions is


def test_explicit_breakpoints_are_written_and_read_exactly(
    provider: Provider, gpt: openai.OpenAI, clock: FakeClock
) -> None:
    explicit = {"mode": "explicit"}
    marked = message("system", words(1200), marked=True)
    assert newer(gpt, [marked, message("user", "a b")], prompt_cache_options=explicit) == (0, 1204, 6)
    assert newer(gpt, [marked, message("user", "c")], prompt_cache_options=explicit) == (1204, 0, 5)
    assert newer(gpt, [marked, message("user", "c")]) == (1204, 5, 0)
    plain = [message("system", words(1200)), message("user", "c")]
    assert newer(gpt, plain, prompt_cache_options=explicit) == (0, 0, 1209)
    assert provider.ledger[-1].why == "not marked"
    assert newer(gpt, [marked, message("user", "c")], prompt_cache_key="other") == (0, 1209, 0)
    clock.advance(1799)
    assert newer(gpt, [marked], prompt_cache_options=explicit) == (1204, 0, 0)
    clock.advance(1799)
    assert newer(gpt, [marked], prompt_cache_options=explicit) == (1204, 0, 0)
    clock.advance(1800)
    assert newer(gpt, [marked], prompt_cache_options=explicit) == (0, 1204, 0)


def test_four_breakpoints_are_written_of_which_the_implicit_one_takes_one(
    provider: Provider, gpt: openai.OpenAI
) -> None:
    marked = [message("user", words(1100, f"p{number}_"), marked=True) for number in range(5)]
    assert newer(gpt, marked[:5], prompt_cache_options={"mode": "explicit"})[1] == 5 * 1104
    reads = [newer(gpt, marked[:number], prompt_cache_options={"mode": "explicit"})[0] for number in range(1, 6)]
    assert reads == [0, *(1104 * number for number in range(2, 6))]  # the first of five was not written


# --- Anthropic ------------------------------------------------------------------------------------


def test_a_mark_writes_and_a_later_mark_looks_back(provider: Provider, claude: anthropic.Anthropic) -> None:
    system = [block(words(1500), MARK)]
    assert read_and_written(claude, system, "hi") == (0, 1500, 0, 5)
    assert read_and_written(claude, system, "what else") == (1500, 0, 0, 6)
    assert read_and_written(claude, [block(words(1500))], "what else") == (0, 0, 0, 1506)
    assert provider.ledger[-1].why == "not marked"
    assert read_and_written(claude, [block(words(1500))], [block("go on", MARK)]) == (1500, 6, 0, 0)
    assert read_and_written(claude, system, [block("go on")], "yes", [block("then", MARK)]) == (1506, 5 + 5, 0, 0)
    assert read_and_written(claude, system, "go on", "yes", "then", cache_control=MARK)[:2] == (1516, 0)


def test_a_prefix_below_the_minimum_of_its_model_is_not_cached(
    provider: Provider, claude: anthropic.Anthropic
) -> None:
    minimum = {"claude-opus-5": 512, "claude-opus-4-8": 1024, "claude-opus-4-7": 2048, "claude-haiku-4-5": 4096}
    for model, tokens in minimum.items():
        assert read_and_written(claude, [block(words(tokens - 1), MARK)], "a", model=model) == (0, 0, 0, tokens + 4)
        assert read_and_written(claude, [block(words(tokens), MARK)], "a", model=model) == (0, tokens, 0, 5)


def test_a_mark_looks_back_over_twenty_positions_and_a_run_of_results_is_one(
    provider: Provider, claude: anthropic.Anthropic
) -> None:
    system = [block(words(1500), MARK)]
    read_and_written(claude, system, "hi")

    def after(blocks: int) -> tuple[int, ...]:
        return read_and_written(claude, [block(words(1500))], [*[block("a")] * (blocks - 1), block("b", MARK)])

    assert after(19) == (1500, 23, 0, 0)
    assert after(20)[0] == 0
    assert provider.ledger[-1].why == "out of reach"
    provider.forget()
    read_and_written(claude, system, "hi")
    calls: Any = [{"type": "tool_use", "id": f"t{number}", "name": "look", "input": {}} for number in range(30)]
    results: Any = [
        {"type": "tool_result", "tool_use_id": f"t{number}", "content": "so it is"} for number in range(30)
    ]
    results[-1]["cache_control"] = MARK
    assert read_and_written(claude, [block(words(1500))], "hi", calls, results) == (1500, 5 + 4 + 90 + 4 + 90, 0, 0)


def test_lifetimes_are_five_minutes_or_an_hour_and_renewed_by_reads(
    provider: Provider, claude: anthropic.Anthropic, clock: FakeClock
) -> None:
    system = [block(words(1100, "a"), HOUR), block(words(100, "b"), MARK)]
    assert read_and_written(claude, system, [block("hi there", MARK)]) == (0, 106, 1100, 0)
    clock.advance(299)
    assert read_and_written(claude, system, "ho") == (1200, 0, 0, 5)
    clock.advance(299)
    assert read_and_written(claude, system, "ho") == (1200, 0, 0, 5)
    clock.advance(300)
    assert read_and_written(claude, system, "ho") == (1100, 100, 0, 5)
    assert provider.ledger[-1].why == "expired"
    clock.advance(3599)
    assert read_and_written(claude, system[:1], "ho") == (1100, 0, 0, 5)
    clock.advance(3600)
    assert read_and_written(claude, system[:1], "ho") == (0, 0, 1100, 5)
    row = provider.ledger[0]
    assert row.usd == pytest.approx(
        (106 * 1.25 + 1100 * 2) * 2 / 1e6 + count("The answer is forty-two.") * 10 / 1e6
    )


def test_five_marks_and_an_hour_after_five_minutes_are_refused(
    provider: Provider, claude: anthropic.Anthropic
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"maximum of 4 blocks with cache_control.*Found 5"):
        read_and_written(claude, [block("a", MARK)] * 4, [block("b", MARK)])
    with pytest.raises(anthropic.BadRequestError, match=r"ttl='1h' .* must not come after a ttl='5m'"):
        read_and_written(claude, [block("a", MARK)], [block("b", HOUR)])
    assert not provider.ledger


def test_a_change_loses_its_level_and_the_later_ones(provider: Provider, claude: anthropic.Anthropic) -> None:
    tool: Any = {
        "name": "look",
        "input_schema": {"type": "object"},
        "description": words(1100),
        "cache_control": MARK,
    }
    tokens = 1100 + count('{"name":"look","input_schema":{"type":"object"},"description":""}')
    system, question = [block("be brief", MARK)], [block("hi", MARK)]
    assert read_and_written(claude, system, question, tools=[tool]) == (0, tokens + 2 + 5, 0, 0)
    assert read_and_written(claude, system, question, tools=[tool], tool_choice={"type": "any"})[0] == tokens + 2
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert read_and_written(claude, system, [picture, *question], tools=[tool]) == (tokens + 2, 4 + 85 + 1, 0, 0)
    assert read_and_written(claude, [block("be long", MARK)], question, tools=[tool])[0] == tokens
    reordered = {"input_schema": tool["input_schema"], **tool}
    assert read_and_written(claude, system, question, tools=[reordered])[0] == 0
    assert read_and_written(claude, system, question, tools=[tool], model="claude-opus-4-8")[0] == 0


# --- Streams and tools ----------------------------------------------------------------------------


def test_streams_end_with_the_usage_that_a_whole_answer_has(
    provider: Provider, gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    provider.answer = lambda request: Answer("Let me look.", (Call("look", {"q": "red shoes"}), Call("look")))
    messages: Any = [message("user", words(1100))]
    for model, cached in (("gpt-4.1", 1024), ("gpt-5.6-sol", 1104)):
        request: Any = {"model": model, "messages": messages, "tools": []}
        gpt.chat.completions.create(**request)
        with gpt.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
            completion = stream.get_final_completion()
        assert completion.usage and completion.usage.prompt_tokens_details
        assert completion.usage.prompt_tokens_details.cached_tokens == cached
        calls = completion.choices[0].message.tool_calls or []
        assert [call.function.arguments for call in calls] == ['{"q": "red shoes"}', "{}"]
        with gpt.responses.stream(model=model, input=words(1100)) as events:
            response = events.get_final_response()
        assert response.output_text == "Let me look." and response.usage
        assert response.usage.input_tokens_details.cached_tokens == cached  # another interface, the same prompt
        assert response.usage.output_tokens == provider.ledger[-1].output == 4 + (1 + 10) + (1 + 2)
    for cached in (0, 1100):
        with claude.messages.stream(
            model="claude-sonnet-5",
            max_tokens=99,
            system=[block(words(1100), MARK)],
            messages=[message("user", "hi")],
        ) as streamed:
            answer = streamed.get_final_message()
        assert (answer.usage.cache_read_input_tokens, answer.usage.input_tokens) == (cached, 5)
        assert [one.type for one in answer.content] == ["text", "tool_use", "tool_use"]


def test_the_responses_of_tools_go_on_from_the_call(provider: Provider, gpt: openai.OpenAI) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"q":1}'}
    output = {"type": "function_call_output", "call_id": "c1", "output": "shoes"}
    for items, read, written in (
        ([message("user", words(1100))], 0, 1104),
        ([message("user", words(1100)), call, output], 1104, 4 + 1 + 7 + 4 + 1),
        ([message("user", words(1100)), call, {**output, "call_id": "c2"}], 1104, 17),
    ):
        for item in items:
            if item.get("content"):
                item["content"] = [{**part, "type": "input_text"} for part in item["content"]]
        request: Any = {"model": "gpt-5.6", "input": items}
        usage = gpt.responses.create(**request).usage
        assert usage
        details = usage.input_tokens_details
        assert (details.cached_tokens, details.cache_write_tokens) == (read, written)


# --- Money ----------------------------------------------------------------------------------------

PRICED_AS = {"gpt-5.6": "gpt-5.6-sol", "claude-opus-4": "claude-opus-4-1", "claude-sonnet-4": "claude-sonnet-4-5"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.family)
def test_prices_are_those_that_are_published(model: Model) -> None:
    provider = "anthropic" if model.rule == "marks" else "openai"
    usage = Usage(input_tokens=1000, cache_read_tokens=500, cache_write_tokens=200, output_tokens=70)
    price = calc_price(usage, PRICED_AS.get(model.family, model.family), provider_id=provider)
    written = {"marks": {"5m": 200}, "boundaries": {"30m": 200}, "steps": {}}[model.rule]
    uncached = 300 if written else 500
    assert float(price.total_price) == pytest.approx(model.cost_usd(uncached, 500, written, 70))
