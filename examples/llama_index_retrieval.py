"""A question is looked up once, until the index changes; answers fall with the documents they are from."""

from llama_index.core import VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import TextNode
from offline_llama_index import MiniLMEmbedding, OfflineLLM

from askonce import Corpus
from askonce.llama_index import cached, watch

NOTES = {"price": "The red bicycle costs 300 euros.", "hours": "The shop opens at nine and closes at six."}
nodes = [TextNode(id_=name, text=text) for name, text in NOTES.items()]
index = VectorStoreIndex(nodes, embed_model=MiniLMEmbedding())  # any index of LlamaIndex
corpus = Corpus("memory://", name="shop")
watch(index, corpus)
retriever = cached(index.as_retriever(similarity_top_k=1), corpus=corpus)
llm = cached(OfflineLLM(delay=0.1), corpus.cache)


def answer_all(when: str) -> None:
    print(when)
    for question in "What does the red bicycle cost?", "When does the shop open?":
        before = corpus.cache.stats().stored
        (note,) = retriever.retrieve(question)
        found = "looked up" if corpus.cache.stats().stored > before else "from the cache"
        answer = llm.chat([ChatMessage(note.text, role="system"), ChatMessage(question)])
        mark = answer.additional_kwargs.get("askonce")  # of a hit
        origin = f"from the cache, made from {mark['sources']}" if mark else "made anew"
        print(f"  {answer.message.content} (note: {found}; answer: {origin})")


answer_all("first")
answer_all("again")
index.insert_nodes([TextNode(id_="price", text="The red bicycle costs 250 euros.")])
answer_all("the price is revised: a new text may be what any question looks for")
index.delete_nodes(["hours"], delete_from_docstore=True)
answer_all("the hours are deleted: only what they were found for is looked up again")
