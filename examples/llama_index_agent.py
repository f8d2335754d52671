"""An agent's model calls are cached; its tools still run, for they may do something."""

import asyncio

from llama_index.core.agent import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM

from askonce import Cache
from askonce.llama_index import cached


def days_left(name: str) -> int:
    """How many days of holiday somebody has left."""
    print("  the tool runs")
    return 12


def stand_in(messages: list[ChatMessage], **_: object) -> ChatMessage:
    """What a real model would say: first call the tool, then return what it gave."""
    if messages[-1].role == "tool":
        return ChatMessage(f"Ada has {messages[-1].content} days left.", role="assistant")
    call = ToolCallBlock(tool_call_id="call-1", tool_name="days_left", tool_kwargs={"name": "Ada"})
    return ChatMessage(role="assistant", blocks=[call])


async def main() -> None:
    async with Cache("memory://") as cache:
        llm = cached(MockFunctionCallingLLM(response_generator=stand_in, is_chat_model=True), cache)
        for _ in range(2):
            before = cache.stats()
            print(await FunctionAgent(tools=[days_left], llm=llm, streaming=False).run("How many days has Ada?"))
            after = cache.stats()
            print(f"  model calls: {after.misses - before.misses}, from the cache: {after.hits - before.hits}")


asyncio.run(main())
