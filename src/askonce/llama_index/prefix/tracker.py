"""`PrefixTracker`: what providers read from their prompt caches, seen from LlamaIndex.

    tracker = PrefixTracker("sqlite:///cache.db")
    tracker.install()                      # all chats of all models, until tracker.uninstall()
    with tracker: ...                      # or for a block
    askonce.llama_index.install("sqlite:///cache.db", prefix=tracker)

LlamaIndex's instrumentation shows the messages and arguments of a chat, and in a span the model. The body that is
sent is built here again, by the model's own package where that is ``llama-index-llms-openai`` or
``llama-index-llms-anthropic``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from inspect import BoundArguments as Bound
from types import TracebackType
from typing import Any, Unpack

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.generic_utils import prompt_to_messages
from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.events.span import SpanDropEvent

from askonce.entries.entry import Usage
from askonce.errors import ConfigError
from askonce.prefix.optimize.clients import optimizer_of
from askonce.prefix.report.report import PrefixReport
from askonce.prefix.requests.usage import usage_of
from askonce.prefix.requests.wire import compact
from askonce.prefix.tracker import PrefixTracker as Tracker
from askonce.prefix.tracker import TrackedCall, TrackerOptions, tracker_of
from askonce.prefix.tracking.aggregates import Day
from askonce.prefix.tracking.history import Recent
from askonce.stores import Client, Store
from askonce.stores.fork import fork_lock

logger = logging.getLogger("askonce")

_MOST_CALLS = 10_000
_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "bedrock": "bedrock", "google": "gemini"}


class PrefixTracker:
    """Tracks what the provider's prompt cache reads of each chat and completion of LlamaIndex's models.

    Thread-safe; sync, async and streamed. Answers from a cache of askonce's are not counted. A stream reports its
    usage only if the model requests it: for OpenAI's
    ``additional_kwargs={"stream_options": {"include_usage": True}}``.

    Args:
        store: a store's URL, a store, ``None`` for memory alone, or a tracker that others feed too.
        provider: whose rules hold, where the model does not show it: ``vllm``, ``sglang``, ``deepseek``.
        options: further arguments of `askonce.prefix.PrefixTracker`.

    Attributes:
        core: the tracker.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(
        self,
        store: str | Store | Client | Tracker | None = None,
        *,
        provider: str | None = None,
        **options: Unpack[TrackerOptions],
    ) -> None:
        self.core = tracker_of(store, options)
        self._provider = provider
        self._lock = fork_lock()  # the garbage collector ends streams, whatever this thread is at
        self._models: Recent[str, Any] = Recent(_MOST_CALLS)  # by span
        self._calls: Recent[str, TrackedCall] = Recent(_MOST_CALLS)
        self._warned: set[str] = set()
        self._events, self._spans = _Events(), _Spans()
        self._events._tracker = self._spans._tracker = self

    def install(self) -> PrefixTracker:
        """Watch all chats from now on; twice does nothing."""
        root = get_dispatcher()
        if self._events not in root.event_handlers:
            root.add_event_handler(self._events)
            root.add_span_handler(self._spans)
        return self

    def uninstall(self) -> None:
        """Watch no more; twice does nothing."""
        root = get_dispatcher()
        root.event_handlers = [one for one in root.event_handlers if one is not self._events]
        root.span_handlers = [one for one in root.span_handlers if one is not self._spans]

    def __enter__(self) -> PrefixTracker:
        return self.install()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstall()

    def days(self) -> list[Day]:
        """The sums of all processes; see `askonce.prefix.PrefixTracker.days`."""
        return self.core.days()

    def report(self, days: int | None = None) -> PrefixReport | None:
        """What was read and lost, to what, and how to fix it; see `askonce.prefix.PrefixTracker.report`."""
        return self.core.report(days)

    def close(self) -> None:
        """Watch no more, and close the tracker; see `askonce.prefix.PrefixTracker.close`."""
        self.uninstall()
        self.core.close()

    # -- LlamaIndex's events -----------------------------------------------------------------------------------

    def _event(self, event: Any) -> None:
        span = event.span_id or ""
        if isinstance(event, LLMChatStartEvent):
            self._started(span, event, event.messages)
        elif isinstance(event, LLMCompletionStartEvent):
            if _chats_unseen(self._models.get(span)):
                self._started(span, event, prompt_to_messages(event.prompt))
        elif isinstance(event, LLMChatInProgressEvent | LLMCompletionInProgressEvent):
            call = self._calls.get(span)
            if call is not None:
                call.answering()
        elif isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent):
            call = self._ended(span)
            if call is not None:
                self._finished(call, event.response)
        elif isinstance(event, SpanDropEvent):
            self._failed(span)

    def _started(
        self, span: str, event: LLMChatStartEvent | LLMCompletionStartEvent, messages: Sequence[ChatMessage]
    ) -> None:
        if "askonce.hit" in event.tags:
            return
        with self._lock:
            model = self._models.pop(span, None)
        provider = self._provider or _provider(model, event.model_dict)
        name = str(event.model_dict.get("class_name", ""))
        if provider is None:
            self._cannot(name, ConfigError("whose rules hold is not known; give PrefixTracker a provider"))
            return
        try:
            payload = _payload(model, event.model_dict, messages, event.additional_kwargs)
            optimizer = optimizer_of(getattr(model, "_client", None))
            call = self.core.start(optimizer.applied(payload, provider) if optimizer else payload, provider)
        except Exception as error:
            self._cannot(name, error)
            return
        with self._lock:
            self._calls[span] = call

    def _finished(self, call: TrackedCall, response: Any) -> None:
        try:
            call.finish(_usage(response))
        except Exception as error:  # LlamaIndex would swallow it
            self._cannot(call.chain.model, error)

    def _cannot(self, name: str, error: Exception) -> None:
        if name not in self._warned:
            self._warned.add(name)
            # No more of the error: its text might hold some of the prompt.
            why = error if isinstance(error, ConfigError) else type(error).__name__
            logger.warning("askonce: chats of %s cannot be tracked: %s", name or "a model", why)

    def _entered(self, span: str, instance: Any) -> None:
        if isinstance(instance, BaseLLM):
            with self._lock:
                self._models[span] = instance

    def _failed(self, span: str) -> None:
        call = self._ended(span)
        if call is not None:
            call.fail()

    def _ended(self, span: str) -> TrackedCall | None:
        with self._lock:
            self._models.pop(span, None)
            return self._calls.pop(span, None)


class _Events(BaseEventHandler):
    _tracker: Any = None

    @classmethod
    def class_name(cls) -> str:
        return "askonce.PrefixTracker"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self._tracker._event(event)


class _Spans(BaseSpanHandler[Any]):
    _tracker: Any = None

    @classmethod
    def class_name(cls) -> str:
        return "askonce.PrefixTracker"

    def new_span(self, id_: str, bound_args: Bound, instance: Any = None, *args: Any, **kwargs: Any) -> None:
        self._tracker._entered(id_, instance)

    def prepare_to_exit_span(self, id_: str, bound_args: Bound, *args: Any, **kwargs: Any) -> None:
        """Nothing: a stream goes on after its span, and the last event ends it."""

    def prepare_to_drop_span(self, id_: str, bound_args: Bound, *args: Any, **kwargs: Any) -> None:
        self._tracker._failed(id_)


# -- the body of the request -----------------------------------------------------------------------------------


def _module(model: Any) -> str:
    """The package that a model's class, or one that it derives from, is of."""
    known = (cls.__module__ for cls in type(model).__mro__ if cls.__module__.startswith("llama_index.llms."))
    return next(known, "")


def _provider(model: Any, described: Mapping[str, Any]) -> str | None:
    name = str(described.get("model_name", "")).lower()
    if "deepseek" in name:
        return "deepseek"
    where = _module(model) or str(described.get("class_name", "")).lower()
    return next((provider for part, provider in _PROVIDERS.items() if part in where), None)


def _classes(model: Any) -> set[str]:
    return {cls.__module__ + "." + cls.__name__ for cls in type(model).__mro__}


_RESPONSES, _CHAT = "llama_index.llms.openai.responses.OpenAIResponses", "llama_index.llms.openai.base.OpenAI"


def _chats_unseen(model: Any) -> bool:
    """Whether a completion is a chat that has no event of its own; with others the chat has a span."""
    return bool(_classes(model) & {_RESPONSES, _CHAT}) and model.metadata.is_chat_model


def _payload(
    model: Any, described: Mapping[str, Any], messages: Sequence[ChatMessage], arguments: dict[str, Any]
) -> Mapping[str, Any]:
    """The body of the request."""
    classes = _classes(model)
    converted: Any
    if _RESPONSES in classes:
        from llama_index.llms.openai.utils import to_openai_message_dicts

        sent = model._get_model_kwargs(**arguments)
        store = sent.get("store")
        converted = to_openai_message_dicts(messages, model=model.model, is_responses_api=True, store=store)
        return {**sent, "input": converted}
    if _CHAT in classes:
        from llama_index.llms.openai.utils import to_openai_message_dicts

        sent = model._get_model_kwargs(**arguments)
        return {**sent, "messages": to_openai_message_dicts(messages, model=model.model)}
    if "llama_index.llms.anthropic.base.Anthropic" in classes:
        from llama_index.llms.anthropic.utils import messages_to_anthropic_messages

        converted, system = messages_to_anthropic_messages(messages, model.cache_idx, model.model)
        return {**model._get_all_kwargs(**arguments), "messages": converted, "system": system}
    return {**arguments, "model": described.get("model_name", ""), "messages": [_plain(one) for one in messages]}


def _plain(message: ChatMessage) -> dict[str, Any]:
    """A message in the form of OpenAI's, its blocks as they are."""
    parts = [
        {"type": "text", "text": block.text}
        if isinstance(block, TextBlock)
        else block.model_dump(exclude_none=True)
        for block in message.blocks
    ]
    return {"role": message.role.value, "content": [_pointed(one) for one in parts]}


def _pointed(block: dict[str, Any]) -> dict[str, Any]:
    if block.get("block_type") == "cache":  # LlamaIndex's CachePoint
        return {"cachePoint": {"ttl": (block.get("cache_control") or {}).get("ttl")}}
    return block if block.get("type") == "text" else {"type": "other", "json": compact(block)}


def _usage(response: Any) -> Usage | None:
    """The tokens that a response says it took; the packages put them in different places."""
    if response is None:
        return None
    raw, message = response.raw, getattr(response, "message", None)
    reported = getattr(message, "additional_kwargs", None) or {}
    for place in (
        _get(raw, "usage"),
        _get(raw, "usage_metadata"),
        reported.get("usage"),
        response.additional_kwargs.get("usage"),
        _get(_get(raw, "response"), "usage"),
        response.additional_kwargs,
    ):
        usage = usage_of(place)
        if usage is not None:
            return usage
    return None


def _get(place: Any, name: str) -> Any:
    return place.get(name) if isinstance(place, Mapping) else getattr(place, name, None)
