"""Every model call of LangChain is answered from the cache if it was made before."""

from langchain_core.globals import set_llm_cache
from offline_langchain import OfflineChatModel

from askonce.langchain import AskOnceCache

cache = AskOnceCache("memory://")  # AskOnceCache() keeps answers in a file, AskOnceCache("redis://…") on a server
set_llm_cache(cache)

model = OfflineChatModel()  # any chat model of LangChain
notes = ("system", "The office opens at nine. The coffee machine is on the second floor.")
for _ in range(2):
    answer = model.invoke([notes, ("human", "Where is the coffee machine?")])
    print(answer.text)
    print("  of the cache:", answer.response_metadata.get("askonce", "nothing, the model was called"))

stats = cache.stats()
print(f"{stats.hits} hit, {stats.misses} miss, {stats.saved_seconds:.1f} s and ${stats.saved_usd:.6f} saved")
