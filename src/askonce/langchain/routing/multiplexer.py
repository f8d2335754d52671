"""`Multiplexer`: several chat models as one, of which a strategy chooses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.langchain.keys.model import parameters_of_model
from askonce.langchain.routing.runner import UNSEEN, Routed, name_of, response_of
from askonce.routing import RoutingStats, Strategy
from askonce.routing.judges import Judged
from askonce.routing.router import Router
from askonce.routing.runner import Following, afollow, follow
from askonce.routing.strategies import replaced, strategy_form
from askonce.routing.types import ModelCall, ModelResponse, RoutingRequest
from askonce.stores import Client, Store


class Multiplexer(BaseChatModel):
    """Several chat models as one: a strategy chooses the one that answers.

        model = Multiplexer([small, large], strategy=Cascade(verifier=Invoice))
        model = Multiplexer([small, large], strategy=Learned(judge=large, min_quality=0.95))

    An answer carries ``response_metadata["askonce"]``: ``model``, ``why``, ``calls`` and ``cost_usd`` of all calls.
    A model that raises is passed over for the next one; what the last one raises reaches the caller. A stream comes
    as the chosen model makes it, but a cheap answer that is to be verified is held back, and replayed if accepted.

    Args:
        models: two or more, the cheapest first; they stay as they are.
        strategy: `Always`, `Cascade` or `Learned` of `askonce.routing`.
        costs: dollars for a call of each model; by default by usage and price, else by time.
        store: where `Learned` stores what it learns: a store's URL, a store, a `Cache`, or ``None`` for the SQLite
            file in the user's cache directory.
        fields: of `BaseChatModel`, such as ``cache``.

    Raises:
        ConfigError: a model is none, or the strategy does not suit them.
    """

    models: list[BaseChatModel]
    strategy: Any = Field(repr=False)
    _router: Router = PrivateAttr()

    def __init__(
        self,
        models: Sequence[BaseChatModel],
        *,
        strategy: Strategy,
        costs: Sequence[float] | None = None,
        store: str | Store | Client | Cache | None = None,
        **fields: Any,
    ) -> None:
        for model in models:
            if not isinstance(model, BaseChatModel):
                raise ConfigError(f"a Multiplexer takes chat models, not a {type(model).__name__}")
        # LangChain's global cache sees the whole; with the calls inside, it would store everything twice.
        own = [model if model.cache is not None else model.model_copy(update={"cache": False}) for model in models]
        fields.setdefault("name", None)
        super().__init__(models=own, strategy=strategy, **fields)  # type: ignore[call-arg]
        judged = replaced(strategy, _judged) if isinstance(strategy, Strategy) else strategy
        self._router = Router(
            [name_of(model) for model in own],
            judged,
            state=lambda: _state(own, judged),
            store=store,
            costs=costs,
        )

    # -- what it is --------------------------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "askonce-multiplexer"

    def askonce_form(self, *, asynchronous: bool = False) -> dict[str, Any]:
        """Which models may answer, and what that depends on: part of the cache key of its answers.

        Args:
            asynchronous: the asynchronous clients of the models will be used.

        Raises:
            Uncacheable: a model or the verifier cannot be named.
        """
        models = [parameters_of_model(model, None, {}, asynchronous=asynchronous).form for model in self.models]
        return {"models": models, **strategy_form(self._router.strategy)}

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """The same, as LangChain writes it for caches and traces."""
        try:
            return self.askonce_form()
        except Uncacheable as error:
            return {"unnamed": _Unnamed(str(error))}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        name = kwargs.get("model") or " | ".join(self._router.names)
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_model_name": name}

    def get_token_ids(self, text: str) -> list[int]:
        """The tokens of a text, as the last model counts them."""
        return self.models[-1].get_token_ids(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> int:
        """How many tokens messages have, as the last model counts them."""
        return self.models[-1].get_num_tokens_from_messages(messages, *args, **kwargs)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | Any],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to whichever model answers."""
        seen = {name: value for name, value in kwargs.items() if name.startswith("ls_")}
        options = {name: value for name, value in kwargs.items() if name not in seen}
        if tool_choice is not None:
            options["tool_choice"] = tool_choice
        bound = {"tools": [convert_to_openai_tool(tool) for tool in tools], **seen}
        return self.bind(**bound, **({"tool_options": options} if options else {}))

    # -- the application's side --------------------------------------------------------------------------------

    def feedback(self, response: BaseMessage, *, wrong: bool) -> bool:
        """Report whether an answer was wrong. Returns whether something was learned: once for each cheap answer.

        Raises:
            ConfigError: the strategy learns nothing from that.
            StoreError: the store failed; try again.
        """
        return self._router.feedback(response.response_metadata.get("askonce"), wrong=wrong)

    async def afeedback(self, response: BaseMessage, *, wrong: bool) -> bool:
        """Asynchronous `feedback`."""
        return await asyncio.to_thread(self.feedback, response, wrong=wrong)

    def stats(self) -> RoutingStats:
        """Calls, costs, savings and quality."""
        return self._router.stats()

    def close(self) -> None:
        """Publish what was learned; done at the end of the program anyway."""
        self._router.close()

    # -- calls -------------------------------------------------------------------------------------------------

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        run = Routed(self.models, self._router, stop, kwargs)
        request = _routing_request(messages, kwargs)
        following = Following(self._router.steps(request, self._router.embed(request.question)))
        follow(following, lambda index: run.call(index, messages))
        return ChatResult(generations=[ChatGeneration(message=run.answer(following))])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        run = Routed(self.models, self._router, stop, kwargs)
        request = _routing_request(messages, kwargs)
        following = Following(self._router.steps(request, await self._router.aembed(request.question)))
        await afollow(following, lambda index: run.acall(index, messages))
        return ChatResult(generations=[ChatGeneration(message=run.answer(following))])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        run = Routed(self.models, self._router, stop, kwargs)
        request = _routing_request(messages, kwargs)
        following = Following(self._router.steps(request, self._router.embed(request.question)))
        with closing(following):
            follow(following, lambda index: run.call(index, messages), until_final=True)
            while isinstance(step := following.step, ModelCall):
                model, options = run.bound(step.index)
                chunks = model.stream(messages, UNSEEN, **options)
                begun = time.monotonic()
                try:
                    for chunk in chunks:
                        yield run.passed(step.index, chunk)
                except Exception as error:
                    if run.streamed == step.index:
                        raise
                    following.failed(error)
                else:
                    following.came(run.streamed_whole(step.index, begun))
                follow(following, lambda index: run.call(index, messages), until_final=True)
            yield from run.rest(following)

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        run = Routed(self.models, self._router, stop, kwargs)
        request = _routing_request(messages, kwargs)
        following = Following(self._router.steps(request, await self._router.aembed(request.question)))
        with closing(following):
            await afollow(following, lambda index: run.acall(index, messages), until_final=True)
            while isinstance(step := following.step, ModelCall):
                model, options = run.bound(step.index)
                chunks: Any = model.astream(messages, UNSEEN, **options)
                begun = time.monotonic()
                try:
                    async with aclosing(chunks):
                        async for chunk in chunks:
                            yield run.passed(step.index, chunk)
                except Exception as error:
                    if run.streamed == step.index:
                        raise
                    following.failed(error)
                else:
                    following.came(run.streamed_whole(step.index, begun))
                await afollow(following, lambda index: run.acall(index, messages), until_final=True)
            for chunk in run.rest(following):
                yield chunk


def _routing_request(messages: list[BaseMessage], kwargs: dict[str, Any]) -> RoutingRequest:
    texts = [str(message.text) for message in messages]
    human = [text for text, message in zip(texts, messages, strict=True) if message.type == "human"]
    return RoutingRequest(
        question=(human or texts or [""])[-1],
        characters=sum(map(len, texts)),
        messages=len(messages),
        tools=bool(kwargs.get("tools")),
    )


def _judged(given: Any, role: str) -> Any:
    """A chat model as a judge; anything else as it is."""
    if not isinstance(given, BaseChatModel):
        return given
    return Judged(
        lambda prompt: _reply(given, prompt),
        lambda prompt: _areply(given, prompt),
        lambda: {"model": parameters_of_model(given, None, {}).form, **_if_other(given)},
        name_of(given),
    )


def _if_other(model: BaseChatModel) -> dict[str, Any]:
    """What a judge is for asynchronous calls, if that is anything else."""
    form = parameters_of_model(model, None, {}, asynchronous=True).form
    return {} if form == parameters_of_model(model, None, {}).form else {"asynchronous": form}


def _reply(model: BaseChatModel, prompt: str) -> ModelResponse:
    begun = time.monotonic()
    return response_of(model, model.invoke(prompt, UNSEEN), begun)


async def _areply(model: BaseChatModel, prompt: str) -> ModelResponse:
    begun = time.monotonic()
    return response_of(model, await model.ainvoke(prompt, UNSEEN), begun)


def _state(models: Sequence[BaseChatModel], strategy: Strategy) -> str:
    """The name of what is learned about these models under this verifier."""
    try:
        form = strategy_form(strategy)
        form.pop("min_quality", None)
        parts = {"models": [parameters_of_model(model, None, {}).form for model in models], **form}
        return NormalForm(parts).digest().hex()[:32]
    except Uncacheable as error:
        raise ConfigError(f"give Learned a name, under which it stores what it learns: {error}") from error


class _Unnamed:
    """Stands for a model or a verifier without a stable representation; its repr is an address, not cached."""

    def __init__(self, why: str) -> None:
        self.why = why
