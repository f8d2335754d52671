"""`Multiplexer`: several chat models as one, of which a strategy chooses."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field, PrivateAttr

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys import Form, Unkeyable
from askonce.langchain.asking import parameters_of_model
from askonce.langchain.chunks import replay
from askonce.langchain.payload import cost_of
from askonce.routing import RoutingStats, Strategy
from askonce.routing.asked import Ask, Asked, Told
from askonce.routing.following import Following, afollow, follow
from askonce.routing.judging import Judged
from askonce.routing.router import Router
from askonce.routing.strategy import replaced, strategy_form
from askonce.sharing import shared_cache
from askonce.stores import Store

_UNSEEN: Any = {"callbacks": []}
"""The calls inside are no runs of their own: what is held back must not be seen in the stream of an agent."""


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
        store: where `Learned` keeps what it learns: a store's URL, a store, a `Cache`, or ``None`` for the SQLite
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
        store: str | Store | Cache | None = None,
        **fields: Any,
    ) -> None:
        for model in models:
            if not isinstance(model, BaseChatModel):
                raise ConfigError(f"a Multiplexer takes chat models, not a {type(model).__name__}")
        # LangChain's global cache sees the whole; in the calls inside it would keep everything twice.
        own = [model if model.cache is not None else model.model_copy(update={"cache": False}) for model in models]
        fields.setdefault("name", None)
        super().__init__(models=own, strategy=strategy, **fields)  # type: ignore[call-arg]
        judged = replaced(strategy, _judged) if isinstance(strategy, Strategy) else strategy
        self._router = Router(
            [_name(model) for model in own],
            judged,
            state=lambda: _state(own, judged),
            store=lambda: shared_cache(store, {}).store,
            costs=costs,
        )

    # -- what it is --------------------------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "askonce-multiplexer"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Which models may answer, and what has a say in it: part of the key under which answers are kept."""
        try:
            return {
                "models": [parameters_of_model(model, None, {}).form for model in self.models],
                **strategy_form(self._router.strategy),
            }
        except Unkeyable as error:
            return {"unnamed": _Unnamed(str(error))}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        name = kwargs.get("model") or " | ".join(self._router.names)
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_model_name": name}

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
        """Tell whether an answer was wrong; returns whether something was learned, as it is once of cheap answers.

        Raises:
            ConfigError: the strategy learns nothing from that.
            StoreError: the store failed; try again.
        """
        return self._router.feedback(response.response_metadata.get("askonce"), wrong=wrong)

    def stats(self) -> RoutingStats:
        """Calls, costs, savings and quality."""
        return self._router.stats()

    def close(self) -> None:
        """Publish what was learned; done at the end of the program anyway."""
        self._router.close()

    # -- asking ------------------------------------------------------------------------------------------------

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        run = _Run(self, stop, kwargs)
        asked = _asked(messages, kwargs)
        following = Following(self._router.course(asked, self._router.embed(asked.question)))
        follow(following, lambda index: run.ask(index, messages))
        return ChatResult(generations=[ChatGeneration(message=run.answer(following))])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        run = _Run(self, stop, kwargs)
        asked = _asked(messages, kwargs)
        following = Following(self._router.course(asked, await self._router.aembed(asked.question)))
        await afollow(following, lambda index: run.aask(index, messages))
        return ChatResult(generations=[ChatGeneration(message=run.answer(following))])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        run = _Run(self, stop, kwargs)
        asked = _asked(messages, kwargs)
        following = Following(self._router.course(asked, self._router.embed(asked.question)))
        with closing(following):
            follow(following, lambda index: run.ask(index, messages), until_final=True)
            while isinstance(step := following.step, Ask):
                model, options = run.bound(step.index)
                chunks = model.stream(messages, _UNSEEN, **options)
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
                follow(following, lambda index: run.ask(index, messages), until_final=True)
            yield from run.rest(following)

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        run = _Run(self, stop, kwargs)
        asked = _asked(messages, kwargs)
        following = Following(self._router.course(asked, await self._router.aembed(asked.question)))
        with closing(following):
            await afollow(following, lambda index: run.aask(index, messages), until_final=True)
            while isinstance(step := following.step, Ask):
                model, options = run.bound(step.index)
                chunks: Any = model.astream(messages, _UNSEEN, **options)
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
                await afollow(following, lambda index: run.aask(index, messages), until_final=True)
            for chunk in run.rest(following):
                yield chunk


class _Run:
    """One request: the models as they are asked for it, and what they said.

    Attributes:
        streamed: the model of which a chunk was passed on.
    """

    def __init__(self, multiplexer: Multiplexer, stop: list[str] | None, kwargs: dict[str, Any]) -> None:
        self._models, self._router = multiplexer.models, multiplexer._router
        options = dict(kwargs)
        self._tools, self._tool_options = options.pop("tools", None), options.pop("tool_options", {})
        self._options = {**options, **({} if stop is None else {"stop": stop})}
        self.streamed: int | None = None
        self._chunks: list[AIMessageChunk] = []
        self._said: dict[int, AIMessage] = {}

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

    def ask(self, index: int, messages: list[BaseMessage]) -> Told:
        begun = time.monotonic()
        model, options = self.bound(index)
        return self._told(index, model.invoke(messages, _UNSEEN, **options), begun)

    async def aask(self, index: int, messages: list[BaseMessage]) -> Told:
        begun = time.monotonic()
        model, options = self.bound(index)
        return self._told(index, await model.ainvoke(messages, _UNSEEN, **options), begun)

    def passed(self, index: int, chunk: AIMessageChunk) -> ChatGenerationChunk:
        """A chunk of the model's stream on its way to the caller."""
        self.streamed = index
        self._chunks.append(chunk)
        # The last chunk is the one with the mark.
        return ChatGenerationChunk(message=chunk.model_copy(update={"chunk_position": None}))

    def streamed_whole(self, index: int, begun: float) -> Told:
        whole = AIMessageChunk(content="") if not self._chunks else self._chunks[0]
        if len(self._chunks) > 1:
            whole = whole.__add__(self._chunks[1:])
        message = message_chunk_to_message(whole)
        assert isinstance(message, AIMessage)
        return self._told(index, message, begun)

    def _told(self, index: int, message: AIMessage, begun: float) -> Told:
        self._said[index] = message
        return Told(
            text=message.text,
            cost_usd=cost_of(message, _name(self._models[index])),
            seconds=time.monotonic() - begun,
            arguments=[call["args"] for call in message.tool_calls],
            logprobs=_logprobs(message),
            response=message,
        )

    def answer(self, following: Following) -> AIMessage:
        """The answer that was chosen, with its mark."""
        mark = following.mark
        assert mark is not None
        message = self._said[self._router.names.index(mark["model"])]
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


def _asked(messages: list[BaseMessage], kwargs: dict[str, Any]) -> Asked:
    texts = [str(message.text) for message in messages]
    human = [text for text, message in zip(texts, messages, strict=True) if message.type == "human"]
    return Asked(
        question=(human or texts or [""])[-1],
        characters=sum(map(len, texts)),
        messages=len(messages),
        tools=bool(kwargs.get("tools")),
    )


def _logprobs(message: AIMessage) -> list[float] | None:
    told = message.response_metadata.get("logprobs")
    tokens = told.get("content") if isinstance(told, dict) else told
    found = [token["logprob"] for token in tokens or () if isinstance(token, dict) and "logprob" in token]
    return found or None


def _name(model: BaseChatModel) -> str:
    for field in ("model_name", "model", "model_id"):
        name = getattr(model, field, None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


def _judged(given: Any, role: str) -> Any:
    """A chat model as a judge; anything else as it is."""
    if not isinstance(given, BaseChatModel):
        return given
    return Judged(
        lambda prompt: str(given.invoke(prompt, _UNSEEN).text),
        lambda prompt: _areply(given, prompt),
        lambda: {"model": parameters_of_model(given, None, {}).form},
    )


async def _areply(model: BaseChatModel, prompt: str) -> str:
    return str((await model.ainvoke(prompt, _UNSEEN)).text)


def _state(models: Sequence[BaseChatModel], strategy: Strategy) -> str:
    """The name of what is learned about these models under this verifier."""
    try:
        form = strategy_form(strategy)
        form.pop("min_quality", None)
        parts = {"models": [parameters_of_model(model, None, {}).form for model in models], **form}
        return Form(parts).digest().hex()[:32]
    except Unkeyable as error:
        raise ConfigError(f"give Learned a name, under which what it learns is kept: {error}") from error


class _Unnamed:
    """Stands where a model or a verifier cannot be named; shows only its address, so that nothing is kept of it."""

    def __init__(self, why: str) -> None:
        self.why = why
