"""The way of one request through the LLMs of a `Multiplexer`: whole and streamed, synchronous and asynchronous."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.llms import LLM

from askonce.concurrency.streams import aclosing, closing
from askonce.llama_index.models.answers import Response, chunks_of
from askonce.llama_index.models.usage import cost_of
from askonce.routing.router import Router
from askonce.routing.runner import Following, afollow, follow
from askonce.routing.types import ModelCall, ModelResponse, RoutingRequest

OWN_TOOLS = "askonce_tools"
"""The option under which tools wait to be prepared for the model that is called."""


class Routed:
    """One request to a multiplexer: which models were called, and what they answered.

    Args:
        models: of the multiplexer.
        router: its own.
        kind: ``chat`` or ``complete``.
        about: the messages, or the prompt.
        options: of the call.
    """

    def __init__(
        self, models: Sequence[Any], router: Router, kind: str, about: Any, options: dict[str, Any]
    ) -> None:
        self._models, self._router = models, router
        self._kind, self._about, self._options = kind, about, options
        self._request = _routing_request(about, options)
        self._responses: dict[int, Response] = {}
        self._streamed: int | None = None

    def _call(self, index: int, prefix: str) -> Any:
        """Call an endpoint of a model."""
        model, endpoint = self._models[index], getattr(self._models[index], prefix + self._kind)
        options = dict(self._options)
        given = options.pop(OWN_TOOLS, None)
        if given is None:
            return endpoint(self._about, **options)
        tools = options.pop("tools")
        prepared = model._prepare_chat_with_tools_compat(tools, chat_history=list(self._about), **given)
        return endpoint(**{**prepared, **options})

    def _get_response(self, index: int) -> ModelResponse:
        begun = time.monotonic()
        return self._model_response(index, self._call(index, ""), begun)

    async def _aget_response(self, index: int) -> ModelResponse:
        begun = time.monotonic()
        return self._model_response(index, await self._call(index, "a"), begun)

    def _model_response(
        self, index: int, response: Response, begun: float, chunks: Sequence[Response] = ()
    ) -> ModelResponse:
        self._responses[index] = response
        chat = isinstance(response, ChatResponse)
        return ModelResponse(
            text=(response.message.content or "") if chat else response.text,  # type: ignore[union-attr]
            cost_usd=cost_of(response, chunks, name_of(self._models[index])),
            seconds=time.monotonic() - begun,
            arguments=self._arguments(index, response) if isinstance(response, ChatResponse) else (),
            logprobs=_logprobs(response),
            response=response,
        )

    def _arguments(self, index: int, response: ChatResponse) -> list[dict[str, Any]]:
        model = self._models[index]
        if OWN_TOOLS not in self._options:
            return []
        return [
            call.tool_kwargs for call in model.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        ]

    # -- whole answers -----------------------------------------------------------------------------------------

    def whole(self) -> Any:
        """The answer."""
        following = Following(self._router.steps(self._request, self._router.embed(self._request.question)))
        follow(following, self._get_response)
        return self._answer(following)

    async def awhole(self) -> Any:
        """Asynchronous `whole`."""
        embedding = await self._router.aembed(self._request.question)
        following = Following(self._router.steps(self._request, embedding))
        await afollow(following, self._aget_response)
        return self._answer(following)

    def _answer(self, following: Following) -> Response:
        """The answer that was chosen, with its mark."""
        mark = following.mark
        assert mark is not None
        response = self._responses[self._router.names.index(mark["model"])]
        return _marked(response, mark)

    # -- streams -----------------------------------------------------------------------------------------------

    def stream(self) -> Generator[Any, None, None]:
        """The answer as it comes, or replayed."""
        following = Following(self._router.steps(self._request, self._router.embed(self._request.question)))
        with contextlib.closing(following):
            follow(following, self._get_response, until_final=True)
            while isinstance(step := following.step, ModelCall):
                begun = time.monotonic()
                chunks: list[Any] = []
                try:
                    with closing(self._call(step.index, "stream_")) as source:
                        for chunk in source:
                            yield from self._but_last(step.index, chunks, chunk)
                except Exception as error:
                    if self._streamed == step.index:
                        raise
                    following.failed(error)
                else:
                    following.came(self._streamed_whole(step.index, chunks, begun))
                follow(following, self._get_response, until_final=True)
            yield from self._rest(following)

    async def astream(self) -> AsyncGenerator[Any, None]:
        """Asynchronous `stream`."""
        embedding = await self._router.aembed(self._request.question)
        following = Following(self._router.steps(self._request, embedding))
        with contextlib.closing(following):
            await afollow(following, self._aget_response, until_final=True)
            while isinstance(step := following.step, ModelCall):
                begun = time.monotonic()
                chunks: list[Any] = []
                try:
                    source = await self._call(step.index, "astream_")
                    async with aclosing(source):
                        async for chunk in source:
                            for passed in self._but_last(step.index, chunks, chunk):
                                yield passed
                except Exception as error:
                    if self._streamed == step.index:
                        raise
                    following.failed(error)
                else:
                    following.came(self._streamed_whole(step.index, chunks, begun))
                await afollow(following, self._aget_response, until_final=True)
            for left in self._rest(following):
                yield left

    def _but_last(self, index: int, chunks: list[Any], chunk: Any) -> Generator[Any, None, None]:
        """Pass on the chunk before, since the last one is to carry the mark."""
        if chunks:
            self._streamed = index
            yield chunks[-1]
        chunks.append(chunk)

    def _streamed_whole(self, index: int, chunks: list[Any], begun: float) -> ModelResponse:
        if not chunks:
            raise ValueError(f"{self._router.names[index]} ended a stream without a word")
        self._streamed = index
        return self._model_response(index, chunks[-1], begun, chunks)

    def _rest(self, following: Following) -> Generator[Any, None, None]:
        """The last chunk with the mark, or the answer that was held back."""
        answer = self._answer(following)
        if self._streamed is None:
            yield from chunks_of(answer)
        else:
            yield answer


def _marked(response: Response, mark: dict[str, Any]) -> Response:
    return response.model_copy(update={"additional_kwargs": {**response.additional_kwargs, "askonce": mark}})


def _routing_request(about: Any, options: dict[str, Any]) -> RoutingRequest:
    if isinstance(about, str):
        return RoutingRequest(about, len(about))
    texts = [message.content or "" for message in about]
    human = [text for text, message in zip(texts, about, strict=True) if message.role == "user"]
    return RoutingRequest(
        (human or texts or [""])[-1], sum(map(len, texts)), len(texts), bool(options.get("tools"))
    )


def _logprobs(response: Response) -> list[float] | None:
    found = [best[0].logprob for best in response.logprobs or () if best]
    return found or None


def name_of(model: LLM) -> str:
    """The name of a model: its provider's, if it is known."""
    name: str = model.metadata.model_name
    return type(model).__name__ if name == "unknown" else name
