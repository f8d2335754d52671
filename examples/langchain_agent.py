"""An agent's model calls are cached; its tools still run, for they may do something."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from offline_langchain import OfflineChatModel

from askonce import Cache
from askonce.langchain import cached


@tool
def look_up(question: str) -> str:
    """Look something up in the staff handbook."""
    print("  the tool runs")
    return "Every employee has thirty days of holiday. Holiday is asked for in the portal."


with Cache("memory://") as cache:
    agent = create_agent(cached(OfflineChatModel(), cache), [look_up])
    for _ in range(2):
        before = cache.stats()
        result = agent.invoke({"messages": [("human", "How many days of holiday do I have?")]})
        after = cache.stats()
        print(result["messages"][-1].text)
        print(f"  model calls: {after.misses - before.misses}, from the cache: {after.hits - before.hits}")
