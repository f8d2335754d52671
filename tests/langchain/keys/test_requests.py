"""The law of keys: the same meaning has one key, anything that can change the answer another."""

from __future__ import annotations

import copy
import enum
import tracemalloc
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import (
    Generation,
)

from askonce import ConfigError
from askonce.langchain.keys.llm_string import parameters_of
from askonce.langchain.keys.requests import Digests
from tests.langchain.keys.forms import CACHE, HI, LLM, llm_string
from tests.langchain.samples import Place


def key(messages: list[BaseMessage], llm: str = LLM) -> bytes:
    form = CACHE.form(dumps(messages), llm)
    digest, _ = CACHE._digests.of(dumps(messages), lambda: parameters_of(llm))
    assert digest == form.digest(), "the short way to the key gives what the explained form does"
    return digest


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
args = st.dictionaries(texts, st.integers() | texts | st.none(), max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[BaseMessage]:
    messages: list[BaseMessage] = [SystemMessage(draw(texts))] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(1, 3))):
        messages.append(HumanMessage(draw(texts)))
        if draw(st.booleans()):
            call = {"name": draw(st.sampled_from(["look", "add"])), "args": draw(args), "id": f"c{turn}"}
            messages.append(AIMessage(draw(texts), tool_calls=[call]))
            messages.append(ToolMessage(draw(texts), tool_call_id=f"c{turn}"))
        else:
            messages.append(AIMessage(draw(texts)))
    return messages


def varied_by_a_run(message: BaseMessage, run: str) -> BaseMessage:
    """The same message as another run, another provider's client or another machine writes it."""
    varied = message.model_copy(update={"id": run, "response_metadata": {"run": run, "askonce": {"hit": "exact"}}})
    lines = message.content.replace("\r\n", "\n").replace("\r", "\n")
    varied.content = unicodedata.normalize("NFD", lines).replace("\n", "\r\n")
    varied.content = [{"type": "text", "text": varied.content}]
    if isinstance(varied, ToolMessage):
        varied.tool_call_id += run
        varied.artifact = {"rows": run}
    if isinstance(varied, AIMessage):
        varied.usage_metadata = {"input_tokens": len(run), "output_tokens": 1, "total_tokens": 1}
        varied.tool_calls = [{**call, "id": f"{call['id']}{run}"} for call in varied.tool_calls]
        varied.additional_kwargs = {"refusal": None, "parsed": {"run": run}}
        if varied.tool_calls:
            varied.additional_kwargs["tool_calls"] = [{"id": run}]
    return varied


@given(conversations(), st.uuids())
@settings(max_examples=60, deadline=None)
def test_what_differs_only_by_the_run_has_one_key(messages: list[BaseMessage], run: Any) -> None:
    assert key(messages) == key([varied_by_a_run(message, run.hex) for message in messages])


@given(conversations(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_change_of_a_message_changes_the_key(messages: list[BaseMessage], data: st.DataObject) -> None:
    changed = copy.deepcopy(messages)
    at = data.draw(st.integers(0, len(messages) - 1))
    message = changed[at]
    change = data.draw(st.sampled_from(["text", "role", "drop", "case", "args", "name"]))
    if change == "text":
        message.content += " "
    elif change == "role":
        changed[at] = (SystemMessage if isinstance(message, HumanMessage) else HumanMessage)(message.content)
    elif change == "drop":
        del changed[at]
    elif change == "case":
        message.content += "a"
        messages[at].content += "A"
    elif change == "name":
        message.name = "Ann"
    elif not getattr(message, "tool_calls", None):
        message.content = "other" + message.content
    else:
        message.tool_calls[0]["args"]["one more"] = 1
    assert key(changed) != key(messages)


def test_messages_and_their_chunks_have_one_key() -> None:
    calls = [{"name": "add", "args": {"a": 1}, "id": "x", "type": "tool_call"}]
    whole = [HumanMessage("hi"), AIMessage("so", tool_calls=calls)]
    chunk = {"name": "add", "args": '{"a": 1}', "id": "y", "index": 0, "type": "tool_call_chunk"}
    assert key(whole) == key([HumanMessageChunk("hi"), AIMessageChunk("so", tool_call_chunks=[chunk])])


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": parameters or {"a": {"type": "integer"}}}
    return {"type": "function", "function": {"name": name, "description": "It's <E.a: 'x'>", "parameters": schema}}


class Color(enum.Enum):
    RED = "red"


SECRET = {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LLM, llm_string({"openai_api_key": SECRET, "request_timeout": 3.0, "max_retries": 9, "streaming": True})),
        (
            LLM,
            llm_string(
                {"openai_api_key": "sk-1", "default_headers": {"Authorization": "Bearer x"}, "verbose": True}
            ),
        ),
        (LLM, llm_string(stream=True, stop=None, stream_options={"include_usage": True})),
        (LLM, llm_string({"name": "my model", "metadata": {"a": 1}})),
        (llm_string({"temperature": 1}), llm_string({"temperature": 1.0})),
        (llm_string(tools=[tool("a"), tool("b")]), llm_string(tools=[tool("b"), tool("a")])),
        (llm_string(mode=Color.RED), llm_string(mode="red")),
        (llm_string(response_format=Place), llm_string(response_format=Place.model_json_schema())),
        ("[('_type', 'fake'), ('api_key', SecretStr('**********'))]", "[('_type', 'fake')]"),
    ],
)
def test_parameters_that_cannot_change_the_answer_are_left_out(one: str, other: str) -> None:
    assert key(HI, one) == key(HI, other)


def test_parameters_that_can_change_the_answer_stay() -> None:
    different = [
        LLM,
        llm_string({"temperature": 0.6}),
        llm_string({"model_name": "gpt-4o-mini"}),
        llm_string({"openai_api_base": "http://elsewhere/v1"}),
        llm_string(stop=["\n"]),
        llm_string(tools=[tool("a")]),
        llm_string(tools=[tool("a", b={"type": "string"})]),
        llm_string(tools=[tool("a")], tool_choice="any"),
        llm_string(response_format=Place),
        llm_string(note="<E.a: 'x'>"),
        llm_string(note="'x'"),
        LLM.replace("ChatOpenAI", "AzureChatOpenAI"),
        "[('_type', 'fake')]",
        "[('_type', 'fake'), ('client', <Client of 'eu'>)]",
        "[('_type', 'fake'), ('client', <Client of 'us'>)]",
    ]
    assert len({key(HI, llm) for llm in different}) == len(different)


def test_images_count_by_their_bytes() -> None:
    def picture(encoded: str, **extra: Any) -> list[BaseMessage]:
        return [
            HumanMessage([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}, **extra}])
        ]

    same = [HumanMessage([{"type": "image", "base64": "aGk=", "mime_type": "image/png"}])]
    assert key(picture("aGk=")) == key(picture("aGk=", cache_control={"type": "ephemeral"})) == key(same)
    assert key(picture("aGk=")) != key(picture("aGkh"))


class Silent(BaseMessage):
    type: str = "silent"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return False


@pytest.mark.parametrize(
    ("prompt", "llm"),
    [
        (dumps(HI), "[('tool', <object object at 0x7f49>)]"),
        (dumps(HI), "[('schema', <class 'nowhere.Missing'>)]"),
        (dumps([Silent("x")]).replace("Silent(", "<Silent at 0x7f49>("), LLM),
    ],
)
def test_what_shows_only_its_address_is_not_cached(prompt: str, llm: str) -> None:
    with pytest.raises(ConfigError, match="not cached"):
        CACHE.form(prompt, llm)
    CACHE.update(prompt, llm, [Generation(text="x")])
    assert CACHE.lookup(prompt, llm) is None


def test_explain_names_what_was_left_out() -> None:
    message = AIMessage("so", response_metadata={"a": 1}, usage_metadata=None)
    form = CACHE.form(dumps([message]), llm_string({"openai_api_key": SECRET, "request_timeout": 2}))
    assert form.left_out == ("model.request_timeout", "model.openai_api_key", "messages[0].response_metadata")
    assert form.body["messages"] == [{"role": "assistant", "content": "so"}]


def test_names_are_remembered_without_a_same_the_parameters_for_each() -> None:
    digests, written = Digests(characters=200_000), f"[('model', 'm'), ('tools', '{'t' * 20_000}')]"
    parameters = parameters_of(written)
    first = digests.of("0", lambda: parameters)
    tracemalloc.start()
    for number in range(200):
        same = replace(parameters, encoded=bytes(bytearray(parameters.encoded)))
        digests.of(str(number), lambda copy=same: copy)
    taken, _ = tracemalloc.get_traced_memory()
    assert taken < 500_000

    for number in range(1_000):  # more than there is room for
        other = parameters.encoded.replace(b"t", b"u", number % 3)
        changed = replace(parameters, encoded=other)
        digests.of(str(number), lambda copy=changed: copy)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 1_000_000
    assert digests.of("0", lambda: parameters) == first == Digests().of("0", lambda: parameters)
