"""Whatever stands in LlamaIndex's Settings is cached after `install`: query engines, chat engines, all."""

from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.llms import ChatMessage
from offline_llama_index import OfflineLLM

from askonce.llama_index import install

Settings.llm = OfflineLLM()  # any LLM of LlamaIndex
with install("memory://") as installation:
    notes = ["The library closes at six.", "Members borrow up to ten books.", "Coffee is not allowed in the hall."]
    engine = SummaryIndex([Document(text=note) for note in notes], embed_model=None).as_query_engine()
    for _ in range(2):
        print(engine.query("How many books may I borrow?"))
    for _ in range(2):
        reply = Settings.llm.chat([ChatMessage(f"{notes[0]} Query: When does the library close?")])
        print(reply.message.content, reply.additional_kwargs.get("askonce", "(the model was called)"))

    stats = installation.stats()
    print(f"{stats.hits} hits, {stats.misses} misses, {stats.saved_seconds:.1f} s saved")
