"""The law of keys: the same meaning has one key, anything that can change the answer another."""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.llms.mock import MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI, OpenAIResponses
from openai.types.chat import ChatCompletionMessageToolCall

from askonce import Cache
from askonce.keys.normal_form import Uncacheable
from askonce.llama_index import cached
from askonce.llama_index.keys.requests import chat_form, completion_form

PNG = b"\x89PNG\r\n\x1a\n not really"
HI = TextBlock(text="hi")
MARK = CachePoint(cache_control=CacheControl(type="ephemeral"))


def openai(**kwargs: Any) -> OpenAI:
    return OpenAI(**{"model": "gpt-4o", "api_key": "sk-1", "api_base": "http://localhost/v1", **kwargs})


def key(messages: Any, llm: Any = None, **options: Any) -> bytes:
    if not isinstance(messages, list):
        messages = [messages]
    return chat_form(llm or openai(), messages, options).digest()


def user(*blocks: Any, **kwargs: Any) -> ChatMessage:
    return ChatMessage(
        role="user", blocks=[TextBlock(text=b) if isinstance(b, str) else b for b in blocks], **kwargs
    )


def assistant(*blocks: Any, **additional: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=additional)


def tool(content: str, call_id: str, **additional: Any) -> ChatMessage:
    return ChatMessage(role="tool", content=content, additional_kwargs={"tool_call_id": call_id, **additional})


def cited(at: int) -> CitationBlock:
    return CitationBlock(cited_content="hi", source="s", title="t", additional_location_info={"at": at})


def turn(call_id: str, args: Any = '{"a": 1}', **additional: Any) -> list[ChatMessage]:
    call = ToolCallBlock(tool_call_id=call_id, tool_name="add", tool_kwargs=args)
    return [user("add"), assistant(call, **additional), tool("1", call_id)]


def sdk_call(call_id: str, arguments: str) -> ChatCompletionMessageToolCall:
    function = {"name": "add", "arguments": arguments}
    return ChatCompletionMessageToolCall.model_validate({"id": call_id, "type": "function", "function": function})


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


def multiply(a: int) -> int:
    """Multiply."""
    return a


class Song(BaseModel):
    title: str


class Tune(BaseModel):
    name: str


ADD, MULTIPLY = FunctionTool.from_defaults(add), FunctionTool.from_defaults(multiply)


@pytest.mark.parametrize(("one", "other"), [
    (lambda: key(ChatMessage(content="hi")), lambda: key(user("hi"))),
    (lambda: key(user("hi")), lambda: key(user("hi", MARK))),
    (lambda: key(user("hi")), lambda: key(user("hi", additional_kwargs={"cache_control": {"type": "ephemeral"}}))),
    (lambda: key(assistant(HI)), lambda: key(assistant(HI, usage={"input": 3}, id="m1"))),
    (lambda: key(user("Zu\u0308rich\r\n")), lambda: key(user("Z\u00fcrich\n"))),
    (lambda: key(assistant(HI)), lambda: key(assistant(HI, tool_call_id=[], status=[]))),  # BedrockConverse's
    (lambda: key(turn("call_1")), lambda: key(turn("call_1", tool_call_id=["call_1"], status=["success"]))),
    (lambda: key(turn("call_1")), lambda: key(turn("call_2"))),
    (lambda: key(turn("call_1")), lambda: key(turn("call_1", {"a": 1}))),
    (lambda: key(turn("call_1")), lambda: key(turn("x", tool_calls=[sdk_call("x", '{"a":1}')]))),
    (
        lambda: key(turn("call_1")),
        lambda: key([user("add"), assistant(tool_calls=[sdk_call("c", '{"a": 1}')]), tool("1", "c")]),
    ),
    (lambda: key([]), lambda: key([], openai(api_key="sk-2", timeout=3, max_retries=9, reuse_client=False))),
    (lambda: key([]), lambda: key([], openai(additional_kwargs={"stream_options": {"include_usage": True}}))),
    (lambda: key([]), lambda: key([], openai(default_headers={"Authorization": "Bearer x", "x-api-key": "y"}))),
    (lambda: key([], temperature=1), lambda: key([], temperature=1.0, timeout=3)),
    (lambda: key([], tools=[ADD, MULTIPLY]), lambda: key([], tools=[MULTIPLY, ADD])),
    (lambda: key([]), lambda: key([], tools=[])),
    (lambda: key([]), lambda: key([], cached(openai(), "memory://"))),
    (lambda: key([]), lambda: key([], openai(api_base="http://localhost/v1/"))),
    (lambda: key([]), lambda: key([], openai(system_prompt="Be kind", strict=True, top_logprobs=3))),
    (lambda: key([]), lambda: key([], openai(query_wrapper_prompt=PromptTemplate("Q: {query_str}")))),
    (lambda: key([]), lambda: key([], openai(messages_to_prompt=to_prompt))),
    (lambda: key([]), lambda: key([], temperature=0.1)),
    (lambda: key([], temperature=0.5), lambda: key([], openai(temperature=0.5))),
    (lambda: key(user("hi")), lambda: key(user("hi", ""))),
    (
        lambda: completion_form(openai(), "hi", False, {}).digest(),
        lambda: completion_form(openai(), "hi", True, {}).digest(),
    ),
], ids=str)  # fmt: skip
def test_equal_conversations_have_one_key(one: Callable[[], bytes], other: Callable[[], bytes]) -> None:
    assert one() == other()


def different() -> list[bytes]:
    call = ToolCallBlock(tool_call_id="c", tool_name="add", tool_kwargs="{}")
    image = base64.b64encode(PNG)
    return [
        key([]), key(user()), key(user("hi")), key(user("Hi")), key(user("hi ")), key(user("h", "i")),
        key([user("hi"), user("hi")]), key(ChatMessage(role="system", content="hi")), key(assistant(HI)),
        key(user("hi", additional_kwargs={"name": "Ann"})),
        key(user("hi", additional_kwargs={"function_call": "x"})),
        key(user(ImageBlock(image=image))), key(user(ImageBlock(image=image, detail="low"))),
        key(user(ImageBlock(image=base64.b64encode(PNG + b"!")))), key(user(ImageBlock(url="https://x/a.png"))),
        key(user(AudioBlock(audio=image))), key(user(AudioBlock(audio=image, format="mp3"))),
        key(user(VideoBlock(video=image))), key(user(VideoBlock(video=image, fps=2))),
        key(user(DocumentBlock(data=image))), key(user(DocumentBlock(data=image, title="T"))),
        key(user(CitableBlock(title="t", source="s", content="hi"))),
        key(user(CitableBlock(title="t", source="s", content="ho"))),
        key(user(CitableBlock(title="t", source="s", content=[ImageBlock(image=image)]))),
        key(user(CitableBlock(title="t", source="s", content=[ImageBlock(image=base64.b64encode(b"GIF"))]))),
        key(assistant(cited(1))),
        key(assistant(cited(2))),
        key(assistant(ThinkingBlock(content="hm"))), key(assistant(ThinkingBlock(content="ah"))),
        key(assistant(ThinkingBlock(content="hm", additional_information={"signature": "s"}))),
        key(assistant(call)), key(turn("c")), key(turn("c", '{"a": 2}')),
        key([user("add"), assistant(call), tool("1", "d")]), key(assistant(HI, call)), key(assistant(call, HI)),
        key(turn("c", tool_calls=[sdk_call("c", '{"a": 7}')])),
        key(turn("c", tool_calls=[sdk_call("d", '{"a": 7}')])),
        key([], openai(model="gpt-4o-mini")), key([], openai(temperature=0.7)), key([], openai(max_tokens=5)),
        key([], openai(api_base="http://other/v1")), key([], openai(additional_kwargs={"seed": 1})),
        key([], MockLLM(system_prompt="Be kind")), key([], MockLLM(messages_to_prompt=to_prompt)),
        key([], Kinder(model="gpt-4o", api_key="k", query_wrapper_prompt=PromptTemplate("Q: {query_str}"))),
        key([], Kinder(model="gpt-4o", api_key="k", query_wrapper_prompt=PromptTemplate("A: {query_str}"))),
        key([], Kinder(model="gpt-4o", api_key="k")),
        key([], Kinder(model="gpt-4o", api_key="k", system_prompt="Be kind")),
        key([], MockLLM()), key([], MockLLM(max_tokens=3)),
        key([], OpenAIResponses(model="gpt-4o", api_key="sk-1")),
        key([], temperature=1), key([], stop=["x"]), key([], tools=[ADD]), key([], tools=[MULTIPLY]),
        key([], tools=[ADD.metadata.to_openai_tool()]), key([], tools=[ADD], tool_choice="required"),
        key([], response_format=Song), key([], response_format=Tune),
        key([], callback=add), key([], callback=multiply),
        completion_form(MockLLM(), "hi", False, {}).digest(), completion_form(MockLLM(), "hi", True, {}).digest(),
        completion_form(openai(), "hi", False, {}).digest(),
        completion_form(openai(), "ho", False, {}).digest(),
    ]  # fmt: skip


class Kinder(OpenAI):
    """Of the application's own, whose endpoints may use what those of OpenAI's class do not."""


def to_prompt(messages: Sequence[ChatMessage]) -> str:
    return ""


def test_what_can_change_the_answer_has_a_key_of_its_own() -> None:
    keys = different()
    assert len(set(keys)) == len(keys)


def test_a_conversation_has_the_form_that_it_has_in_langchain() -> None:
    messages = pytest.importorskip("langchain_core.messages")
    in_langchain = pytest.importorskip("askonce.langchain.keys.messages").conversation_of_messages
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    image = ImageBlock(image=base64.b64encode(PNG), image_mimetype="image/png")
    call = ToolCallBlock(tool_call_id="c", tool_name="add", tool_kwargs='{"a": 1}')
    conversation = [
        ChatMessage(role="system", content="s"),
        user("see", image),
        assistant(HI, call),
        tool("1", "c"),
    ]
    same = [
        messages.SystemMessage("s"),
        messages.HumanMessage([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]),
        messages.AIMessage("hi", tool_calls=[{"id": "other", "name": "add", "args": {"a": 1}}]),
        messages.ToolMessage("1", tool_call_id="other"),
    ]
    assert chat_form(openai(), conversation, {}).body["messages"] == in_langchain(same).messages


def test_the_key_of_a_langchain_llm_holds_the_model_inside() -> None:
    wrapper = pytest.importorskip("llama_index.llms.langchain").LangChainLLM
    models = pytest.importorskip("langchain_core.language_models")
    one, same, other = (models.FakeListChatModel(responses=[answer]) for answer in ("one", "one", "other"))
    assert key([], wrapper(one)) == key([], wrapper(same)) != key([], wrapper(other))


@pytest.mark.parametrize("refused", [
    lambda: key([], MockLLM(messages_to_prompt=lambda messages: "")),
    lambda: key([], callback=lambda: None),
    lambda: key([], anything=object()),
    lambda: key(user(additional_kwargs={"strange": object()})),
    lambda: key("no message"),
    lambda: key(user(DocumentBlock(path="/nowhere/at/all.pdf"))),
    lambda: key([], OpenAIResponses(model="gpt-4o", api_key="sk-1", track_previous_responses=True)),
    lambda: key([], conversation="conv_1"),
    lambda: key([], conversation={"id": "conv_1"}),
    lambda: key([], extra_body={"conversation": "conv_1"}),
    lambda: key([], container="container_1"),
    lambda: key([], tools=[{"type": "code_interpreter", "container": "cntr_1"}]),
    lambda: key([], openai(additional_kwargs={"extra_body": {"conversation": "conv_1"}})),
    lambda: key([], OpenAIResponses(model="m", api_key="k", additional_kwargs={"conversation": "conv_1"})),
    lambda: completion_form(openai(), 3, False, {}),  # type: ignore[arg-type]
], ids=str)  # fmt: skip
def test_what_has_no_stable_representation_has_no_key(refused: Callable[[], Any]) -> None:
    with pytest.raises(Uncacheable):
        refused()


@pytest.mark.parametrize("kind", [
    lambda **where: ImageBlock(image=where.pop("data", None), image_mimetype="image/png", **where),
    lambda **where: VideoBlock(video=where.pop("data", None), video_mimetype="video/mp4", **where),
    lambda **where: AudioBlock(audio=where.pop("data", None), format="wav", **where),
    lambda **where: DocumentBlock(document_mimetype="application/pdf", title="T", **where),
], ids=["image", "video", "audio", "document"])  # fmt: skip
def test_a_medium_counts_by_its_bytes_wherever_they_are(kind: Callable[..., Any], tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "medium", tmp_path / "elsewhere"
    path.write_bytes(PNG)
    elsewhere.write_bytes(PNG)
    opened = io.BytesIO(PNG)
    opened.seek(3)
    ways = [
        key(user(kind(path=path))), key(user(kind(path=elsewhere))), key(user(kind(data=opened))),
        key(user(kind(data=base64.b64encode(PNG)))), key(user(kind(data=PNG))),
    ]  # fmt: skip
    assert len(set(ways)) == 1 and opened.tell() == 3
    path.write_bytes(PNG + b"changed")
    assert key(user(kind(path=path))) != ways[0]


# -- conversations as they come ------------------------------------------------------------------------------------

Plain = tuple[str, tuple[str, ...]]
texts = st.text(max_size=4)
conversations = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), st.lists(texts, max_size=2).map(tuple)), max_size=3
)
noises = st.fixed_dictionaries(
    {}, optional={"cache_control": st.just({"type": "ephemeral"}), "usage": st.just({"a": 1}), "id": texts}
)


def built(plain: list[Plain], noise: dict[str, Any] | None = None) -> list[ChatMessage]:
    marks = [] if noise is None else [MARK]
    return [
        ChatMessage(role=role, blocks=[*map(_text, parts), *marks], additional_kwargs=dict(noise or {}))
        for role, parts in plain
    ]


def _text(text: str) -> TextBlock:
    return TextBlock(text=text)


def normalized(plain: list[Plain]) -> list[Plain]:
    """A conversation in its normal form."""

    def of(text: str) -> str:
        return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))

    # No block and an empty block both say nothing.
    return [(role, tuple(of(part) for part in parts if part)) for role, parts in plain]


LLM = openai()


@given(conversations, noises)
def test_marks_and_reports_never_matter(plain: list[Plain], noise: dict[str, Any]) -> None:
    assert key(built(plain), LLM) == key(built(plain, noise), LLM)


@given(conversations, conversations)
def test_two_conversations_have_one_key_exactly_if_they_say_the_same(one: list[Plain], other: list[Plain]) -> None:
    assert (key(built(one), LLM) == key(built(other), LLM)) == (normalized(one) == normalized(other))


@given(conversations)
def test_naming_changes_nothing(plain: list[Plain]) -> None:
    messages = built(plain, {"cache_control": {"type": "ephemeral"}})
    before = [message.model_dump() for message in messages]
    key(messages, LLM, tools=[ADD])
    assert [message.model_dump() for message in messages] == before


class Scribbling(MockLLM):
    """A provider that writes into the messages that it is given, as Anthropic's does."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        response = super().chat(messages, **kwargs)
        messages[-1].blocks.append(TextBlock(text="scribbled"))
        return response


def test_the_key_is_made_before_the_provider_writes_into_the_messages(cache: Cache) -> None:
    llm = cached(Scribbling(max_tokens=2), cache)
    for _ in range(2):
        llm.chat([user("hi")])
    assert cache.stats().hits == 1


def test_a_message_that_was_written_as_json_has_its_key_again() -> None:
    message = assistant(TextBlock(text="Hm."), thought_signatures=[b"\xff\x00", None], raw={"a": 1})
    loaded = ChatMessage.model_validate_json(message.model_dump_json())
    assert loaded.additional_kwargs["thought_signatures"] != message.additional_kwargs["thought_signatures"]
    other = assistant(TextBlock(text="Hm."), thought_signatures=[b"\xff\x01", None], raw={"a": 1})
    assert key([message]) == key([loaded]) != key([other])
