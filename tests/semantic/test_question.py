"""What is compared of a request, and the law of partitions: equal exactly if all else is equal."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.llms import MockLLM

from askonce.langchain.keys.llm_string import parameters_of
from askonce.langchain.keys.requests import form_of
from askonce.llama_index.keys.requests import chat_form, completion_form
from askonce.provenance.prompt_parts import PromptParts
from askonce.semantic.query import LONGEST, is_elliptical, question_of
from askonce.semantic.types import Question

LLM_STRING = "[('model', 'm'), ('temperature', 0.5)]"
QUESTION = "How do I reset my password?"


def langchain(*messages: BaseMessage, parameters: str = LLM_STRING, **options: Any) -> Question | None:
    body = form_of(dumps(list(messages)), parameters_of(parameters)).body
    return found(question_of(body, options.pop("namespace", "default"), **options))


def found(question: Question | str) -> Question | None:
    return question if isinstance(question, Question) else None


def llama_index(*messages: ChatMessage, call: Any = None, **options: Any) -> Question | None:
    return found(question_of(chat_form(MockLLM(), messages, call or {}).body, "default", **options))


def partition(question: Question | None) -> bytes:
    assert question is not None
    assert len(question.partition) == 16
    return question.partition


# -- the law ---------------------------------------------------------------------------------------------------

words = st.text("ab {é\n", max_size=5)
message = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": words})
bodies = st.fixed_dictionaries(
    {
        "version": st.integers(1, 2),
        "kind": st.just("chat"),
        "model": st.fixed_dictionaries({"model": words, "call": st.dictionaries(words, words | st.integers())}),
        "messages": st.lists(message, max_size=3),
    }
)


def with_content(body: dict[str, Any], content: Any) -> dict[str, Any]:
    return {**body, "messages": [*body["messages"], {"role": "user", "content": content}]}


@given(bodies, bodies, words, words)
def test_partitions_are_equal_exactly_if_all_but_the_question_is(
    one: dict[str, Any], other: dict[str, Any], here: str, there: str
) -> None:
    first = found(question_of(with_content(one, "What is the daily limit of a card?"), here))
    second = found(question_of(with_content(copy.deepcopy(other), "Which documents prove my address?"), there))
    assert (partition(first) == partition(second)) == ((one, here) == (other, there))


@given(words, words, words, words)
def test_the_text_around_a_declared_question_must_be_equal(
    before: str, after: str, earlier: str, later: str
) -> None:
    body = {"version": 1, "kind": "completion", "model": {}}
    first = found(question_of({**body, "prompt": f"{before}Which one?{after}"}, "n", question="Which one?"))
    second = found(question_of({**body, "prompt": f"{earlier}And what?{later}"}, "n", question=" And what? "))
    assert (partition(first) == partition(second)) == ((before, after) == (earlier, later))


def test_equal_requests_have_one_partition_in_both_frameworks() -> None:
    cafe, composed = "Cafe\u0301 rules\r\n", "Caf\u00e9 rules\n"
    one = langchain(SystemMessage(cafe), HumanMessage(QUESTION, id="1"))
    other = langchain(SystemMessage(composed), HumanMessage([{"type": "text", "text": "I lost my password  "}]))
    assert one is not None and one.text == QUESTION
    assert partition(one) == partition(other)
    assert partition(llama_index(ChatMessage("What is a card for?"))) == partition(
        llama_index(ChatMessage(blocks=[TextBlock(text="Where is the bank?")]))
    )


def test_model_parameters_tools_and_namespace_change_the_partition() -> None:
    message = HumanMessage(QUESTION)
    questions = [
        langchain(message),
        langchain(message, parameters="[('model', 'm'), ('temperature', 0.6)]"),
        langchain(message, parameters="[('model', 'm'), ('temperature', 0.5), ('tools', [{'name': 'f'}])]"),
        langchain(message, namespace="other"),
        langchain(SystemMessage("Be brief"), message),
        langchain(HumanMessage(QUESTION, name="Ann")),
        found(question_of(form_of(QUESTION, parameters_of(LLM_STRING)).body, "default")),
        found(question_of(completion_form(MockLLM(), QUESTION, False, {}).body, "default")),
        llama_index(ChatMessage(QUESTION)),
    ]
    assert len({partition(one) for one in questions}) == len(questions)
    assert {one.text for one in questions if one} == {QUESTION}


# -- what is left out ------------------------------------------------------------------------------------------

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
CALL = {"name": "f", "args": {}, "id": "1"}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [HumanMessage(" \n")],
        [HumanMessage("word " * LONGEST)],
        [SystemMessage(QUESTION)],
        [HumanMessage(QUESTION), AIMessage("Well,")],
        [HumanMessage(QUESTION), AIMessage("", tool_calls=[CALL]), ToolMessage("42", tool_call_id="1")],
        [HumanMessage([{"type": "text", "text": QUESTION}, IMAGE])],
        [HumanMessage([{"type": "text", "text": "Use this rule."}, {"type": "text", "text": QUESTION}])],
        [HumanMessage([{"type": "tool_result", "tool_use_id": "1", "content": "42"}])],
        [HumanMessage("Context:\nCards are free.\n\nQuestion: " + QUESTION)],
        [HumanMessage("<documents>Cards are free.</documents> " + QUESTION)],
    ],
    ids=lambda messages: messages[-1].type + str(len(messages)) if messages else "none",
)
def test_a_request_that_is_not_one_question_is_not_compared(messages: list[BaseMessage]) -> None:
    assert langchain(*messages) is None


def test_earlier_tool_calls_and_images_are_part_of_an_equal_history() -> None:
    earlier = [
        HumanMessage([{"type": "text", "text": "And this?"}, IMAGE]),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("42", tool_call_id="1"),
        AIMessage("It is 42."),
    ]
    assert langchain(*earlier, HumanMessage(QUESTION)) is not None


def test_images_of_llama_index_are_detected() -> None:
    message = ChatMessage(blocks=[TextBlock(text=QUESTION), ImageBlock(url="https://example.org/a.png")])
    assert llama_index(message) is None


@pytest.mark.parametrize("call", [{"n": 2}, {"generation_config": {"candidate_count": 3}}])
def test_a_request_for_several_answers_is_not_compared(call: dict[str, Any]) -> None:
    assert llama_index(ChatMessage(QUESTION), call=call) is None
    assert langchain(HumanMessage(QUESTION), parameters=f"{[('model', 'm'), *call.items()]}") is None
    assert llama_index(ChatMessage(QUESTION), call={"n": 1}) is not None


ELLIPTICAL = """
And in Spain, what is the fee there?|Why?|ok|What about students under 18?|How much does it cost?|Can they do that?
Is this also true for companies?|Which one is the cheapest?|but what if I lose the card abroad?|Und in Spanien?
What did you say about the previous plan?|Is there another way to pay?|Tell me more about the fees|So I can cancel?
Do the same with the second account|Explain the point above
"""
WHOLE = """
How do I reset my password?|Is there a fee for a second card?|How long does it take to get a new card?
Is it possible to pay in dollars?|What is the capital of France?|Which documents prove my address?
Explain how interest is computed on savings
"""


@pytest.mark.parametrize("text", [one for line in ELLIPTICAL.strip().splitlines() for one in line.split("|")])
def test_a_follow_up_that_needs_its_conversation_is_not_compared(text: str) -> None:
    assert is_elliptical(text)
    assert langchain(HumanMessage("What does a card cost?"), AIMessage("5 euros."), HumanMessage(text)) is None
    assert langchain(HumanMessage(text)) is not None  # there is no conversation that it could need


@pytest.mark.parametrize("text", [one for line in WHOLE.strip().splitlines() for one in line.split("|")])
def test_a_follow_up_that_stands_alone_is_compared_under_an_equal_history(text: str) -> None:
    def question(answer: str) -> Question | None:
        return langchain(HumanMessage("What does a card cost?"), AIMessage(answer), HumanMessage(text))

    assert not is_elliptical(text)
    assert partition(question("5 euros.")) == partition(question("5 euros."))
    assert partition(question("5 euros.")) != partition(question("6 euros."))


# -- named questions -------------------------------------------------------------------------------------------

RAG = "Answer from this alone.\n---\n{context}\n---\nQuestion: {question}\nAnswer:"


def rag(question: str, about: str, /, **options: Any) -> Question | None:
    return langchain(HumanMessage(RAG.format(question=question, context=about)), **options)


def test_only_the_declared_question_of_a_filled_template_is_compared() -> None:
    one = rag(QUESTION, "Cards are free.", question=QUESTION)
    other = rag("I forgot my password", "Cards are free.", question="I forgot my password")
    assert one is not None and one.text == QUESTION
    assert partition(one) == partition(other) != partition(rag(QUESTION, "Cards cost 5.", question=QUESTION))


def test_a_declared_context_is_not_in_the_partition_if_its_documents_are_tracked() -> None:
    def partition_of(question: str, context: str, tracked: bool) -> bytes:
        return partition(
            rag(question, context, question=question, context=context, scope=b"s" if tracked else None)
        )

    assert partition_of(QUESTION, "Cards are free.", True) == partition_of(
        "I forgot it all", "Codes are sent.", True
    )
    assert partition_of(QUESTION, "Cards are free.", False) != partition_of(
        "I forgot it all", "Codes are sent.", False
    )
    assert partition(rag(QUESTION, "x", question=QUESTION, context="x", scope=b"one")) != partition(
        rag(QUESTION, "x", question=QUESTION, context="x", scope=b"other")
    )
    in_system = [
        langchain(SystemMessage(f"Use: {context}."), HumanMessage(QUESTION), context=context, scope=b"s")
        for context in ("Cards are free", "Codes are sent")
    ]
    assert partition(in_system[0]) == partition(in_system[1])


def test_a_declared_question_that_is_not_in_the_message_is_not_compared() -> None:
    assert langchain(HumanMessage(QUESTION), question="What else?") is None
    assert langchain(HumanMessage(QUESTION), question=" ") is None
    assert (
        langchain(HumanMessage("What else?"), AIMessage("Nothing."), HumanMessage(QUESTION), question="What else?")
        is None
    )


def test_the_other_rules_apply_to_a_declared_question() -> None:
    history = [HumanMessage("What does a card cost?"), AIMessage("5 euros.")]
    assert langchain(*history, HumanMessage("Question: and in Spain?"), question="and in Spain?") is None
    assert langchain(HumanMessage([{"type": "text", "text": QUESTION}, IMAGE]), question=QUESTION) is None
    parts = [{"type": "text", "text": "Use this rule."}, {"type": "text", "text": QUESTION}]
    assert langchain(HumanMessage(parts), question=QUESTION) is not None


def test_the_template_declares_what_the_application_does_not() -> None:
    prompt_parts = PromptParts(QUESTION, "Cards are free.")
    assert rag(QUESTION, "Cards are free.", prompt_parts=prompt_parts) == rag(
        QUESTION, "Cards are free.", question=QUESTION
    )
    assert rag(QUESTION, "Cards are free.", prompt_parts=prompt_parts, question="What else?") is None
    stray = langchain(HumanMessage("What is a card for?"), prompt_parts=prompt_parts)
    assert stray == langchain(HumanMessage("What is a card for?"))
    assert langchain(HumanMessage(QUESTION), prompt_parts=prompt_parts) == langchain(HumanMessage(QUESTION))


def test_the_context_alone_does_not_make_the_rest_of_a_message_a_question() -> None:
    assert (
        langchain(HumanMessage("Cards are free. " + QUESTION), prompt_parts=PromptParts(None, "Cards are free."))
        is None
    )


def test_a_thousand_random_requests_have_as_many_partitions() -> None:
    random.seed(5)
    systems = {f"You are clerk {random.random()}" for _ in range(1000)}
    assert len({partition(langchain(SystemMessage(one), HumanMessage(QUESTION))) for one in systems}) == len(
        systems
    )
