"""Retrieval-augmented answers with LlamaIndex. askonce takes the two lines that name it; the rest is as ever."""

from collections.abc import Iterator, Sequence

from corpus import Chunk
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM
from llama_index.core.schema import TextNode

from askonce import Cache
from askonce.llama_index import CachedEmbedding, install


class LlamaIndexRAG:
    """A vector index, and a chat engine for each conversation."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        vectors: Sequence[list[float]],
        model: LLM,
        embeddings: BaseEmbedding,
        answers: Cache,
        embedded: Cache,
    ) -> None:
        self.answers, self.embedded = answers, embedded
        Settings.llm, Settings.embed_model = model, CachedEmbedding(embeddings, embedded)
        self._installation = install(answers)
        nodes = [TextNode(text=chunk.text, embedding=vector) for chunk, vector in zip(chunks, vectors, strict=True)]
        self._index = VectorStoreIndex(nodes)

    def converse(self, questions: Sequence[str]) -> Iterator[str]:
        """Answer the questions of one conversation, one after the other."""
        engine = self._index.as_chat_engine(chat_mode="context", similarity_top_k=5)
        for question in questions:
            yield engine.chat(question).response

    def close(self) -> None:
        self._installation.uninstall()
