"""The offline stand-ins as LlamaIndex's models."""

import functools
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from minilm import MiniLM
from offline_model import PRICED_AS, Reply, reply


class OfflineLLM(CustomLLM):
    """An offline stand-in for an LLM."""

    delay: float = Field(1.0, exclude=True)

    @classmethod
    def class_name(cls) -> str:
        return "OfflineLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=PRICED_AS, is_chat_model=True, context_window=100_000)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        given = [message.content or "" for message in messages if message.role != "user"]
        answer = self._reply("\n".join(given), messages[-1].content or "")
        return ChatResponse(message=ChatMessage(answer.text, role="assistant"), raw=_report(answer))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        answer = self._reply("", prompt)
        return CompletionResponse(text=answer.text, raw=_report(answer))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield self.complete(prompt, formatted)

    def _reply(self, given: str, prompt: str) -> Reply:
        context, _, question = prompt.rpartition("Query: ")  # a query engine puts both into one message
        return reply(f"{given}\n{context}", question.removesuffix("Answer: ").strip(), self.delay)


def _report(answer: Reply) -> dict[str, Any]:
    """Usage and model as OpenAI reports them."""
    usage = {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens}
    return {"model": PRICED_AS, "usage": usage | {"total_tokens": sum(usage.values())}}


@functools.cache
def _minilm() -> MiniLM:
    # Not held by the embedding model below: an object inside it would be no part of a cache key without a name=.
    return MiniLM()


class MiniLMEmbedding(BaseEmbedding):
    """Real sentence embeddings, computed here."""

    model_name: str = "all-MiniLM-L6-v2"

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return _minilm().embed(texts).tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)
