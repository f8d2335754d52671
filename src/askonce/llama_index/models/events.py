"""What LlamaIndex's observers see of a hit: the span and the events that the endpoint itself would have shown.

The events are LlamaIndex's own, since observers warn of classes that they do not know; their tags mark the hit.
The legacy ``CallbackManager`` gets no events: its token counters would bill the answer again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation import get_dispatcher

from askonce.entries.entry import Hit

Response = ChatResponse | CompletionResponse

_signature = functools.lru_cache(maxsize=1024)(inspect.signature)
_dispatcher = get_dispatcher("llama_index.core.llms.callbacks")
_EVENTS: dict[str, tuple[Any, Any, Any]] = {
    "messages": (LLMChatStartEvent, LLMChatInProgressEvent, LLMChatEndEvent),
    "prompt": (LLMCompletionStartEvent, LLMCompletionInProgressEvent, LLMCompletionEndEvent),
}


def in_span(llm: Any, endpoint: str, args: Any, kwargs: Any, body: Callable[[], Any]) -> Any:
    """Run ``body`` in a span that looks as the endpoint's own."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return body()

    call.__name__, call.__qualname__ = endpoint, f"{type(llm).__qualname__}.{endpoint}"
    call.__signature__ = _signature(getattr(type(llm), endpoint))  # type: ignore[attr-defined]
    spanned: Any = get_dispatcher(type(llm).__module__).span(call)
    return spanned.__get__(llm, type(llm))(*args, **kwargs)


class Shown:
    """The events of one hit; made inside its span.

    Args:
        llm: which was called.
        about: ``messages`` or ``prompt``, and its content.
        options: further arguments of the call.
        hit: what was found.
    """

    def __init__(self, llm: Any, about: dict[str, Any], options: dict[str, Any], hit: Hit) -> None:
        self._start, self._progress, self._end = _EVENTS[next(iter(about))]
        self._common = {"span_id": active_span_id.get(), **about}
        self._tags = {f"askonce.{name}": value for name, value in hit.mark().items()}
        shown = dict(getattr(llm, "to_payload", llm.to_dict)())  # older versions have no such method
        shown.pop("api_key", None)
        self._show(self._start, model_dict=shown, additional_kwargs=options)

    def _show(self, event: Any, **fields: Any) -> None:
        _dispatcher.event(event(tags=dict(self._tags), **self._common, **fields))

    def whole(self, response: Response) -> Response:
        """Show the end of an answer in one piece."""
        self._show(self._end, response=response)
        return response

    def streamed(self, chunks: Iterable[Response]) -> Generator[Response, None, None]:
        """Show each chunk and the end of a stream, as it is read."""
        last = None
        for last in chunks:
            self._show(self._progress, response=last)
            yield last
        if last is not None:
            self._show(self._end, response=last)
