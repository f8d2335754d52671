"""Only good answers are stored."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, field_validator

from askonce import Cache
from askonce.langchain import cached
from tests.langchain.models.conftest import Store
from tests.support.provider import Answer, Call, Provider


def chat(provider: Provider, **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4.1", base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


class Scripted(BaseChatModel):
    """A model that says one message, and counts."""

    says: Any = None
    prompts: ClassVar[list[Any]] = []

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.prompts.append(messages)
        return ChatResult(generations=[ChatGeneration(message=copy.deepcopy(self.says))])


def calls_for(message: AIMessage, cache: Cache, **kwargs: Any) -> int:
    model = Scripted(says=message)
    Scripted.prompts.clear()
    for _ in range(2):
        cached(model, cache).invoke("hi", **kwargs)
    return len(Scripted.prompts)


@pytest.mark.parametrize(
    "ended",
    [
        {"finish_reason": "insufficient_system_resource"},
        {"finish_reason": "abort"},
        {"finish_reason": "OTHER"},
        {"finish_reason": "FinishReason.LANGUAGE"},
        {"finish_reason": "UNEXPECTED_TOOL_CALL"},
        {"stop_reason": "refusal", "model_provider": "anthropic"},
        {"stop_reason": "pause_turn"},
        {"done_reason": "unload"},
        {"status": "in_progress"},
        {"finish_reason": None, "model_provider": "openai"},
        {"finish_reason": "", "model_provider": "deepseek"},
        {"model_provider": "ollama"},
        {"model_provider": "google_genai"},
        {"model_provider": "openrouter"},
        {"prompt_feedback": {"block_reason": "SAFETY"}},
    ],
    ids=str,
)
def test_an_answer_without_a_proper_end_is_not_stored(cache: Cache, ended: dict[str, Any]) -> None:
    assert calls_for(AIMessage("I am afraid", response_metadata=ended), cache) == 2
    assert cache.stats().not_stored_reasons == {"truncated": 2}


@pytest.mark.parametrize(
    "ended",
    [
        {"finish_reason": "stop"},
        {"finish_reason": "stopstop"},
        {"finish_reason": "STOP"},
        {"finish_reason": "FinishReason.STOP"},
        {"finish_reason": "tool_calls"},
        {"stop_reason": "end_turn", "model_provider": "anthropic"},
        {"stop_reason": "stop_sequence"},
        {"stopReason": "tool_use"},
        {"status": "completed", "model_provider": "openai"},
        {"done_reason": "stop"},
        {"finish_reason": "COMPLETE"},
        {"finish_reason": "eos_token"},
        {},
    ],
    ids=str,
)
def test_an_answer_with_a_proper_end_is_stored(cache: Cache, ended: dict[str, Any]) -> None:
    assert calls_for(AIMessage("fine", response_metadata=ended), cache) == 1


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (AIMessage("", additional_kwargs={"reasoning_content": "Well,"}), "empty"),
        (AIMessage([{"type": "thinking", "thinking": "Well,", "signature": "s"}]), "empty"),
        (AIMessage([{"type": "reasoning", "summary": []}, {"type": "text", "text": " "}]), "empty"),
        (AIMessage("<think>\nWell,\n</think>\n"), "empty"),
        (AIMessage("<think>\nWell,"), "empty"),
        (
            AIMessage("", invalid_tool_calls=[{"name": "add", "args": '{"a": 1', "id": "c", "error": "no JSON"}]),
            "invalid",
        ),
        (AIMessage("", additional_kwargs={"refusal": "I will not"}), "empty"),
        (AIMessage([{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "x"}]), "truncated"),
    ],
)
def test_an_answer_that_says_nothing_usable_is_not_stored(cache: Cache, message: AIMessage, reason: str) -> None:
    assert calls_for(message, cache) == 2
    assert cache.stats().not_stored_reasons == {reason: 2}


def test_an_answer_after_thoughts_is_stored(cache: Cache) -> None:
    assert calls_for(AIMessage("<think>Well,</think>Yes."), cache) == 1


def test_the_application_decides_what_is_stored(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def cache_if(answer: Any) -> bool:
        seen.append(answer)
        return "forty-two" not in answer.content

    provider.answer = lambda request: Answer()
    with Cache("memory://", cache_if=cache_if) as cache, caplog.at_level(logging.WARNING, "askonce"):
        model = cached(chat(provider), cache)
        for _ in range(2):
            model.invoke("hi")
            list(model.stream("hi"))
        stats = cache.stats()
    assert len(provider.ledger) == 4
    assert all(isinstance(answer, AIMessage) for answer in seen)
    assert (stats.not_stored, stats.not_stored_reasons) == (4, {"cache_if": 4})
    assert stats.kinds["answer"].not_stored_reasons == {"cache_if": 4}
    assert len([record for record in caplog.records if "is not stored (cache_if)" in record.message]) == 1


def test_a_predicate_that_fails_stores_nothing(cache: Cache) -> None:
    with Cache("memory://", cache_if=lambda answer: answer.no_such_thing) as strict:
        assert calls_for(AIMessage("fine"), strict) == 2


# -- what the request requires -------------------------------------------------------------------------------------


class Invoice(BaseModel):
    """An invoice."""

    number: str
    total: int


class Careful(Invoice):
    """An invoice that no schema can check."""

    @field_validator("number")
    @classmethod
    def check(cls, number: str) -> str:
        if not number.startswith("A"):
            raise ValueError("no number of ours")
        return number


def script(*arguments: Any, name: str = "Invoice", as_text: bool = False) -> Callable[[Any], Answer]:
    """Invoices, one for each call of the model: as calls of a tool, or as text."""
    left = list(arguments)

    def answer(request: Any) -> Answer:
        given = left.pop(0)
        if isinstance(given, str):
            return Answer(given)
        return Answer(json.dumps(given)) if as_text else Answer("", (Call(name, given),))

    return answer


GOOD = {"number": "A1", "total": 3}


@pytest.mark.parametrize("bad", [{"number": "A1"}, {"number": "A1", "total": "many"}], ids=str)
def test_the_model_is_called_again_after_a_call_that_does_not_parse(
    store: Store, provider: Provider, bad: Any
) -> None:
    provider.answer = script(bad, GOOD)
    model = store(chat(provider)).with_structured_output(Invoice, method="function_calling")
    retried = model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert retried.invoke("the invoice") == Invoice(**GOOD)
    assert retried.invoke("the invoice") == Invoice(**GOOD)
    assert len(provider.ledger) == 2


def test_an_answer_without_the_required_call_is_not_stored(store: Store, provider: Provider) -> None:
    provider.answer = script("Which invoice?", GOOD)
    model = store(chat(provider)).with_structured_output(Invoice, method="function_calling")
    assert [model.invoke("the invoice") for _ in range(3)] == [None, Invoice(**GOOD), Invoice(**GOOD)]


@pytest.mark.parametrize("method", ["json_mode", "json_schema"])
@pytest.mark.parametrize("bad", [{"number": "A1"}, "Sorry."], ids=str)
def test_the_model_is_called_again_after_a_text_that_does_not_parse(
    provider: Provider, cache: Cache, method: Literal["json_mode", "json_schema"], bad: Any
) -> None:
    provider.answer = script(bad, GOOD, as_text=True)
    model = cached(chat(provider), cache).with_structured_output(Invoice, method=method)
    retried = model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert retried.invoke("the invoice, as JSON") == Invoice(**GOOD)
    assert retried.invoke("the invoice, as JSON") == Invoice(**GOOD)
    assert len(provider.ledger) == 2


@pytest.mark.parametrize("bad", [{"number": "A1"}, "Sorry."], ids=str)
def test_a_text_that_does_not_fit_its_schema_is_not_stored(store: Store, provider: Provider, bad: Any) -> None:
    provider.answer = script(bad, GOOD, as_text=True)
    schema = {"name": "invoice", "schema": Invoice.model_json_schema()}
    model = store(chat(provider)).bind(response_format={"type": "json_schema", "json_schema": schema})
    texts = [model.invoke("the invoice").content for _ in range(3)]
    assert [json.loads(text) for text in texts[1:]] == [GOOD, GOOD]
    assert len(provider.ledger) == 2


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch"])
async def test_what_only_the_parser_can_check_decides_too(
    provider: Provider, cache: Cache, way: str, include_raw: bool
) -> None:
    provider.answer = script({"number": "B1", "total": 3}, GOOD, name="Careful")
    model = cached(chat(provider), cache).with_structured_output(
        Careful, method="function_calling", include_raw=include_raw
    )

    async def call() -> Any:
        try:
            match way:
                case "invoke":
                    found = model.invoke("the invoice")
                case "ainvoke":
                    found = await model.ainvoke("the invoice")
                case "stream":
                    found = list(model.stream("the invoice"))
                case "astream":
                    found = [part async for part in model.astream("the invoice")]
                case _:
                    found = model.batch(["the invoice"])
        except ValueError:
            return None
        if include_raw:
            parts = found if isinstance(found, list) else [found]
            whole: dict[str, Any] = {}
            for part in parts:
                whole |= part
            return whole.get("parsed")
        return (found or [None])[-1] if isinstance(found, list) else found

    assert [await call() for _ in range(3)] == [None, Careful(**GOOD), Careful(**GOOD)]
    assert len(provider.ledger) == 2
    assert cache.stats().not_stored_reasons == {"not parsed": 1}


def test_a_chain_with_structured_output_behind_a_prompt_is_watched(provider: Provider, cache: Cache) -> None:
    from langchain_core.prompts import ChatPromptTemplate

    provider.answer = script({"number": "B1", "total": 3}, GOOD, name="Careful")
    model = cached(chat(provider), cache).with_structured_output(Careful, method="function_calling")
    chain = ChatPromptTemplate.from_template("the invoice of {day}") | model
    retried = chain.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert retried.invoke({"day": "today"}) == Careful(**GOOD)


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


@pytest.mark.parametrize(
    "bad", [Call("weather", {"town": "Paris"}), Call("climate", {"city": "Paris"})], ids=["argument", "name"]
)
def test_a_call_that_fits_no_tool_is_not_stored(store: Store, provider: Provider, bad: Call) -> None:
    answers = [Answer("", (bad,)), Answer("", (Call("weather", {"city": "Paris"}),))]
    provider.answer = lambda request: answers.pop(0)
    model = store(chat(provider)).bind_tools([weather])
    calls = [model.invoke("weather?").tool_calls[0]["args"] for _ in range(3)]
    assert calls[1:] == [{"city": "Paris"}] * 2
