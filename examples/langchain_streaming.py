"""LangChain uses no cache when it streams; a model that was given to `cached` does."""

import time

from offline_langchain import OfflineChatModel

from askonce.langchain import cached

model = cached(OfflineChatModel(), "memory://")
prompt = [
    ("system", "The train to Graz leaves at noon from platform seven."),
    ("human", "When does the train leave?"),
]
for title in "the first time", "again":
    started = time.monotonic()
    print(f"{title}: ", end="")
    for chunk in model.stream(prompt):
        print(chunk.text, end="", flush=True)
    print(f"({time.monotonic() - started:.2f} s)")
