"""`PrefixTracker`: what providers read from their prompt caches, seen from LangChain.

    tracker = PrefixTracker("sqlite:///cache.db")

    model.invoke(question, config={"callbacks": [tracker]})             # one call, chain or graph
    model = ChatAnthropic(model="…", callbacks=[tracker])               # one model
    agent = create_agent(model, tools, middleware=[tracker.middleware()])

LangChain shows callbacks the messages and the parameters of a call, not the body that is sent. It is built here
again, by the provider's own package where that is ``langchain-openai`` or ``langchain-anthropic``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult

from askonce.errors import ConfigError
from askonce.langchain.prefix.optimizer import PARAMETER
from askonce.prefix.optimize.optimizer import optimizers
from askonce.prefix.report.report import PrefixReport
from askonce.prefix.requests.usage import usage_of
from askonce.prefix.requests.wire import compact
from askonce.prefix.tracker import PrefixTracker as Tracker
from askonce.prefix.tracker import TrackedCall, TrackerOptions, tracker_of
from askonce.prefix.tracking.aggregates import Day
from askonce.prefix.tracking.history import Recent
from askonce.stores import Client, Store
from askonce.stores.fork import fork_lock

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware

logger = logging.getLogger("askonce")

_MOST_CALLS = 10_000
# What LangChain calls a provider -> its name in the rules.
_PROVIDERS = {
    "openai": "openai",
    "azure": "openai",
    "anthropic": "anthropic",
    "deepseek": "deepseek",
    "google_genai": "gemini",
    "google_vertexai": "gemini",
    "amazon_bedrock": "bedrock",
}
# The kind of a model -> the class whose method makes the body of a request.
_CLASSES = {
    "openai-chat": ("langchain_openai", "ChatOpenAI"),
    "azure-openai-chat": ("langchain_openai", "ChatOpenAI"),
    "chat-deepseek": ("langchain_openai", "ChatOpenAI"),
    "anthropic-chat": ("langchain_anthropic", "ChatAnthropic"),
}
_NOT_SENT = ("_type", "stop", "model_kwargs", "streaming", "max_retries", "default_request_timeout")
_SETTINGS = (
    "model_name",
    "model",
    "use_responses_api",
    "output_version",
    "use_previous_response_id",
    "include",
    "truncation",
    "reasoning",
    "context_management",
    "model_kwargs",
    "thinking",
    "output_config",
    "reasoning_effort",
    "max_tokens",
)


class PrefixTracker(BaseCallbackHandler):
    """A LangChain callback that tracks what the provider's prompt cache reads of each call of a chat model.

    Sync, async and streamed. Answers from a cache of the application's own are not counted. A stream reports its
    usage only if the model requests it (``stream_usage``, the default with OpenAI and Anthropic themselves).

    Args:
        store: a store's URL, a store, ``None`` for memory alone, or a tracker that others feed too.
        provider: whose rules hold, where LangChain does not know it: ``vllm``, ``sglang``.
        options: further arguments of `askonce.prefix.PrefixTracker`.

    Attributes:
        core: the tracker.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    run_inline = True  # in async code, on the loop: its work takes a millisecond, and order matters

    def __init__(
        self,
        store: str | Store | Client | Tracker | None = None,
        *,
        provider: str | None = None,
        **options: Unpack[TrackerOptions],
    ) -> None:
        self.core = tracker_of(store, options)
        self._provider = provider
        self._calls: Recent[UUID, TrackedCall] = Recent(_MOST_CALLS)
        self._lock = fork_lock()  # the garbage collector ends streams, whatever this thread is at
        self._warned: set[str] = set()

    def days(self) -> list[Day]:
        """The sums of all processes; see `askonce.prefix.PrefixTracker.days`."""
        return self.core.days()

    def report(self, days: int | None = None) -> PrefixReport | None:
        """What was read and lost, to what, and how to fix it; see `askonce.prefix.PrefixTracker.report`."""
        return self.core.report(days)

    def close(self) -> None:
        """See `askonce.prefix.PrefixTracker.close`."""
        self.core.close()

    def __enter__(self) -> PrefixTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def middleware(self) -> AgentMiddleware[Any, Any, Any]:
        """A middleware for ``create_agent`` that tracks the agent's model.

        Raises:
            ConfigError: ``langchain`` is not installed (``langchain-core`` alone has no agents).
        """
        try:
            from langchain.agents.middleware import AgentMiddleware
        except ModuleNotFoundError as error:
            raise ConfigError("an agent's middleware needs langchain: pip install langchain") from error
        tracker = self

        class PrefixTracking(AgentMiddleware[Any, Any, Any]):
            def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
                return handler(tracker._tracked(request))

            async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
                return await handler(tracker._tracked(request))

        return PrefixTracking()

    def _tracked(self, request: Any) -> Any:
        model = request.model
        callbacks = getattr(model, "callbacks", None)
        if callbacks is not None and not isinstance(callbacks, list):
            manager = callbacks.copy()
            manager.add_handler(self)
            return request.override(model=model.model_copy(update={"callbacks": manager}))
        if self in (callbacks or ()):
            return request
        return request.override(model=model.model_copy(update={"callbacks": [*(callbacks or ()), self]}))

    # -- LangChain's events ------------------------------------------------------------------------------------

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        invocation_params: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chat model is called."""
        parameters = dict(invocation_params or {})
        kind = str(parameters.get("_type", ""))
        provider = self._provider or _provider(kind, parameters, metadata or {})
        if provider is None:
            self._cannot(kind, ConfigError("whose rules hold is not known; give PrefixTracker a provider"))
        if provider is None or len(messages) != 1:
            return
        optimizer = optimizers.get(parameters.pop(PARAMETER, ""))
        try:
            payload = _payload(kind, serialized or {}, messages[0], parameters)
            call = self.core.start(optimizer.applied(payload, provider) if optimizer else payload, provider)
        except Exception as error:
            self._cannot(kind, error)
            return
        with self._lock:
            self._calls[run_id] = call

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A piece of a stream."""
        call = self._calls.get(run_id)
        if call is not None:
            call.answering()

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model has answered."""
        call = self._ended(run_id)
        if call is None:
            return
        message = getattr(response.generations[0][0], "message", None) if response.generations else None
        if _is_from_a_cache(message):
            call.discard()
            return
        try:
            call.finish(usage_of(getattr(message, "usage_metadata", None)))
        except Exception as error:
            self._cannot(call.chain.model, error)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A call failed."""
        call = self._ended(run_id)
        if call is not None:
            call.fail()

    def _ended(self, run_id: UUID) -> TrackedCall | None:
        with self._lock:
            return self._calls.pop(run_id, None)

    def _cannot(self, what: str, error: Exception) -> None:
        if what not in self._warned:
            self._warned.add(what)
            # No more of the error: its text might hold some of the prompt.
            why = error if isinstance(error, ConfigError) else type(error).__name__
            logger.warning("askonce: calls of %s cannot be tracked: %s", what or "a model", why)


def _is_from_a_cache(message: Any) -> bool:
    if not isinstance(message, AIMessage):
        return False
    usage: Any = message.usage_metadata or {}
    # LangChain sets the cost of an answer from its own cache to 0.
    return "hit" in message.response_metadata.get("askonce", {}) or usage.get("total_cost") == 0


def _provider(kind: str, parameters: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    model = str(parameters.get("model") or parameters.get("model_name") or "")
    if "deepseek" in model.lower():
        return "deepseek"
    named = _PROVIDERS.get(str(metadata.get("ls_provider", "")))
    return named or {"langchain_openai": "openai", "langchain_anthropic": "anthropic"}.get(
        _CLASSES.get(kind, ("", ""))[0]
    )


def _payload(
    kind: str, serialized: Mapping[str, Any], messages: Sequence[BaseMessage], parameters: dict[str, Any]
) -> Mapping[str, Any]:
    """The body of the request."""
    sent = {name: value for name, value in parameters.items() if name not in _NOT_SENT and value is not None}
    if kind in _CLASSES:
        module, name = _CLASSES[kind]
        given = serialized.get("kwargs") or {}
        settings = {name: given[name] for name in _SETTINGS if name in given}
        model = sent.get("model") or sent.get("model_name")
        shadow = getattr(import_module(module), name).model_construct(
            **{"model": model, "model_name": model} | settings
        )
        payload: dict[str, Any] = shadow._get_request_payload(list(messages), **sent)
        return payload
    return {
        **sent,
        "model": sent.get("model") or sent.get("model_id"),
        "messages": [_plain(one) for one in messages],
    }


_ROLES = {"human": "user", "ai": "assistant"}


def _plain(message: BaseMessage) -> dict[str, Any]:
    """A message in the form of OpenAI's, its content as it is."""
    plain: dict[str, Any] = {"role": _ROLES.get(message.type, message.type), "content": message.content}
    if isinstance(message, AIMessage) and message.tool_calls:
        plain["tool_calls"] = [
            {"function": {"name": call["name"], "arguments": compact(call["args"])}} for call in message.tool_calls
        ]
    return plain
