"""The offline stand-ins as LangChain's models."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from minilm import MiniLM
from offline_model import PRICED_AS, Reply, reply


class OfflineChatModel(BaseChatModel):
    """An offline stand-in for a chat model; with tools, it first calls the first one with the question."""

    delay: float = 1.0

    @property
    def _llm_type(self) -> str:
        return "offline-stand-in"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": PRICED_AS}

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._reply(messages, self.delay)
        message = AIMessage(answer.text, **_report(answer))
        if kwargs.get("tools") and messages[-1].type == "human":
            tool = kwargs["tools"][0]["function"]
            arguments = dict.fromkeys(tool["parameters"]["required"], str(messages[-1].text))
            call = {"name": tool["name"], "args": arguments, "id": "call-1"}
            message = AIMessage("", tool_calls=[call], **_report(answer))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._reply(messages, self.delay / 2)
        for word in answer.text.split(" "):
            time.sleep(self.delay * 0.03)
            yield ChatGenerationChunk(message=AIMessageChunk(word + " "))
        yield ChatGenerationChunk(message=AIMessageChunk("", **_report(answer)))

    def _reply(self, messages: list[BaseMessage], delay: float) -> Reply:
        questions = [message.text for message in messages if message.type == "human"]
        context = [message.text for message in messages if message.type != "human"]
        return reply("\n".join(context), questions[-1], delay)


def _report(answer: Reply) -> dict[str, Any]:
    """Usage and model as the providers' classes report them."""
    usage = UsageMetadata(
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        total_tokens=answer.input_tokens + answer.output_tokens,
    )
    return {"usage_metadata": usage, "response_metadata": {"model_name": PRICED_AS}}


class MiniLMEmbeddings(Embeddings):
    """Real sentence embeddings, computed here."""

    def __init__(self) -> None:
        self.model = "all-MiniLM-L6-v2"
        self._minilm = MiniLM()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._minilm.embed(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
