"""`Multiplexer`: several LLMs as one, of which a strategy chooses."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys import Form, Unkeyable
from askonce.llama_index.answers import Response, chunks_of
from askonce.llama_index.form import component_form
from askonce.llama_index.usage import cost_of
from askonce.routing import RoutingStats, Strategy
from askonce.routing.asked import Ask, Asked, Told
from askonce.routing.following import Following, afollow, follow
from askonce.routing.judging import Judged
from askonce.routing.router import Router
from askonce.routing.strategy import replaced, strategy_form
from askonce.sharing import shared_cache
from askonce.stores import Store

_OWN_TOOLS = "askonce_tools"


class Multiplexer(LLM):
    """Several LLMs as one: a strategy chooses the one that answers.

        llm = Multiplexer([small, large], strategy=Cascade(verifier=Invoice))
        llm = Multiplexer([small, large], strategy=Learned(judge=large, min_quality=0.95))

    A response carries ``additional_kwargs["askonce"]``: ``model``, ``why``, ``calls``, ``cost_usd`` of all calls.
    A model that raises is passed over for the next one; what the last one raises reaches the caller. A stream comes
    as the chosen model makes it, but a cheap answer that is to be verified is held back, and replayed if accepted.
    It is a `FunctionCallingLLM` if all the models are. Observers see the calls of the models inside.

    Args:
        models: two or more, the cheapest first.
        strategy: `Always`, `Cascade` or `Learned` of `askonce.routing`.
        costs: dollars for a call of each model; by default by usage and price, else by time.
        store: where `Learned` keeps what it learns: a store's URL, a store, a `Cache`, or ``None`` for the SQLite
            file in the user's cache directory.
        fields: of `LLM`, such as ``system_prompt``.

    Raises:
        ConfigError: a model is none, or the strategy does not suit them.
    """

    models: list[Any]
    strategy: Any = Field(exclude=True)
    _router: Router = PrivateAttr()

    def __new__(cls, models: Sequence[LLM] = (), **fields: Any) -> Multiplexer:
        if cls is Multiplexer and models and all(isinstance(model, FunctionCallingLLM) for model in models):
            cls = _FunctionCalling
        return super().__new__(cls)

    def __init__(
        self,
        models: Sequence[LLM],
        *,
        strategy: Strategy,
        costs: Sequence[float] | None = None,
        store: str | Store | Cache | None = None,
        **fields: Any,
    ) -> None:
        for model in models:
            if not isinstance(model, LLM):
                raise ConfigError(f"a Multiplexer takes LlamaIndex LLMs, not a {type(model).__name__}")
        super().__init__(models=list(models), strategy=strategy, **fields)  # type: ignore[call-arg]
        judged = replaced(strategy, _judged) if isinstance(strategy, Strategy) else strategy
        self._router = Router(
            [_name(model) for model in models],
            judged,
            state=lambda: _state(models, judged),
            store=lambda: shared_cache(store, {}).store,
            costs=costs,
        )

    # -- what it is --------------------------------------------------------------------------------------------

    @classmethod
    def class_name(cls) -> str:
        return "AskOnceMultiplexer"

    @property
    def metadata(self) -> LLMMetadata:
        each = [model.metadata for model in self.models]
        return LLMMetadata(
            context_window=min(one.context_window for one in each),
            num_output=min(one.num_output for one in each),
            is_chat_model=all(one.is_chat_model for one in each),
            is_function_calling_model=isinstance(self, FunctionCallingLLM)
            and all(one.is_function_calling_model for one in each),
            model_name=" | ".join(self._router.names),
        )

    def askonce_form(self) -> dict[str, Any]:
        """Which models may answer, and what has a say in it: part of the key under which answers are kept.

        Raises:
            Unkeyable: a model or the verifier cannot be named.
        """
        form = {
            "models": [component_form(model, []) for model in self.models],
            "wrapping": [str(self.system_prompt), str(self.query_wrapper_prompt)],
        }
        return form | strategy_form(self._router.strategy)

    # -- the application's side --------------------------------------------------------------------------------

    def feedback(self, response: Response, *, wrong: bool) -> bool:
        """Tell whether an answer was wrong; returns whether something was learned, as it is once of cheap answers.

        Raises:
            ConfigError: the strategy learns nothing from that.
            StoreError: the store failed; try again.
        """
        return self._router.feedback(response.additional_kwargs.get("askonce"), wrong=wrong)

    def stats(self) -> RoutingStats:
        """Calls, costs, savings and quality."""
        return self._router.stats()

    def close(self) -> None:
        """Publish what was learned; done at the end of the program anyway."""
        self._router.close()

    # -- asking ------------------------------------------------------------------------------------------------

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        answer: ChatResponse = _Run(self, "chat", messages, kwargs).whole()
        return answer

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        answer: CompletionResponse = _Run(self, "complete", prompt, {"formatted": formatted, **kwargs}).whole()
        return answer

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Generator[ChatResponse, None, None]:
        return _Run(self, "chat", messages, kwargs).stream()

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        return _Run(self, "complete", prompt, {"formatted": formatted, **kwargs}).stream()

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        answer: ChatResponse = await _Run(self, "chat", messages, kwargs).awhole()
        return answer

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        run = _Run(self, "complete", prompt, {"formatted": formatted, **kwargs})
        answer: CompletionResponse = await run.awhole()
        return answer

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        return _Run(self, "chat", messages, kwargs).astream()

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> AsyncGenerator[CompletionResponse, None]:
        return _Run(self, "complete", prompt, {"formatted": formatted, **kwargs}).astream()


class _FunctionCalling(Multiplexer, FunctionCallingLLM):
    """A multiplexer of which every model takes tools. They are prepared for the model that is asked."""

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        message = ChatMessage(role="user", content=user_msg) if isinstance(user_msg, str) else user_msg
        options = {"allow_parallel_tool_calls": allow_parallel_tool_calls, "tool_required": tool_required, **kwargs}
        return {
            "messages": [*(chat_history or []), *([] if message is None else [message])],
            "tools": list(tools),
            _OWN_TOOLS: options,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tool calls of an answer, as the model that gave it writes them."""
        mark = response.additional_kwargs.get("askonce") or {}
        names = self._router.names
        model = self.models[names.index(mark["model"]) if mark.get("model") in names else -1]
        calls: list[ToolSelection] = model.get_tool_calls_from_response(
            response, error_on_no_tool_call=error_on_no_tool_call, **kwargs
        )
        return calls


class _Run:
    """One request: the models as they are asked for it, and what they said."""

    def __init__(self, multiplexer: Multiplexer, kind: str, about: Any, options: dict[str, Any]) -> None:
        self._models, self._router = multiplexer.models, multiplexer._router
        self._kind, self._about, self._options = kind, about, options
        self._asked = _asked(about, options)
        self._said: dict[int, Response] = {}
        self._streamed: int | None = None

    def _call(self, index: int, prefix: str) -> Any:
        """Call an endpoint of a model."""
        model, endpoint = self._models[index], getattr(self._models[index], prefix + self._kind)
        options = dict(self._options)
        given = options.pop(_OWN_TOOLS, None)
        if given is None:
            return endpoint(self._about, **options)
        tools = options.pop("tools")
        prepared = model._prepare_chat_with_tools_compat(tools, chat_history=list(self._about), **given)
        return endpoint(**{**prepared, **options})

    def _ask(self, index: int) -> Told:
        begun = time.monotonic()
        return self._told(index, self._call(index, ""), begun)

    async def _aask(self, index: int) -> Told:
        begun = time.monotonic()
        return self._told(index, await self._call(index, "a"), begun)

    def _told(self, index: int, response: Response, begun: float, chunks: Sequence[Response] = ()) -> Told:
        self._said[index] = response
        chat = isinstance(response, ChatResponse)
        return Told(
            text=(response.message.content or "") if chat else response.text,  # type: ignore[union-attr]
            cost_usd=cost_of(response, chunks, _name(self._models[index])),
            seconds=time.monotonic() - begun,
            arguments=self._arguments(index, response) if isinstance(response, ChatResponse) else (),
            logprobs=_logprobs(response),
            response=response,
        )

    def _arguments(self, index: int, response: ChatResponse) -> list[dict[str, Any]]:
        model = self._models[index]
        if _OWN_TOOLS not in self._options:
            return []
        return [
            call.tool_kwargs for call in model.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        ]

    # -- whole answers -----------------------------------------------------------------------------------------

    def whole(self) -> Any:
        following = Following(self._router.course(self._asked, self._router.embed(self._asked.question)))
        follow(following, self._ask)
        return self._answer(following)

    async def awhole(self) -> Any:
        embedding = await self._router.aembed(self._asked.question)
        following = Following(self._router.course(self._asked, embedding))
        await afollow(following, self._aask)
        return self._answer(following)

    def _answer(self, following: Following) -> Response:
        """The answer that was chosen, with its mark."""
        mark = following.mark
        assert mark is not None
        response = self._said[self._router.names.index(mark["model"])]
        return _marked(response, mark)

    # -- streams -----------------------------------------------------------------------------------------------

    def stream(self) -> Generator[Any, None, None]:
        following = Following(self._router.course(self._asked, self._router.embed(self._asked.question)))
        with contextlib.closing(following):
            follow(following, self._ask, until_final=True)
            while isinstance(step := following.step, Ask):
                begun = time.monotonic()
                chunks: list[Any] = []
                try:
                    for chunk in self._call(step.index, "stream_"):
                        yield from self._but_last(step.index, chunks, chunk)
                except Exception as error:
                    if self._streamed == step.index:
                        raise
                    following.failed(error)
                else:
                    following.came(self._streamed_whole(step.index, chunks, begun))
                follow(following, self._ask, until_final=True)
            yield from self._rest(following)

    async def astream(self) -> AsyncGenerator[Any, None]:
        embedding = await self._router.aembed(self._asked.question)
        following = Following(self._router.course(self._asked, embedding))
        with contextlib.closing(following):
            await afollow(following, self._aask, until_final=True)
            while isinstance(step := following.step, Ask):
                begun = time.monotonic()
                chunks: list[Any] = []
                try:
                    source = await self._call(step.index, "astream_")
                    async with _closing(source):
                        async for chunk in source:
                            for passed in self._but_last(step.index, chunks, chunk):
                                yield passed
                except Exception as error:
                    if self._streamed == step.index:
                        raise
                    following.failed(error)
                else:
                    following.came(self._streamed_whole(step.index, chunks, begun))
                await afollow(following, self._aask, until_final=True)
            for left in self._rest(following):
                yield left

    def _but_last(self, index: int, chunks: list[Any], chunk: Any) -> Generator[Any, None, None]:
        """Pass on the chunk before, since the last one is to carry the mark."""
        if chunks:
            self._streamed = index
            yield chunks[-1]
        chunks.append(chunk)

    def _streamed_whole(self, index: int, chunks: list[Any], begun: float) -> Told:
        if not chunks:
            raise ValueError(f"{self._router.names[index]} ended a stream without a word")
        self._streamed = index
        return self._told(index, chunks[-1], begun, chunks)

    def _rest(self, following: Following) -> Generator[Any, None, None]:
        """The last chunk with the mark, or the answer that was held back."""
        answer = self._answer(following)
        if self._streamed is None:
            yield from chunks_of(answer)
        else:
            yield answer


@contextlib.asynccontextmanager
async def _closing(source: Any) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()


def _marked(response: Response, mark: dict[str, Any]) -> Response:
    return response.model_copy(update={"additional_kwargs": {**response.additional_kwargs, "askonce": mark}})


def _asked(about: Any, options: dict[str, Any]) -> Asked:
    if isinstance(about, str):
        return Asked(about, len(about))
    texts = [message.content or "" for message in about]
    human = [text for text, message in zip(texts, about, strict=True) if message.role == "user"]
    return Asked((human or texts or [""])[-1], sum(map(len, texts)), len(texts), bool(options.get("tools")))


def _logprobs(response: Response) -> list[float] | None:
    found = [best[0].logprob for best in response.logprobs or () if best]
    return found or None


def _name(model: LLM) -> str:
    name: str = model.metadata.model_name
    return type(model).__name__ if name == "unknown" else name


def _judged(given: Any, role: str) -> Any:
    """An LLM as a judge; anything else as it is."""
    if not isinstance(given, LLM):
        return given
    return Judged(
        lambda prompt: given.complete(prompt).text,
        lambda prompt: _areply(given, prompt),
        lambda: {"model": component_form(given, [])},
    )


async def _areply(llm: LLM, prompt: str) -> str:
    return (await llm.acomplete(prompt)).text


def _state(models: Sequence[LLM], strategy: Strategy) -> str:
    """The name of what is learned about these models under this verifier."""
    try:
        form = strategy_form(strategy)
        form.pop("min_quality", None)
        return Form({"models": [component_form(model, []) for model in models], **form}).digest().hex()[:32]
    except Unkeyable as error:
        raise ConfigError(f"give Learned a name, under which what it learns is kept: {error}") from error
