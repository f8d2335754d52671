"""Retrieval-augmented answers with LangChain. askonce takes the lines that name it; the rest is as ever."""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import numpy as np
from corpus import Chunk
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from askonce import Cache, Corpus
from askonce.langchain import AskOnceCache, cached, watch

PROMPT = ChatPromptTemplate(
    [
        ("system", "Answer from this documentation of Python, and say so if it does not tell.\n\n{context}"),
        ("placeholder", "{history}"),
        ("human", "{question}"),
    ]
)


class LangChainRAG:
    """A vector store, a retriever, a prompt and a model in a chain."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        vectors: Sequence[list[float]],
        model: BaseChatModel,
        embeddings: Embeddings,
        answers: Cache,
        retrieved: Cache,
        embedded: Cache,
    ) -> None:
        self.answers, self.retrieved, self.embedded = answers, retrieved, embedded
        set_llm_cache(AskOnceCache(answers))
        store = InMemoryVectorStore(cached(embeddings, embedded))
        for chunk, vector in zip(
            chunks, np.array(vectors), strict=True
        ):  # as add_documents, which would embed again
            fields = {"vector": vector, "text": chunk.title, "metadata": {"text": chunk.text}}
            store.store[chunk.name] = {"id": chunk.name, **fields}
        # From here on, what is written or deleted is a change.
        corpus = Corpus(retrieved, name="python-langchain")
        self._store = watch(store, corpus)
        self.retriever = cached(self._store.as_retriever(search_kwargs={"k": 5}), corpus=corpus)
        context = itemgetter("question") | self.retriever | _text_of
        self._chain = RunnablePassthrough.assign(context=context) | PROMPT | model | StrOutputParser()

    def converse(self, questions: Sequence[str]) -> Iterator[str]:
        """Answer the questions of one conversation, one after the other."""
        history: list[BaseMessage] = []
        for question in questions:
            answer = self._chain.invoke({"question": question, "history": history})
            history += [HumanMessage(question), AIMessage(answer)]
            yield answer

    def write(self, chunks: Iterable[Chunk]) -> None:
        """Add documents, or write them anew."""
        self._store.add_documents(
            [Document(chunk.title, id=chunk.name, metadata={"text": chunk.text}) for chunk in chunks]
        )

    def delete(self, name: str) -> None:
        """Delete a document."""
        self._store.delete([name])

    def close(self) -> None:
        set_llm_cache(None)


def _text_of(documents: list[Document]) -> str:
    return "\n".join(document.metadata["text"] for document in documents)
