"""Cached LLMs: an LLM with a cache between LlamaIndex and its provider."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from llama_index.core.llms import LLM
from llama_index.core.llms.structured_llm import StructuredLLM

from askonce.cache import Cache
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.llama_index.keys.requests import chat_form, completion_form
from askonce.llama_index.models import answers, events
from askonce.llama_index.models.answers import Response
from askonce.llama_index.models.prompts import follow_prompts
from askonce.llama_index.models.twin import Twin, link_to, make_twin, original, plain_view, twin_class
from askonce.stores import Store

logger = logging.getLogger("askonce")
L = TypeVar("L", bound=LLM)
Kind = Literal["chat", "complete"]
_UNPACK = {kind: functools.partial(answers.unpack, of_chat=kind == "chat") for kind in ("chat", "complete")}


def cached_llm(llm: L, store: str | Store | Cache | None, settings: Settings) -> L:
    """`askonce.llama_index.cached` for an LLM.

    An LLM that is cached already comes back as it is, unless another store is named. Of a ``StructuredLLM`` the LLM
    inside is cached.

    A hit shows LlamaIndex's observers the usual span and events, with tags ``askonce.…``. It shows the legacy
    ``CallbackManager`` nothing, whose token counters would count the answer again. ``raw`` is then a map whose
    items can be read as attributes too. An answer that was first streamed comes back with the ``raw`` of the
    stream's last chunk, also where it is not streamed, and the other way round.

    A ``LangChainLLM`` whose LangChain model is cached by askonce too is stored in both caches; the outer one
    answers first.

    Args:
        llm: any LLM; it stays as it is.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`.

    Raises:
        ConfigError: a setting is wrong, or the store cannot be used.
    """
    if isinstance(llm, StructuredLLM):
        inner = cached_llm(llm.llm, store, settings)
        return llm if inner is llm.llm else llm.model_copy(update={"llm": inner})
    if isinstance(llm, Twin) and store is None and not settings:
        return llm
    link = link_to(store, settings, cached_llm)
    if link.cache.engine.is_semantic:
        follow_prompts()
    if isinstance(llm, Twin) and llm._askonce.cache is link.cache:
        return llm
    plain = original(llm)
    return make_twin(plain, _cached_class(type(plain)), link)


@functools.lru_cache(maxsize=256)
def _cached_class(base: type) -> type:
    kinds: tuple[Kind, ...] = ("chat", "complete")
    methods = {}
    for kind in kinds:
        for name, make in (
            (kind, _endpoint),
            (f"a{kind}", _async_endpoint),
            (f"stream_{kind}", _stream_endpoint),
            (f"astream_{kind}", _async_stream_endpoint),
        ):
            methods[name] = functools.wraps(getattr(base, name))(make(name, kind))
    return twin_class(base, methods)


# -- one call --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """One call of an endpoint.

    Attributes:
        llm: the twin.
        name: the endpoint's name.
        kind: what it asks for.
        args: the arguments.
        kwargs: those by keyword.
    """

    llm: Any
    name: str
    kind: Kind
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def cache(self) -> Cache:
        return self.llm._askonce.cache  # type: ignore[no-any-return]

    def request(self) -> Request | None:
        """Its name; ``None`` if it is not to be looked up."""
        return self.cache.engine.request("answer", self._form, unpack=_UNPACK[self.kind], semantic=True)

    def _asked(self) -> tuple[Any, bool, dict[str, Any]]:
        """The messages or the prompt, whether it is formatted, and the options."""
        options = dict(self.kwargs)
        name = "messages" if self.kind == "chat" else "prompt"
        about = self.args[0] if self.args else options.pop(name)
        if self.kind == "chat":
            return about, False, options
        given = options.pop("formatted", False)
        return about, self.args[1] if len(self.args) > 1 else given, options

    def _form(self) -> NormalForm:
        about, formatted, options = self._asked()
        if self.kind == "chat":
            return chat_form(self.llm, about, options)
        return completion_form(self.llm, about, formatted, options)

    def ask(self) -> Any:
        """Call the LLM. Of an asynchronous endpoint the result is to be awaited."""
        return getattr(plain_view(self.llm), self.name)(*self.args, **self.kwargs)

    def marked(self, response: Any, request: Request) -> Any:
        """A fresh answer that shows under which key it is kept, if the cache wants that."""
        mark = self.cache.engine.mark_of_fresh(request)
        if mark is not None:
            response.additional_kwargs["askonce"] = mark
        return response

    def pack(self, response: Any) -> Answer | None:
        """What is stored of an answer."""
        return answers.pack(response, self._model())

    def pack_stream(self, chunks: list[Any]) -> Answer | None:
        """What is stored of a stream."""
        return answers.pack_stream(chunks, self._model())

    def _model(self) -> str | None:
        name: str = self.llm.metadata.model_name
        return None if name == "unknown" else name

    def answer(self, hit: Hit) -> Response:
        """A hit as the endpoint's answer, shown to LlamaIndex's observers."""
        response = answers.marked(hit)
        whole: Response = self._show(hit, lambda shown: shown.whole(response))
        return whole

    def replay(self, hit: Hit) -> Iterator[Response | None]:
        """A hit as a stream; begins with ``None`` as `stream` does."""
        chunks = answers.chunks_of(answers.marked(hit))
        shown: Iterator[Response] = self._show(hit, lambda shown: shown.streamed(chunks))
        yield None
        yield from shown

    def _show(self, hit: Hit, show: Callable[[events.Shown], Any]) -> Any:
        about, _, options = self._asked()
        name = "messages" if self.kind == "chat" else "prompt"
        return events.in_span(
            self.llm, self.name, self.args, self.kwargs,
            lambda: show(events.Shown(self.llm, {name: about}, options, hit)),
        )  # fmt: skip


# -- the endpoints ---------------------------------------------------------------------------------------------


def _endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return call.ask()
        result = call.cache.engine.answer(request, call.ask, call.pack)
        if not isinstance(result, Hit):
            return call.marked(result, request)
        return call.answer(result)

    return endpoint


def _async_endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    async def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return await call.ask()
        result = await call.cache.engine.aanswer(request, call.ask, call.pack)
        if not isinstance(result, Hit):
            return call.marked(result, request)
        return call.answer(result)

    return endpoint


def _stream_endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return call.ask()
        chunks: list[Any] = []
        stream = call.cache.engine.stream(
            request,
            lambda: _produce(call, chunks),
            lambda: call.pack_stream(chunks),
            call.replay,
        )
        next(stream)  # the LLM is asked now, as without a cache, and not when the stream is first read
        return _rest(stream)

    return endpoint


def _async_stream_endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    async def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return await call.ask()
        chunks: list[Any] = []
        stream = call.cache.engine.astream(
            request,
            lambda: _aproduce(call, chunks),
            lambda: call.pack_stream(chunks),
            call.replay,
        )
        await anext(stream)
        return _arest(stream)

    return endpoint


def _produce(call: _Call, chunks: list[Any]) -> Iterator[Any]:
    """Ask, and say ``None`` when that is done; then pass on the stream."""
    stream = call.ask()
    yield None
    for chunk in stream:
        chunks.append(chunk)
        yield chunk


async def _aproduce(call: _Call, chunks: list[Any]) -> AsyncIterator[Any]:
    stream = await call.ask()
    try:
        yield None
        async for chunk in stream:
            chunks.append(chunk)
            yield chunk
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()


def _rest(stream: Iterator[Any]) -> Generator[Any, None, None]:
    """What follows the first ``None``; another one begins the stale answer that stands in for a failure."""
    with contextlib.closing(stream) as chunks:  # type: ignore[type-var]
        for chunk in chunks:
            if chunk is not None:
                yield chunk


async def _arest(stream: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    async with contextlib.aclosing(stream) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            if chunk is not None:
                yield chunk
