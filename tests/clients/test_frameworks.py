"""Frameworks and gateways' clients of an environment of their own, through a real proxy: ``make test-clients``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import pytest

from tests.support.clients import WEATHER, Proxied, Send, check, named

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no price list from the net

CLAUDE = "claude-opus-5"
TOOL: Any = {"type": "function", "function": WEATHER}


def messages_of(question: str) -> Any:
    return [{"role": "user", "content": question}]


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Fine in {city}."


def run(send: Callable[[str, str, str], Awaitable[str]]) -> Send:
    return lambda url, key, question: asyncio.run(send(url, key, question))  # type: ignore[arg-type]


def clients() -> dict[str, dict[str, Send]]:
    """Those whose packages are here."""
    found = {}
    for package, ways in {
        "litellm": of_litellm,
        "pydantic_ai": of_pydantic_ai,
        "agents": of_openai_agents,
        "dspy": of_dspy,
        "autogen_ext": of_autogen,
        "llama_index.llms.openai_like": of_openai_like,
    }.items():
        try:
            is_here = find_spec(package) is not None
        except ModuleNotFoundError:
            is_here = False
        if is_here:
            found[package] = ways()
    return found


def of_litellm() -> dict[str, Send]:
    import litellm

    def of_openai(url: str, key: str, question: str, **more: Any) -> Any:
        where = {"api_base": f"{url}/v1", "api_key": key, "num_retries": 0}
        return litellm.completion(model="openai/gpt-4o", messages=messages_of(question), **where, **more)

    def of_anthropic(url: str, key: str, question: str, **more: Any) -> Any:
        where = {"api_base": url, "api_key": key, "num_retries": 0, "max_tokens": 9}
        return litellm.completion(model=f"anthropic/{CLAUDE}", messages=messages_of(question), **where, **more)

    def ways(model: Any, name: str) -> dict[str, Send]:
        return {
            name: lambda *given: model(*given).choices[0].message.content,
            f"{name} streamed": lambda *given: "".join(
                part.choices[0].delta.content or "" for part in model(*given, stream=True)
            ),
            f"{name} tool": lambda *given: str(model(*given, tools=[TOOL]).choices[0].message.tool_calls),
        }

    def embedded(url: str, key: str, question: str) -> str:
        where: Any = {"api_base": f"{url}/v1", "api_key": key}
        return str(litellm.embedding(model="openai/text-embedding-3-small", input=[question], **where).data)

    return {**ways(of_openai, "openai"), **ways(of_anthropic, "anthropic"), "embeddings": embedded}


def of_pydantic_ai() -> dict[str, Send]:
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    def chat(url: str, key: str) -> Any:
        return OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=f"{url}/v1", api_key=key))

    def responses(url: str, key: str) -> Any:
        return OpenAIResponsesModel("gpt-4o", provider=OpenAIProvider(base_url=f"{url}/v1", api_key=key))

    def claude(url: str, key: str) -> Any:
        return AnthropicModel(CLAUDE, provider=AnthropicProvider(base_url=url, api_key=key))

    def ways(model: Any, name: str) -> dict[str, Send]:
        async def streamed(url: str, key: str, question: str) -> str:
            async with Agent(model(url, key)).run_stream(question) as stream:
                return str(await stream.get_output())

        async def plain(url: str, key: str, question: str) -> str:
            return str((await Agent(model(url, key)).run(question)).output)

        async def tool(url: str, key: str, question: str) -> str:
            return str((await Agent(model(url, key), tools=[weather]).run(question)).output)

        return {name: run(plain), f"{name} streamed": run(streamed), f"{name} tool": run(tool)}

    return {**ways(chat, "chat"), **ways(responses, "responses"), **ways(claude, "anthropic")}


def of_openai_agents() -> dict[str, Send]:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)

    def agent(url: str, key: str, model: Any, tools: Any = ()) -> Any:
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        return agents.Agent(name="a", model=model("gpt-4o", openai_client=client), tools=list(tools))

    def ways(model: Any, name: str) -> dict[str, Send]:
        async def plain(url: str, key: str, question: str) -> str:
            return str((await agents.Runner.run(agent(url, key, model), question)).final_output)

        async def streamed(url: str, key: str, question: str) -> str:
            running = agents.Runner.run_streamed(agent(url, key, model), question)
            async for _ in running.stream_events():
                pass
            return str(running.final_output)

        async def tool(url: str, key: str, question: str) -> str:
            tools = [agents.function_tool(weather)]
            return str((await agents.Runner.run(agent(url, key, model, tools), question)).final_output)

        return {name: run(plain), f"{name} streamed": run(streamed), f"{name} tool": run(tool)}

    return {
        **ways(agents.OpenAIChatCompletionsModel, "chat"),
        **ways(agents.OpenAIResponsesModel, "responses"),
    }


def of_dspy() -> dict[str, Send]:
    import dspy

    parsed = "\n\n[[ ## answer ## ]]\nfine\n\n[[ ## completed ## ]]"  # the provider repeats the prompt

    def model(url: str, key: str, name: str = "openai/gpt-4o") -> Any:
        return dspy.LM(name, api_base=f"{url}/v1", api_key=key, cache=False, num_retries=0)

    async def streamed(url: str, key: str, question: str) -> str:
        with dspy.context(lm=model(url, key)):
            program = dspy.streamify(dspy.Predict("question -> answer"))
            parts = [part async for part in program(question=question + parsed)]
            return str(parts[-1].answer)

    def predicted(url: str, key: str, question: str) -> str:
        with dspy.context(lm=model(url, key)):
            return str(dspy.Predict("question -> answer")(question=question + parsed).answer)

    return {
        "plain": lambda url, key, q: str(model(url, key)(q)),
        "anthropic": lambda url, key, q: str(model(url, key, f"anthropic/{CLAUDE}")(q)),
        "tool": lambda url, key, q: str(model(url, key)(messages=messages_of(q), tools=[TOOL])),
        "predict": predicted,
        "streamed": run(streamed),
    }


def of_autogen() -> dict[str, Send]:
    from autogen_core import FunctionCall
    from autogen_core.models import UserMessage
    from autogen_core.tools import FunctionTool
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    def client(url: str, key: str) -> Any:
        return OpenAIChatCompletionClient(model="gpt-4o", base_url=f"{url}/v1", api_key=key, max_retries=0)

    def message_of(question: str) -> Any:
        return [UserMessage(content=question, source="user")]

    async def plain(url: str, key: str, question: str) -> str:
        return str((await client(url, key).create(message_of(question))).content)

    async def streamed(url: str, key: str, question: str) -> str:
        parts = [part async for part in client(url, key).create_stream(message_of(question))]
        return str(parts[-1].content)

    async def tool(url: str, key: str, question: str) -> str:
        tools = [FunctionTool(weather, description="The weather in a city.")]
        calls = (await client(url, key).create(message_of(question), tools=tools)).content
        assert isinstance(calls[0], FunctionCall)
        return str(calls)

    return {"plain": run(plain), "streamed": run(streamed), "tool": run(tool)}


def of_openai_like() -> dict[str, Send]:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike

    def model(url: str, key: str) -> Any:
        kind = {"is_chat_model": True, "is_function_calling_model": True, "max_retries": 0}
        return OpenAILike(model="gpt-4o", api_base=f"{url}/v1", api_key=key, **kind)

    def tool(url: str, key: str, question: str) -> str:
        reply = model(url, key).chat_with_tools([FunctionTool.from_defaults(weather)], user_msg=question)
        return str(model(url, key).get_tool_calls_from_response(reply))

    def streamed(url: str, key: str, question: str) -> str:
        return "".join(part.delta or "" for part in model(url, key).stream_chat([ChatMessage(question)]))

    return {
        "plain": lambda url, key, q: str(model(url, key).chat([ChatMessage(q)]).message.content),
        "streamed": streamed,
        "tool": tool,
    }


@pytest.mark.parametrize(("name", "send"), [pytest.param(*one, id=one[0]) for one in named(clients())])
def test_a_question_is_answered_once_for_each_caller(name: str, send: Send, proxy: Proxied) -> None:
    check(proxy, name, send)
