"""Retrieval-augmented answers with LlamaIndex. askonce takes the lines that name it; the rest is as ever."""

from collections.abc import Iterable, Iterator, Sequence

from corpus import Chunk
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.llms import LLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import TextNode

from askonce import Cache, Corpus
from askonce.llama_index import cached, install, watch


class LlamaIndexRAG:
    """A vector index, and a chat engine for each conversation."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        vectors: Sequence[list[float]],
        model: LLM,
        embeddings: BaseEmbedding,
        answers: Cache,
        retrieved: Cache,
        embedded: Cache,
    ) -> None:
        self.answers, self.retrieved, self.embedded = answers, retrieved, embedded
        Settings.llm, Settings.embed_model = model, cached(embeddings, embedded)
        self._installation = install(answers)
        self._index = VectorStoreIndex([_node(*pair) for pair in zip(chunks, vectors, strict=True)])
        # From here on, what is written or deleted is a change.
        corpus = Corpus(retrieved, name="python-llama-index")
        watch(self._index, corpus)
        # The index lives in memory; its name makes it the same one in the next run.
        inner = self._index.as_retriever(similarity_top_k=5)
        self.retriever = cached(inner, corpus=corpus, name="python")

    def converse(self, questions: Sequence[str]) -> Iterator[str]:
        """Answer the questions of one conversation, one after the other."""
        engine = ContextChatEngine.from_defaults(self.retriever, memory=ChatMemoryBuffer.from_defaults())
        for question in questions:
            yield engine.chat(question).response

    def write(self, chunks: Iterable[Chunk]) -> None:
        """Add documents, or write them anew."""
        embed = Settings.embed_model.get_text_embedding
        self._index.insert_nodes([_node(chunk, embed(chunk.title)) for chunk in chunks])

    def delete(self, name: str) -> None:
        """Delete a document."""
        self._index.delete_nodes([name], delete_from_docstore=True)

    def close(self) -> None:
        self._installation.uninstall()


def _node(chunk: Chunk, vector: list[float]) -> TextNode:
    return TextNode(id_=chunk.name, text=chunk.text, embedding=vector)
