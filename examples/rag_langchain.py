"""Retrieval-augmented answers with LangChain. askonce takes the two lines that name it; the rest is as ever."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from corpus import Chunk
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough

from askonce import Cache
from askonce.langchain import AskOnceCache, CachedEmbeddings

PROMPT = ChatPromptTemplate(
    [
        ("system", "Answer from this documentation of Python, and say so if it does not tell.\n\n{context}"),
        ("placeholder", "{history}"),
        ("human", "{question}"),
    ]
)


class Nearest(BaseRetriever):
    """The pieces of documentation whose vectors are nearest to the question's."""

    chunks: Sequence[Chunk]
    vectors: Any  # an array, one row for each chunk
    embeddings: Embeddings
    count: int = 5

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        scores = self.vectors @ np.array(self.embeddings.embed_query(query))
        return [Document(self.chunks[index].text) for index in np.argsort(-scores)[: self.count]]


class LangChainRAG:
    """A retriever, a prompt and a model in a chain."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        vectors: Sequence[list[float]],
        model: BaseChatModel,
        embeddings: Embeddings,
        answers: Cache,
        embedded: Cache,
    ) -> None:
        self.answers, self.embedded = answers, embedded
        set_llm_cache(AskOnceCache(answers))
        cached_embeddings = CachedEmbeddings(embeddings, embedded)
        retriever = Nearest(chunks=chunks, vectors=np.array(vectors), embeddings=cached_embeddings)
        context = itemgetter("question") | retriever | _text_of
        self._chain = RunnablePassthrough.assign(context=context) | PROMPT | model | StrOutputParser()

    def converse(self, questions: Sequence[str]) -> Iterator[str]:
        """Answer the questions of one conversation, one after the other."""
        history: list[BaseMessage] = []
        for question in questions:
            answer = self._chain.invoke({"question": question, "history": history})
            history += [HumanMessage(question), AIMessage(answer)]
            yield answer

    def close(self) -> None:
        set_llm_cache(None)


def _text_of(documents: list[Document]) -> str:
    return "\n".join(document.page_content for document in documents)
