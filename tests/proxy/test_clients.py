"""The clients that are installed here, through a real proxy. Those of others: `tests/clients`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from tests.support.clients import WEATHER, Proxied, Send, check, named, proxied
from tests.support.environments import NEWEST_OPENAI

TOOL: Any = {"type": "function", "function": WEATHER}
CLAUDE = "claude-opus-5"
CLAUDES_TOOL: Any = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": WEATHER["parameters"],
}


def messages_of(question: str) -> Any:
    return [{"role": "user", "content": question}]


# -- the providers' SDKs ---------------------------------------------------------------------------------------


def of_openai(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)


def openai_plain(url: str, key: str, question: str) -> str:
    with of_openai(url, key) as sdk:
        return str(
            sdk.chat.completions.create(model="gpt-4o", messages=messages_of(question)).choices[0].message.content
        )


def openai_streamed(url: str, key: str, question: str) -> str:
    with (
        of_openai(url, key) as sdk,
        sdk.chat.completions.stream(model="gpt-4o", messages=messages_of(question)) as stream,
    ):
        return str(stream.get_final_completion().choices[0].message.content)


def openai_tool(url: str, key: str, question: str) -> str:
    with of_openai(url, key) as sdk:
        got = sdk.chat.completions.create(model="gpt-4o", messages=messages_of(question), tools=[TOOL])
        return str(got.choices[0].message.tool_calls)


def openai_responses(url: str, key: str, question: str) -> str:
    with of_openai(url, key) as sdk:
        return sdk.responses.create(model="gpt-4o", input=question).output_text


def openai_responses_streamed(url: str, key: str, question: str) -> str:
    with of_openai(url, key) as sdk, sdk.responses.stream(model="gpt-4o", input=question) as stream:
        return stream.get_final_response().output_text


def openai_embeddings(url: str, key: str, question: str) -> str:
    with of_openai(url, key) as sdk:
        return str(sdk.embeddings.create(model="text-embedding-3-small", input=question).data[0].embedding)


def of_anthropic(url: str, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=url, max_retries=0)


def anthropic_plain(url: str, key: str, question: str) -> str:
    with of_anthropic(url, key) as sdk:
        return str(sdk.messages.create(model=CLAUDE, max_tokens=9, messages=messages_of(question)).content)


def anthropic_streamed(url: str, key: str, question: str) -> str:
    request: Any = {"model": CLAUDE, "max_tokens": 9, "messages": messages_of(question)}
    with of_anthropic(url, key) as sdk, sdk.messages.stream(**request) as stream:
        return stream.get_final_text()


def anthropic_tool(url: str, key: str, question: str) -> str:
    with of_anthropic(url, key) as sdk:
        messages = messages_of(question)
        request: Any = {"model": CLAUDE, "max_tokens": 9, "messages": messages, "tools": [CLAUDES_TOOL]}
        return str(sdk.messages.create(**request).content)


# -- LangChain -------------------------------------------------------------------------------------------------


def of_langchain(url: str, key: str, **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o", base_url=f"{url}/v1", api_key=key, max_retries=0, **fields)  # type: ignore


def claude_of_langchain(url: str, key: str) -> ChatAnthropic:
    return ChatAnthropic(model=CLAUDE, base_url=url, api_key=key, max_retries=0)  # type: ignore


def langchain_streamed(model: Any, question: str) -> str:
    return "".join(chunk.text for chunk in model.stream(question))


LANGCHAIN: dict[str, Send] = {
    "plain": lambda url, key, q: of_langchain(url, key).invoke(q).text,
    "streamed": lambda url, key, q: langchain_streamed(of_langchain(url, key), q),
    "tool": lambda url, key, q: str(of_langchain(url, key).bind_tools([TOOL]).invoke(q).tool_calls),
    "responses": lambda url, key, q: of_langchain(url, key, use_responses_api=True, store=False).invoke(q).text,
    "embeddings": lambda url, key, q: str(
        OpenAIEmbeddings(base_url=f"{url}/v1", api_key=key, check_embedding_ctx_length=False).embed_query(q)  # type: ignore
    ),
}
LANGCHAIN_ANTHROPIC: dict[str, Send] = {
    "plain": lambda url, key, q: claude_of_langchain(url, key).invoke(q).text,
    "streamed": lambda url, key, q: langchain_streamed(claude_of_langchain(url, key), q),
    "tool": lambda url, key, q: str(claude_of_langchain(url, key).bind_tools([TOOL]).invoke(q).tool_calls),
}

# -- curl ------------------------------------------------------------------------------------------------------


def curl(url: str, key: str, body: Any) -> str:
    sent = ["-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    command = ["curl", "-sSN", f"{url}/v1/chat/completions", *sent]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8", timeout=60).stdout


CURL: dict[str, Send] = {
    "plain": lambda url, key, q: curl(url, key, {"model": "gpt-4o", "messages": messages_of(q)}),
    "streamed": lambda url, key, q: curl(url, key, {"model": "gpt-4o", "messages": messages_of(q), "stream": True}),
    "tool": lambda url, key, q: curl(url, key, {"model": "gpt-4o", "messages": messages_of(q), "tools": [TOOL]}),
}

CLIENTS: dict[str, dict[str, Send]] = {
    "openai": {
        "plain": openai_plain,
        "streamed": openai_streamed,
        "tool": openai_tool,
        "responses": openai_responses,
        "responses streamed": openai_responses_streamed,
        "embeddings": openai_embeddings,
    },
    "anthropic": {"plain": anthropic_plain, "streamed": anthropic_streamed, "tool": anthropic_tool},
    "langchain-openai": LANGCHAIN,
    "langchain-anthropic": LANGCHAIN_ANTHROPIC,
    "curl": CURL if shutil.which("curl") else {},
}

if not NEWEST_OPENAI:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai import OpenAI

    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Fine in {city}."

    def llama_index(url: str, key: str) -> OpenAI:
        return OpenAI(model="gpt-4o", api_base=f"{url}/v1", api_key=key, max_retries=0)

    def llama_index_tool(url: str, key: str, question: str) -> str:
        model = llama_index(url, key)
        reply = model.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg=question)
        return str(model.get_tool_calls_from_response(reply))

    def llama_index_streamed(url: str, key: str, question: str) -> str:
        return "".join(part.delta or "" for part in llama_index(url, key).stream_chat([ChatMessage(question)]))

    # Its package for Anthropic (0.12) cannot make a message with anthropic 2.
    CLIENTS["llama-index-openai"] = {
        "plain": lambda url, key, q: str(llama_index(url, key).chat([ChatMessage(q)]).message.content),
        "streamed": llama_index_streamed,
        "tool": llama_index_tool,
        "embeddings": lambda url, key, q: str(
            OpenAIEmbedding(api_base=f"{url}/v1", api_key=key).get_text_embedding(q)
        ),
    }


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with proxied(tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.mark.parametrize(("name", "send"), [pytest.param(*one, id=one[0]) for one in named(CLIENTS)])
def test_a_question_is_answered_once_for_each_caller(name: str, send: Send, proxy: Proxied) -> None:
    check(proxy, name, send)
