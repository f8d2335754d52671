"""A question is looked up once, until the documents change; answers fall with the documents they are from."""

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from offline_langchain import MiniLMEmbeddings, OfflineChatModel

from askonce import Corpus
from askonce.langchain import cached, watch

NOTES = {
    "price": "The red bicycle costs 300 euros.",
    "hours": "The shop opens at nine and closes at six.",
}
corpus = Corpus("memory://", name="shop")
store = watch(InMemoryVectorStore(MiniLMEmbeddings()), corpus)  # any vector store of LangChain
store.add_documents([Document(text, id=name) for name, text in NOTES.items()])
retriever = cached(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
model = cached(OfflineChatModel(delay=0.1), corpus.cache)


def answer_all(when: str) -> None:
    print(when)
    for question in "What does the red bicycle cost?", "When does the shop open?":
        before = corpus.cache.stats().stored
        (note,) = retriever.invoke(question)
        found = "looked up" if corpus.cache.stats().stored > before else "from the cache"
        answer = model.invoke([("system", note.page_content), ("human", question)])
        mark = answer.response_metadata.get("askonce")  # of a hit
        origin = f"from the cache, made from {mark['sources']}" if mark else "made anew"
        print(f"  {answer.text} (note: {found}; answer: {origin})")


answer_all("first")
answer_all("again")
store.add_documents([Document("The red bicycle costs 250 euros.", id="price")])
answer_all("the price is revised: a new text may be what any question looks for")
store.delete(["hours"])
answer_all("the hours are deleted: only what they were found for is looked up again")
