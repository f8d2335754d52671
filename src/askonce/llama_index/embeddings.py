"""Cached embedding models: a text is embedded once."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import time
from array import array
from collections.abc import Awaitable, Callable, Collection, Generator, Sequence
from typing import Any, TypeVar

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload

from askonce.cache import Cache
from askonce.concurrency.beside import at_once, in_turns
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Hit, Miss
from askonce.entries.vectors import are_mixed, lengths_of, oddity
from askonce.keys.counters import CallUnderWay
from askonce.keys.normal_form import NormalForm, Uncacheable, request_form, text
from askonce.llama_index.keys.model import component_form, known_of
from askonce.llama_index.models.twin import Twin, link_to, make_twin, original, plain_view, twin_class
from askonce.stores import Client, Store

E = TypeVar("E", bound=BaseEmbedding)
Vector = list[float]


def cached_embed_model(
    embed_model: E, store: str | Store | Client | Cache | None, settings: Settings, name: str | None = None
) -> E:
    """`askonce.llama_index.cached` for an embedding model.

    It is of the model's own class (of a generated subclass), and its ``to_dict()`` is the model's, so that the
    hashes of an ingestion pipeline stay as they are. Queries and texts are stored apart. A batch is one round trip
    to the store and at most one call of the model, with each missing text once. Vectors of texts are stored as
    32-bit floats, those of queries exactly. A rate limiter counts calls of the model only.

    Args:
        embed_model: any embedding model. One that is cached already comes back as it is, unless another store
            is named.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`.
        name: names the model in keys, in place of its private attributes and of what cannot be read.

    Raises:
        ConfigError: a setting is wrong, or the store cannot be used.
    """
    known = embed_model._askonce if isinstance(embed_model, Twin) else None
    if known is not None and name not in (None, known.name):
        known = None
    if known is not None and store is None and not settings:
        return embed_model
    link = link_to(store, settings, cached_embed_model, name)
    if known is not None and known.cache is link.cache:
        return embed_model
    plain = original(embed_model)
    link = dataclasses.replace(link, rate_limiter=getattr(plain, "rate_limiter", None))
    twin = make_twin(plain, _cached_class(type(plain)), link)
    twin.__dict__["rate_limiter"] = None  # the public methods would count hits too
    return twin


@functools.lru_cache(maxsize=256)
def _cached_class(base: type) -> type:
    """The generated class: the methods under the public ones, which inform observers as before."""

    def one(name: str, meant_as: str) -> Callable[..., Vector]:
        pack = functools.partial(_pack, is_exact=meant_as == "query")

        def method(self: Any, content: str) -> Vector:
            request = _requests_for(self, meant_as)(content)
            made = _Made(self)
            if request is None:
                return made.call(name, content)  # type: ignore[no-any-return]
            checked = functools.partial(made.checked, pack, request)
            return _vector(
                _cache(self).engine.answer(request, functools.partial(made.call, name, content), checked)
            )

        return method

    def aone(name: str, meant_as: str) -> Callable[..., Awaitable[Vector]]:
        pack = functools.partial(_pack, is_exact=meant_as == "query")

        async def method(self: Any, content: str) -> Vector:
            request = _requests_for(self, meant_as, asynchronous=True)(content)
            made = _Made(self, asynchronous=True)
            if request is None:
                return await made.acall(name, content)  # type: ignore[no-any-return]
            checked = functools.partial(made.checked, pack, request)
            compute = functools.partial(made.acall, name, content)
            return _vector(await _cache(self).engine.aanswer(request, compute, checked))

        return method

    methods: dict[str, Any] = {
        "_get_query_embedding": one("_get_query_embedding", "query"),
        "_aget_query_embedding": aone("_aget_query_embedding", "query"),
        "_get_text_embedding": one("_get_text_embedding", "text"),
        "_aget_text_embedding": aone("_aget_text_embedding", "text"),
        "_get_text_embeddings": _many,
        "_aget_text_embeddings": _amany,
    }
    methods |= {name: _public(getattr(base, name)) for name in _PUBLIC}
    return _uncounting(base, methods)


def _many(self: Any, texts: list[str]) -> list[Vector]:
    batch = _Batch(self)
    at_once(batch.read(texts))
    at_once(batch.found(_cache(self).engine.lookup_many(batch.requests, len)))
    while batch.missing:
        made = _Made(self)
        vectors = made.call("_get_text_embeddings", batch.missing)
        _cache(self).engine.store_many(*at_once(batch.made(vectors, made)))
    return batch.vectors()


async def _amany(self: Any, texts: list[str]) -> list[Vector]:
    batch = _Batch(self, asynchronous=True)
    await in_turns(batch.read(texts))
    await in_turns(batch.found(await _cache(self).engine.alookup_many(batch.requests, len)))
    while batch.missing:
        made = _Made(self, asynchronous=True)
        vectors = await made.acall("_aget_text_embeddings", batch.missing)
        await _cache(self).engine.astore_many(*await in_turns(batch.made(vectors, made)))
    return batch.vectors()


def _uncounting(base: type, methods: dict[str, Any]) -> type:
    cls = twin_class(base, {name: functools.wraps(getattr(base, name))(m) for name, m in methods.items()})
    # After the class is made, since pydantic would take it for a change of the field.
    type.__setattr__(cls, "callback_manager", property(_uncounted, _set_callbacks))
    return cls


_PUBLIC = (
    "get_query_embedding",
    "aget_query_embedding",
    "get_text_embedding",
    "aget_text_embedding",
    "get_text_embedding_batch",
    "aget_text_embedding_batch",
)


class _StoredVector(list[float]):
    """A vector from the cache, on its way to the public method that hands it on as a list."""


def _public(method: Callable[..., Any]) -> Callable[..., Any]:
    """A public method of the model's own class, whose result is a list like any other."""
    if inspect.iscoroutinefunction(method):

        async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await in_turns(_handed_on(await method(self, *args, **kwargs)))

        return acall

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return at_once(_handed_on(method(self, *args, **kwargs)))

    return call


def _handed_on(result: Any) -> Generator[None, None, Any]:
    if isinstance(result, _StoredVector):
        return list(result)
    if not isinstance(result, list) or not any(isinstance(one, _StoredVector) for one in result):
        return result
    vectors = []
    for one in result:
        vectors.append(list(one) if isinstance(one, _StoredVector) else one)
        yield
    return vectors


class _Uncounted:
    """A callback manager that is not called for cached vectors: its handlers would count their tokens again."""

    event = CallbackManager.event

    def __init__(self, manager: CallbackManager) -> None:
        self._manager = manager

    def on_event_end(self, event_type: Any, payload: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if payload and event_type == CBEventType.EMBEDDING:
            chunks, vectors = payload.get(EventPayload.CHUNKS), payload.get(EventPayload.EMBEDDINGS)
            if chunks and vectors and len(chunks) == len(vectors):
                fresh = [
                    pair for pair in zip(chunks, vectors, strict=True) if not isinstance(pair[1], _StoredVector)
                ]
                made: dict[str, Any] = {
                    EventPayload.CHUNKS: [chunk for chunk, _ in fresh],
                    EventPayload.EMBEDDINGS: [vector for _, vector in fresh],
                }
                payload = {**payload, **made}
        self._manager.on_event_end(event_type, payload, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)


def _uncounted(twin: Any) -> Any:
    """The twin's callback manager; one without handlers as it is."""
    manager = twin.__dict__["callback_manager"]
    has_handlers = isinstance(manager, CallbackManager) and manager.handlers
    return _Uncounted(manager) if has_handlers else manager


def _set_callbacks(twin: Any, manager: Any) -> None:
    twin.__dict__["callback_manager"] = manager


class _Made:
    """What the model itself makes of one or several texts."""

    def __init__(self, twin: Any, *, asynchronous: bool = False) -> None:
        self._twin, self._asynchronous = twin, asynchronous
        self._call: CallUnderWay | None = None

    def call(self, name: str, content: Any) -> Any:
        """Call the model."""
        limiter = self._twin._askonce.rate_limiter
        if limiter is not None:
            limiter.acquire()
        self._call = CallUnderWay(self._twin)
        with self._call:
            return getattr(plain_view(self._twin), name)(content)

    async def acall(self, name: str, content: Any) -> Any:
        """Asynchronous `call`."""
        limiter = self._twin._askonce.rate_limiter
        if limiter is not None:
            await limiter.async_acquire()
        self._call = CallUnderWay(self._twin)
        with self._call:
            return await getattr(plain_view(self._twin), name)(content)

    def check(self, request: Request) -> None:
        """`CacheEngine.check_model` for this one."""
        form = functools.partial(component_form, self._twin, [], asynchronous=self._asynchronous)
        _cache(self._twin).engine.check_model(request, self._call, form)

    def checked(self, pack: Callable[[Any], Answer | None], request: Request, vector: Any) -> Answer | None:
        """What is stored of a vector."""
        self.check(request)
        return pack(vector)


class _Batch:
    """A batch of texts on its way: which are stored, which the model must embed.

    What takes long where there are many is a generator, which yields after each text.

    Attributes:
        missing: the texts that the model must embed, each once, in their order.
    """

    def __init__(self, model: Any, *, asynchronous: bool = False) -> None:
        self._engine = _cache(model).engine
        self._request = _requests_for(model, "text", asynchronous=asynchronous)
        self._texts: Sequence[str] = ()
        self._requests: dict[str, Request | None] = {}
        self._hits: dict[str, Hit] = {}
        self._known: dict[str, Vector] = {}
        self.missing: list[str] = []
        self._started = 0.0

    def read(self, texts: Sequence[str]) -> Generator[None, None, None]:
        """Make the requests for texts."""
        self._texts = list(texts)
        for content in self._texts:
            if content not in self._requests:
                self._requests[content] = self._request(content)
            yield

    @property
    def requests(self) -> list[Request]:
        return [request for request in self._requests.values() if request is not None]

    def found(self, results: Sequence[Hit | Miss]) -> Generator[None, None, None]:
        """Record what the lookup of `requests` found."""
        named = [content for content, request in self._requests.items() if request is not None]
        for content, result in zip(named, results, strict=True):
            if isinstance(result, Hit):
                self._hits[content], self._known[content] = result, _StoredVector(result.value)
            yield
        self.missing = [content for content in self._requests if content not in self._known]
        self._started = time.monotonic()

    def made(
        self, vectors: Sequence[Vector], made: _Made
    ) -> Generator[None, None, tuple[list[Request], list[Answer | None], float]]:
        """Take the model's vectors; returns what is to be stored of them.

        If the stored ones are of another length, the model must embed all texts now.
        """
        if len(vectors) != len(self.missing):
            raise ValueError(f"the model gave {len(vectors)} vectors for {len(self.missing)} texts")
        seconds = time.monotonic() - self._started
        requests = [request for one in self.missing if (request := self._requests[one]) is not None]
        answers: list[Answer | None] = []
        is_unchanged = True
        try:
            for request in requests[:1]:  # they have the model in common
                made.check(request)
        except Uncacheable:
            is_unchanged = False
        found, fresh = lengths_of(hit.value for hit in self._hits.values()), lengths_of(vectors)
        for content, vector in zip(self.missing, vectors, strict=True):
            self._known[content] = vector
            if self._requests[content] is not None:
                answers.append(_pack(vector, found | fresh) if is_unchanged else None)
            yield
        self.missing, self._started = [], time.monotonic()
        if are_mixed(found, fresh):
            pairs = [(self._requests[content], hit) for content, hit in self._hits.items()]
            self._engine.not_served((request, hit) for request, hit in pairs if request is not None)
            self._hits, self.missing = {}, list(self._requests)
        return requests, answers, seconds

    def vectors(self) -> list[Vector]:
        first_uses = set(self._known)
        vectors = []
        for content in self._texts:
            vector = self._known[content]
            vectors.append(vector if content in first_uses or vector is None else type(vector)(vector))
            first_uses.discard(content)
        return vectors


def _cache(model: Any) -> Cache:
    return model._askonce.cache  # type: ignore[no-any-return]


def _requests_for(model: Any, meant_as: str, *, asynchronous: bool = False) -> Callable[[str], Request | None]:
    """Makes requests for texts; the model is read once for all, and not at all where the cache is bypassed."""
    left_out: list[str] = []
    as_sent = known_of(model).as_sent

    @functools.cache
    def named() -> dict[str, Any]:
        return component_form(model, left_out, asynchronous=asynchronous)

    def form(content: str) -> NormalForm:
        meant = text(content)
        return request_form(
            "embedding",
            named(),
            left_out,
            meant_as=meant_as,
            text=meant if as_sent is None else as_sent(meant),
        )

    def request(content: str) -> Request | None:
        named_form = functools.partial(form, content)
        return _cache(model).engine.request("embedding", named_form, unpack=_unpack, from_sources=False)

    return request


def _pack(vector: Any, lengths: Collection[int] = (), *, is_exact: bool = False) -> Answer | None:
    """32-bit floats, least significant byte first.

    A vector with which something is wrong is not stored. One that comes back ``is_exact`` has 64-bit floats after a
    byte of zero, if it needs them.
    """
    if not isinstance(vector, (list, tuple, np.ndarray)):
        return None
    with np.errstate(all="ignore"):
        packed = np.asarray(vector, dtype="<f4")
    if packed.ndim != 1:
        return None
    payload = packed.tobytes()
    odd = oddity(array("f", payload), lengths)
    if is_exact and not odd:
        exact = np.asarray(vector, dtype="<f8")
        payload = payload if (exact == packed).all() else b"\0" + exact.tobytes()
    return Answer(
        payload,
        empty=not packed.size,
        invalid=bool(odd),
        detail=odd,
        values=(vector,),
        vector_length=packed.size,
    )


def _vector(result: Any) -> Vector:
    if not isinstance(result, Hit):
        return result  # type: ignore[no-any-return]
    return _StoredVector(result.value)


def _unpack(payload: bytes) -> Vector:
    if len(payload) % 4:
        exact: Vector = np.frombuffer(payload, dtype="<f8", offset=1).tolist()
        return exact
    vector: Vector = np.frombuffer(payload, dtype="<f4").tolist()
    return vector
