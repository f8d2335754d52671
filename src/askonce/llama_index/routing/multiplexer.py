"""`Multiplexer`: several LLMs as one, of which a strategy chooses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool

from askonce.cache import Cache
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.llama_index.keys.model import component_form
from askonce.llama_index.models.answers import Response
from askonce.llama_index.models.usage import cost_of
from askonce.llama_index.routing.runner import OWN_TOOLS, Routed, name_of
from askonce.routing import RoutingStats, Strategy
from askonce.routing.judges import Judged
from askonce.routing.router import Router
from askonce.routing.strategies import replaced, strategy_form
from askonce.routing.types import ModelResponse
from askonce.stores import Client, Store


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
        store: where `Learned` stores what it learns: a store's URL, a store, a `Cache`, or ``None`` for the SQLite
            file in the user's cache directory.
        fields: of `LLM`, such as ``system_prompt``.

    Raises:
        ConfigError: a model is none, or the strategy does not suit them.
    """

    models: list[Any] = Field(exclude=True, repr=False)  # some show their credentials
    strategy: Any = Field(exclude=True, repr=False)
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
        store: str | Store | Client | Cache | None = None,
        **fields: Any,
    ) -> None:
        for model in models:
            if not isinstance(model, LLM):
                raise ConfigError(f"a Multiplexer takes LlamaIndex LLMs, not a {type(model).__name__}")
        super().__init__(models=list(models), strategy=strategy, **fields)  # type: ignore[call-arg]
        judged = replaced(strategy, _judged) if isinstance(strategy, Strategy) else strategy
        self._router = Router(
            [name_of(model) for model in models],
            judged,
            state=lambda: _state(models, judged),
            store=store,
            costs=costs,
        )

    # -- what it is --------------------------------------------------------------------------------------------

    @classmethod
    def class_name(cls) -> str:
        return "AskOnceMultiplexer"

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        yield "models", list(self._router.names)
        yield "strategy", type(self.strategy).__name__

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

    def askonce_form(self, *, asynchronous: bool = False) -> dict[str, Any]:
        """Which models may answer, and what that depends on: part of the cache key of its answers.

        Args:
            asynchronous: the asynchronous clients of the models will be used.

        Raises:
            Uncacheable: a model or the verifier cannot be named.
        """
        form = {
            "models": [component_form(model, [], asynchronous=asynchronous) for model in self.models],
            "wrapping": [str(self.system_prompt), str(self.query_wrapper_prompt)],
        }
        return form | strategy_form(self._router.strategy)

    # -- the application's side --------------------------------------------------------------------------------

    def feedback(self, response: Response, *, wrong: bool) -> bool:
        """Report whether an answer was wrong. Returns whether something was learned: once for each cheap answer.

        Raises:
            ConfigError: the strategy learns nothing from that.
            StoreError: the store failed; try again.
        """
        return self._router.feedback(response.additional_kwargs.get("askonce"), wrong=wrong)

    async def afeedback(self, response: Response, *, wrong: bool) -> bool:
        """Asynchronous `feedback`."""
        return await asyncio.to_thread(self.feedback, response, wrong=wrong)

    def stats(self) -> RoutingStats:
        """Calls, costs, savings and quality."""
        return self._router.stats()

    def close(self) -> None:
        """Publish what was learned; done at the end of the program anyway."""
        self._router.close()

    # -- calls -------------------------------------------------------------------------------------------------

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        answer: ChatResponse = Routed(self.models, self._router, "chat", messages, kwargs).whole()
        return answer

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        answer: CompletionResponse = Routed(
            self.models, self._router, "complete", prompt, {"formatted": formatted, **kwargs}
        ).whole()
        return answer

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Generator[ChatResponse, None, None]:
        return Routed(self.models, self._router, "chat", messages, kwargs).stream()

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        return Routed(self.models, self._router, "complete", prompt, {"formatted": formatted, **kwargs}).stream()

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        answer: ChatResponse = await Routed(self.models, self._router, "chat", messages, kwargs).awhole()
        return answer

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        run = Routed(self.models, self._router, "complete", prompt, {"formatted": formatted, **kwargs})
        answer: CompletionResponse = await run.awhole()
        return answer

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        return Routed(self.models, self._router, "chat", messages, kwargs).astream()

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> AsyncGenerator[CompletionResponse, None]:
        return Routed(self.models, self._router, "complete", prompt, {"formatted": formatted, **kwargs}).astream()


class _FunctionCalling(Multiplexer, FunctionCallingLLM):
    """A multiplexer of which every model takes tools. They are prepared for the model that is called."""

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
            OWN_TOOLS: options,
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


def _judged(given: Any, role: str) -> Any:
    """An LLM as a judge; anything else as it is."""
    if not isinstance(given, LLM):
        return given
    return Judged(
        lambda prompt: _reply(given, prompt),
        lambda prompt: _areply(given, prompt),
        lambda: {"model": component_form(given, []), **_if_other(given)},
        name_of(given),
    )


def _if_other(llm: LLM) -> dict[str, Any]:
    """What a judge is for asynchronous calls, if that is anything else."""
    form = component_form(llm, [], asynchronous=True)
    return {} if form == component_form(llm, []) else {"asynchronous": form}


def _reply(llm: LLM, prompt: str) -> ModelResponse:
    begun = time.monotonic()
    reply = llm.complete(prompt)
    return ModelResponse(reply.text, cost_of(reply, (), name_of(llm)), time.monotonic() - begun)


async def _areply(llm: LLM, prompt: str) -> ModelResponse:
    begun = time.monotonic()
    reply = await llm.acomplete(prompt)
    return ModelResponse(reply.text, cost_of(reply, (), name_of(llm)), time.monotonic() - begun)


def _state(models: Sequence[LLM], strategy: Strategy) -> str:
    """The name of what is learned about these models under this verifier."""
    try:
        form = strategy_form(strategy)
        form.pop("min_quality", None)
        return NormalForm({"models": [component_form(model, []) for model in models], **form}).digest().hex()[:32]
    except Uncacheable as error:
        raise ConfigError(f"give Learned a name, under which it stores what it learns: {error}") from error
