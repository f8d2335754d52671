"""An agent whose prompts the provider's cache never reads: what breaks them, what that costs, and the cure.

Its prompts have three faults: a clock in the system prompt, tools in another order each time, and a random id. The
tracker names one after the other, each as soon as it is what costs most. The order of the tools is changed; what
could change an answer is only proposed, and the application moves it itself.
"""

import logging
import random
import time
import uuid
from typing import Any

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_anthropic.middleware import AnthropicPromptCachingMiddleware
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import StructuredTool
from offline_anthropic import OfflineAnthropic

from askonce.langchain import PrefixMiddleware, PrefixTracker
from askonce.prefix import PrefixOptimizer

MODEL, DOLLARS = "claude-opus-4-8", 5e-6
HANDBOOK = "\n".join(f"Rule {number}: people of group {number * 7} go before others." for number in range(1, 150))
chance = random.Random(7)
logging.getLogger("askonce").setLevel(logging.ERROR)


class Clock:
    """Time that passes with each question."""

    now = time.time()

    def __call__(self) -> float:
        return self.now


clock = Clock()
provider = OfflineAnthropic(clock)


def tool(name: str, about: str) -> StructuredTool:
    return StructuredTool.from_function(lambda question: f"{about}: {question}", name=name, description=about * 20)


TOOLS = [
    tool("search", "Searches the handbook. "),
    tool("queue", "Shows who waits. "),
    tool("call", "Calls a group. "),
    tool("write", "Writes a letter. "),
]


def agent(faults: set[str], middleware: list[Any]) -> tuple[Any, str]:
    """The application's agent for one question, and what it puts before the question."""
    lines = {"clock": time.strftime("It is %H:%M:%S. ", time.gmtime(clock.now)), "id": f"Request {uuid.uuid4()}. "}
    texts = [text for fault, text in lines.items() if fault in faults]
    prompt = SystemMessage([{"type": "text", "text": text} for text in (*texts, HANDBOOK)])
    model = ChatAnthropic(model=MODEL, base_url=provider.url, api_key="none")
    tools = chance.sample(TOOLS, len(TOOLS))
    moved = "".join(text for fault, text in lines.items() if fault not in faults)
    return create_agent(model, tools, system_prompt=prompt, middleware=middleware), moved


def day(title: str, faults: set[str], optimizer: PrefixOptimizer | None) -> float:
    """Twenty questions: what they cost in dollars, and what the tracker says of it."""
    tracker = PrefixTracker(keep_text=True, clock=clock)
    first = PrefixMiddleware(optimizer) if optimizer else AnthropicPromptCachingMiddleware()
    for number in range(-6, 20):  # six to learn from
        if number == 0 and optimizer is not None:
            optimizer.replan()
        watching = [tracker.middleware()] if number >= 0 else []
        ready, moved = agent(faults, [first, *watching])
        ready.invoke({"messages": [HumanMessage(f"{moved}Who goes first of queue {number}?")]})
        clock.now += 20
    rows = [row for found in tracker.days() for row in found.sums]
    dollars = sum(row.requests * price(row) for row in rows)
    print(f"\n{title}: ${dollars:.3f}")
    for row in sorted(rows, key=lambda row: -row.lost_usd):
        if row.lost_usd > 0.1 * dollars:
            print(f"  {row.cause}: {row.segment}, looks like {row.looks_like}; lost ${row.lost_usd:.3f}")
            print(f"    {tracker.core.example_of(row)}\n    -> {row.remedy}")
    for plan in optimizer.plans().values() if optimizer else ():
        for proposal in plan.proposals:
            print(f"  proposed: {proposal}")
    return dollars


def price(row: Any) -> float:
    """Dollars for the prompt of one request: a token that is read costs a tenth of one that is not."""
    other = row.input_tokens - row.read_tokens - row.written_tokens
    return DOLLARS * (other + 0.1 * row.read_tokens + 1.25 * row.written_tokens) / row.requests


before = day("As it is, with LangChain's own breakpoints", {"clock", "id"}, None)
day("Optimized: the tools are sorted", {"clock", "id"}, PrefixOptimizer(clock=clock))
day("The clock moved to the question, as proposed", {"id"}, PrefixOptimizer(clock=clock))
optimizer = PrefixOptimizer(clock=clock)
after = day("The random id moved there as well", set(), optimizer)
for plan in optimizer.plans().values():
    print(f"\n{plan.explain()}")
print(f"\nBefore ${before:.3f}, after ${after:.3f}: {1 - after / before:.0%} less for the prompts.")
