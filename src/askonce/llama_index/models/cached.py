"""Cached LLMs: an LLM with a cache between LlamaIndex and its provider."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from llama_index.core.llms import LLM
from llama_index.core.llms.structured_llm import StructuredLLM

from askonce.cache import Cache
from askonce.concurrency.streams import aclosing, closing
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Hit, Place
from askonce.keys.counters import CallUnderWay
from askonce.keys.normal_form import NormalForm
from askonce.llama_index.keys.requests import chat_form, completion_form, model_part
from askonce.llama_index.models import answers, events
from askonce.llama_index.models.acceptance import requested_of
from askonce.llama_index.models.answers import Response
from askonce.llama_index.models.prompts import follow_prompts
from askonce.llama_index.models.structured import running_prediction, structured_methods
from askonce.llama_index.models.twin import Twin, link_to, make_twin, original, plain_view, twin_class
from askonce.stores import Client, Store

logger = logging.getLogger("askonce")
L = TypeVar("L", bound=LLM)
Kind = Literal["chat", "complete"]


def cached_llm(
    llm: L, store: str | Store | Client | Cache | None, settings: Settings, name: str | None = None
) -> L:
    """`askonce.llama_index.cached` for an LLM.

    An LLM that is cached already comes back as it is, unless another store is named. Of a ``StructuredLLM`` the LLM
    inside is cached.

    A hit shows LlamaIndex's observers the usual span and events, with tags ``askonce.…``. It shows the legacy
    ``CallbackManager`` nothing, whose token counters would count the answer again. ``raw`` has the methods and
    attributes of the SDK's object, and its items can be read as of a map. OpenAI's chat completions come as a whole
    or as a stream's last chunk, as the request has it; others as they were stored.

    A ``LangChainLLM`` whose LangChain model is cached by askonce too is stored in both caches; the outer one
    answers first.

    Args:
        llm: any LLM; it stays as it is.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`.
        name: names the model in keys, in place of its private attributes and of what cannot be read.

    Raises:
        ConfigError: a setting is wrong, or the store cannot be used.
    """
    if isinstance(llm, StructuredLLM):
        inner = cached_llm(llm.llm, store, settings, name)
        return llm if inner is llm.llm else llm.model_copy(update={"llm": inner})
    if isinstance(llm, Twin) and store is None and not settings and name in (None, llm._askonce.name):
        return llm
    link = link_to(store, settings, cached_llm, name)
    if link.cache.engine.is_semantic:
        follow_prompts()
    if isinstance(llm, Twin) and llm._askonce.cache is link.cache and name in (None, llm._askonce.name):
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
    return twin_class(base, {**methods, **structured_methods(base)})


# -- one call --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """One call of an endpoint.

    Attributes:
        llm: the twin.
        name: the endpoint's name.
        kind: of the request, such as ``answer``.
        args: the arguments.
        kwargs: those by keyword.
        model: the model's name, once the request has a key.
        made: the LLM's own call, once it has begun.
    """

    llm: Any
    name: str
    kind: Kind
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    model: str | None = None
    made: CallUnderWay | None = None

    @property
    def cache(self) -> Cache:
        return self.llm._askonce.cache  # type: ignore[no-any-return]

    def request(self) -> Request | None:
        """Its name; ``None`` if it is not to be looked up."""
        if not self.args and self._subject not in self.kwargs:
            return None  # the LLM says what is missing
        streams = "stream" in self.name
        of_chat = self.kind == "chat"
        read = partial(answers.unpack, of_chat=of_chat, delivery=self._delivery(), streamed=streams)
        request = self.cache.engine.request("answer", self._form, unpack=read, semantic=True)
        self.model = None if request is None else request.model
        return request

    def _delivery(self) -> int:
        """How it delivers. OpenAI's streams have the usage only on request; those of others have what they have."""
        if not hasattr(self.llm, "_use_chat_completions"):  # it is none of OpenAI's
            return answers.STREAM
        if "stream" not in self.name:
            return answers.WHOLE
        for given in (self.kwargs, self.llm.additional_kwargs):
            options = given.get("stream_options")
            if isinstance(options, dict) and options.get("include_usage"):
                return answers.STREAM_WITH_USAGE
        return answers.STREAM

    @property
    def _subject(self) -> str:
        """The name of the argument of the request itself."""
        return "messages" if self.kind == "chat" else "prompt"

    def _formatted(self) -> tuple[Any, bool, dict[str, Any]]:
        """The messages or the prompt, whether it is formatted, and the options."""
        options = dict(self.kwargs)
        about = self.args[0] if self.args else options.pop(self._subject)
        if self.kind == "chat":
            return about, False, options
        given = options.pop("formatted", False)
        return about, self.args[1] if len(self.args) > 1 else given, options

    def _form(self) -> NormalForm:
        about, formatted, options = self._formatted()
        asynchronous = self.name.startswith("a")
        if self.kind == "chat":
            return chat_form(self.llm, about, options, asynchronous=asynchronous)
        return completion_form(self.llm, about, formatted, options, asynchronous=asynchronous)

    def run(self) -> Any:
        """Call the LLM. Of an asynchronous endpoint the result is to be awaited."""
        prediction = running_prediction.get()
        if prediction is not None:
            prediction.calls = True
        return getattr(plain_view(self.llm), self.name)(*self.args, **self.kwargs)

    def call(self) -> Any:
        """`run`, and record what the LLM changes of itself meanwhile."""
        self.made = CallUnderWay(self.llm)
        with self.made:
            return self.run()

    async def acall(self) -> Any:
        """Asynchronous `call`."""
        self.made = CallUnderWay(self.llm)
        with self.made:
            return await self.run()

    def _check(self, request: Request) -> None:
        """`CacheEngine.check_model` for this one."""
        options, asynchronous = self._formatted()[2], self.name.startswith("a")
        model = partial(model_part, self.llm, options, asynchronous=asynchronous)
        self.cache.engine.check_model(request, self.made, model)

    def response(self, found: Any, request: Request) -> Any:
        """What the endpoint returns: a hit as a response, or a fresh response with its mark."""
        if isinstance(found, Hit):
            self.given(request, found)
            return self.answer(found)
        self.given(request)
        mark = self.cache.engine.mark_of_fresh(request)
        if mark is not None:
            found.additional_kwargs["askonce"] = mark
        return found

    def pack(self, request: Request, response: Any) -> Answer | None:
        """What is stored of an answer."""
        self._check(request)
        return answers.pack(response, self._model(), requested_of(self.llm, self.kwargs))

    def pack_stream(self, request: Request, chunks: list[Any]) -> Answer | None:
        """What is stored of a stream."""
        self._check(request)
        return answers.pack_stream(chunks, self._model(), requested_of(self.llm, self.kwargs), self._delivery())

    def _model(self) -> str | None:
        if self.model is not None:
            return self.model  # a provider's metadata may call its server
        name: str = self.llm.metadata.model_name
        return None if name == "unknown" else name

    def given(self, request: Request, hit: Hit | None = None) -> None:
        """Hand the answer that was given to the structured prediction that waits for it."""
        prediction = running_prediction.get()
        if prediction is not None:
            prediction.calls = True
            place = Place(request.place.namespace, hit.key) if hit is not None and hit.key else None
            prediction.given.append((self.cache.engine, request, place))

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
        about, _, options = self._formatted()
        return events.in_span(
            self.llm, self.name, self.args, self.kwargs,
            lambda: show(events.Shown(self.llm, {self._subject: about}, options, hit)),
        )  # fmt: skip


# -- the endpoints ---------------------------------------------------------------------------------------------


def _endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return call.run()
        return call.response(call.cache.engine.answer(request, call.call, partial(call.pack, request)), request)

    return endpoint


def _async_endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    async def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return await call.run()
        pack = partial(call.pack, request)
        return call.response(await call.cache.engine.aanswer(request, call.acall, pack), request)

    return endpoint


def _stream_endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return call.run()
        chunks: list[Any] = []
        stream = call.cache.engine.stream(
            request,
            lambda: _produce(call, request, chunks),
            lambda: call.pack_stream(request, chunks),
            call.replay,
        )
        call.given(request)
        next(stream)  # the LLM is called now, as without a cache, and not when the stream is first read
        return _rest(stream)

    return endpoint


def _async_stream_endpoint(name: str, kind: Kind) -> Callable[..., Any]:
    async def endpoint(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _Call(self, name, kind, args, kwargs)
        request = call.request()
        if request is None:
            return await call.run()
        chunks: list[Any] = []
        stream = call.cache.engine.astream(
            request,
            lambda: _aproduce(call, request, chunks),
            lambda: call.pack_stream(request, chunks),
            call.replay,
        )
        call.given(request)
        await anext(stream)
        return _arest(stream)

    return endpoint


def _produce(call: _Call, request: Request, chunks: list[Any]) -> Iterator[Any]:
    """Call, and yield ``None`` when that is done; then pass on the stream."""
    call.made = CallUnderWay(call.llm)
    with call.made, closing(call.run()) as stream:
        mark = call.cache.engine.mark_of_fresh(request)
        yield None
        for chunk in stream:
            chunks.append(chunk)
            yield _marked(chunk, mark)


async def _aproduce(call: _Call, request: Request, chunks: list[Any]) -> AsyncIterator[Any]:
    call.made = CallUnderWay(call.llm)
    with call.made:
        async with aclosing(await call.run()) as stream:
            mark = call.cache.engine.mark_of_fresh(request)
            yield None
            async for chunk in stream:
                chunks.append(chunk)
                yield _marked(chunk, mark)


def _marked(chunk: Any, mark: dict[str, Any] | None) -> Any:
    """A chunk of a fresh answer with its mark; it is a copy, since the chunk itself is stored."""
    if mark is None:
        return chunk
    return chunk.model_copy(update={"additional_kwargs": {**chunk.additional_kwargs, "askonce": mark}})


def _rest(stream: Iterator[Any]) -> Generator[Any, None, None]:
    """What follows the first ``None``; another one begins the stale answer that stands in for a failure."""
    with closing(stream) as chunks:
        for chunk in chunks:
            if chunk is not None:
                yield chunk


async def _arest(stream: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    async with aclosing(stream) as chunks:
        async for chunk in chunks:
            if chunk is not None:
                yield chunk
