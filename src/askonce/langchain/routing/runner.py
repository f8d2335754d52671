"""The models of a `Multiplexer` as they are called for one request, and what they say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableBinding

from askonce.langchain.models.answers import cost_of
from askonce.langchain.models.streams import replay
from askonce.routing.router import Router
from askonce.routing.runner import Following
from askonce.routing.types import ModelResponse

UNSEEN: Any = {"callbacks": []}
"""The calls inside are no runs of their own: what is held back must not be seen in the stream of an agent."""


class Routed:
    """One request to a multiplexer: which models were called, and what they answered.

    Args:
        models: of the multiplexer.
        router: its own.
        stop: texts at which answers end.
        kwargs: of the call.

    Attributes:
        streamed: the model of which a chunk was passed on.
    """

    def __init__(
        self, models: Sequence[BaseChatModel], router: Router, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> None:
        self._models, self._router = models, router
        options = dict(kwargs)
        self._tools, self._tool_options = options.pop("tools", None), options.pop("tool_options", {})
        self._options = {**options, **({} if stop is None else {"stop": stop})}
        self.streamed: int | None = None
        self._chunks: list[AIMessageChunk] = []
        self._messages: dict[int, AIMessage] = {}

    def bound(self, index: int) -> tuple[Runnable[LanguageModelInput, Any], dict[str, Any]]:
        """A model, and the options of the call, the tools as it takes them among these."""
        model: Any = self._models[index]
        if not self._tools:
            return model, self._options
        bound: Any = model.bind_tools(self._tools, **self._tool_options)
        options = self._options
        while isinstance(bound, RunnableBinding):  # it would merge the callbacks of the run in again
            bound, options = bound.bound, {**bound.kwargs, **options}
        return bound, options

    def call(self, index: int, messages: list[BaseMessage]) -> ModelResponse:
        """Call a model for a whole answer."""
        begun = time.monotonic()
        model, options = self.bound(index)
        return self._response(index, model.invoke(messages, UNSEEN, **options), begun)

    async def acall(self, index: int, messages: list[BaseMessage]) -> ModelResponse:
        """Asynchronous `call`."""
        begun = time.monotonic()
        model, options = self.bound(index)
        return self._response(index, await model.ainvoke(messages, UNSEEN, **options), begun)

    def passed(self, index: int, chunk: AIMessageChunk) -> ChatGenerationChunk:
        """A chunk of the model's stream on its way to the caller."""
        self.streamed = index
        self._chunks.append(chunk)
        # The last chunk is the one with the mark.
        return ChatGenerationChunk(message=chunk.model_copy(update={"chunk_position": None}))

    def streamed_whole(self, index: int, begun: float) -> ModelResponse:
        """What a model answered in a stream that has ended."""
        whole = AIMessageChunk(content="") if not self._chunks else self._chunks[0]
        if len(self._chunks) > 1:
            whole = whole.__add__(self._chunks[1:])
        message = message_chunk_to_message(whole)
        assert isinstance(message, AIMessage)
        return self._response(index, message, begun)

    def _response(self, index: int, message: AIMessage, begun: float) -> ModelResponse:
        self._messages[index] = message
        return response_of(self._models[index], message, begun)

    def answer(self, following: Following) -> AIMessage:
        """The answer that was chosen, with its mark."""
        mark = following.mark
        assert mark is not None
        message = self._messages[self._router.names.index(mark["model"])]
        return message.model_copy(update={"response_metadata": {**message.response_metadata, "askonce": mark}})

    def rest(self, following: Following) -> Iterator[ChatGenerationChunk]:
        """What is left of a stream: the mark, or the answer that was held back."""
        answer, mark = self.answer(following), following.mark
        if self.streamed is None:
            yield from replay(ChatGeneration(message=answer))
            return
        nothing: Any = [] if isinstance(answer.content, list) else ""
        message = AIMessageChunk(
            content=nothing, id=answer.id, response_metadata={"askonce": mark}, chunk_position="last"
        )
        yield ChatGenerationChunk(message=message)


def response_of(model: BaseChatModel, message: AIMessage, begun: float) -> ModelResponse:
    """A model's answer as it is verified and paid for; ``begun`` by `time.monotonic`."""
    return ModelResponse(
        text=message.text,
        cost_usd=cost_of(message, name_of(model)),
        seconds=time.monotonic() - begun,
        arguments=[call["args"] for call in message.tool_calls],
        logprobs=_logprobs(message),
        response=message,
    )


def _logprobs(message: AIMessage) -> list[float] | None:
    reported = message.response_metadata.get("logprobs")
    tokens = reported.get("content") if isinstance(reported, dict) else reported
    found = [token["logprob"] for token in tokens or () if isinstance(token, dict) and "logprob" in token]
    return found or None


def name_of(model: BaseChatModel) -> str:
    """The name of a model: its provider's, if it is known."""
    for field in ("model_name", "model", "model_id"):
        name = getattr(model, field, None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__
