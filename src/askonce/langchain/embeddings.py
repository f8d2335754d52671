"""`CachedEmbeddings`: texts are embedded once."""

from __future__ import annotations

import functools
import time
from array import array
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Unpack, cast

from langchain_core.embeddings import Embeddings

from askonce.cache import Cache, shared_cache
from askonce.concurrency.beside import at_once, in_turns
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Hit, Miss
from askonce.entries.vectors import NO_NUMBER, are_mixed, lengths_of, oddity
from askonce.errors import AskOnceError, ConfigError
from askonce.keys.counters import CallUnderWay
from askonce.keys.model_identity import RememberedIdentity
from askonce.keys.new_models import record_new_model
from askonce.keys.normal_form import VERSION, NormalForm, Uncacheable, text
from askonce.langchain.keys.model import described
from askonce.stores import Client, Store

Vector = list[float]
Kind = Literal["document", "query"]

_MODEL_NAMES = tuple(
    "model model_name model_id repo_id deployment azure_deployment engine model_path model_ base_model url".split()
)
# How texts are sent, and not what their vectors are.
_NEUTRAL = frozenset(
    """
    chunk_size batch_size max_batch_size skip_empty show_progress_bar show_progress embedding_ctx_length_warned
    max_concurrency max_concurrent_requests max_workers cache_folder n_jobs threads parallel num_thread num_gpu
    keep_alive http_socket_options openai_proxy retry_min_seconds retry_max_seconds
    """.split()
)


class CachedEmbeddings(Embeddings):
    """Embeddings that send their model only texts whose vectors are not in the cache.

        embeddings = cached(OpenAIEmbeddings(model="text-embedding-3-small"))

    Vectors are stored as 32-bit floats. Queries and documents are stored apart, since many models embed them
    differently. The missing texts of one batch are sent in one call.

    Args:
        embeddings: any embeddings.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        model: a name for the model and everything else that its vectors depend on, instead of what
            ``embeddings`` shows of itself.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        embeddings: what was given.
        cache: the `Cache` in use.

    Raises:
        ConfigError: the embeddings do not show which model they are and there is no ``model``, an argument is
            wrong, or the store cannot be used.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        store: str | Store | Client | Cache | None = None,
        *,
        model: str | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.embeddings = embeddings
        self._model = None if model is None else {"name": model}
        if model is None:
            try:
                _identities[False].of(embeddings)
            except Uncacheable as error:
                raise ConfigError(str(error)) from None
            except Exception as error:  # whatever an object in them raises
                reason = f"{type(embeddings).__name__} cannot be read ({type(error).__name__}); name the model: "
                raise ConfigError(reason + _WAY_OUT) from error
        self.cache = shared_cache(store, settings)

    def embed_documents(self, texts: list[str]) -> list[Vector]:
        """A vector for each text, in their order.

        Raises:
            AskOnceError: the model gave another number of vectors than texts.
        """
        batch = _Batch(self)
        at_once(batch.read("document", texts))
        batch.found(self.cache.engine.lookup_many(batch.named, len))
        while batch.missing:
            started, call = time.monotonic(), CallUnderWay(self.embeddings)
            with call:
                vectors = self.embeddings.embed_documents(batch.missing)
            answered = at_once(batch.made(vectors, call))
            self.cache.engine.store_many(*answered, time.monotonic() - started)
        return batch.vectors()

    async def aembed_documents(self, texts: list[str]) -> list[Vector]:
        """Asynchronous `embed_documents`."""
        batch = _Batch(self, asynchronous=True)
        await in_turns(batch.read("document", texts))
        batch.found(await self.cache.engine.alookup_many(batch.named, len))
        while batch.missing:
            started, call = time.monotonic(), CallUnderWay(self.embeddings)
            with call:
                vectors = await self.embeddings.aembed_documents(batch.missing)
            answered = await in_turns(batch.made(vectors, call))
            await self.cache.engine.astore_many(*answered, time.monotonic() - started)
        return batch.vectors()

    def embed_query(self, text: str) -> Vector:
        """The vector of a query."""
        request = self._request("query", text)
        if request is None:
            return self.embeddings.embed_query(text)
        call: CallUnderWay | None = None

        def compute() -> Vector:
            nonlocal call
            call = CallUnderWay(self.embeddings)
            with call:
                return self.embeddings.embed_query(text)

        def packed(vector: Vector) -> Answer:
            self._check(request, call)
            return _packed(vector)

        found = self.cache.engine.answer(request, compute, packed)
        return cast("Vector", found.value) if isinstance(found, Hit) else _rounded(found)

    async def aembed_query(self, text: str) -> Vector:
        """Asynchronous `embed_query`."""
        request = self._request("query", text, self._reading("aembed_query"))
        if request is None:
            return await self.embeddings.aembed_query(text)
        call: CallUnderWay | None = None

        async def compute() -> Vector:
            nonlocal call
            call = CallUnderWay(self.embeddings)
            with call:
                return await self.embeddings.aembed_query(text)

        def packed(vector: Vector) -> Answer:
            self._check(request, call, "aembed_query")
            return _packed(vector)

        found = await self.cache.engine.aanswer(request, compute, packed)
        return cast("Vector", found.value) if isinstance(found, Hit) else _rounded(found)

    def _check(self, request: Request, call: CallUnderWay | None, method: str = "") -> None:
        """`CacheEngine.check_model` for these; ``method`` as of `_reading`."""
        self.cache.engine.check_model(request, call, lambda: self._reading(method)().form)

    def _reading(self, method: str = "") -> Callable[[], _Identity]:
        """Reads the embeddings as they are now: once, and only if there is a key to make.

        Args:
            method: the asynchronous method that will be called; one of LangChain's own calls the synchronous one.
        """
        if self._model is not None:
            named = _Identity(self._model, self._model["name"])
            return lambda: named
        own = bool(method) and getattr(type(self.embeddings), method, None) is not getattr(Embeddings, method)
        return functools.cache(lambda: _identities[own].of(self.embeddings))

    def _request(self, kind: Kind, value: str, read: Callable[[], _Identity] | None = None) -> Request | None:
        read = read or self._reading()

        def form() -> NormalForm:
            model, name = read()
            body = {"version": VERSION, "kind": f"embedding of a {kind}", "model": model, "text": text(value)}
            return NormalForm(body, model=name)

        return self.cache.engine.request("embedding", form, unpack=_unpacked, from_sources=False)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the embeddings have."""
        if name.startswith("__") or name == "embeddings":
            raise AttributeError(name)
        return getattr(self.embeddings, name)


class _Batch:
    """Texts to embed, each of them once.

    What takes long where there are many is a generator, which yields after each text.

    Attributes:
        named: the requests for those that may be found.
        missing: those to request, in their order.
    """

    def __init__(self, owner: CachedEmbeddings, *, asynchronous: bool = False) -> None:
        self._owner, self._engine = owner, owner.cache.engine
        self._method = "aembed_documents" if asynchronous else ""
        self._texts: Sequence[str] = ()
        self._requests: dict[str, Request | None] = {}
        self._hits: dict[str, Hit] = {}
        self._vectors: dict[str, Vector] = {}
        self.named: list[Request] = []
        self.missing: list[str] = []

    def read(self, kind: Kind, texts: Sequence[str]) -> Generator[None, None, None]:
        """Make the requests for texts; the embeddings are read once for all."""
        self._texts, read = list(texts), self._owner._reading(self._method)
        for one in self._texts:
            if one not in self._requests:
                self._requests[one] = request = self._owner._request(kind, one, read)
                if request is not None:
                    self.named.append(request)
            yield

    def found(self, found: Sequence[Hit | Miss]) -> None:
        """Record what the lookup of ``named`` found."""
        looked_up = iter(found)
        for one, request in self._requests.items():
            hit = None if request is None else next(looked_up)
            if isinstance(hit, Hit):
                self._hits[one], self._vectors[one] = hit, hit.value
            else:
                self.missing.append(one)

    def made(
        self, vectors: Sequence[Sequence[float]], call: CallUnderWay
    ) -> Generator[None, None, tuple[list[Request], list[Answer | None]]]:
        """Record what the model gave for ``missing`` in a call; returns what of it to store.

        If the vectors that were found are of another length, all texts are missing now.
        """
        if len(vectors) != len(self.missing):
            raise AskOnceError(
                f"the embeddings gave {len(vectors)} vectors for {len(self.missing)} texts; nothing was stored"
            )
        requests = [request for one in self.missing if (request := self._requests[one]) is not None]
        answers: list[Answer | None] = []
        is_unchanged = True
        try:
            for request in requests[:1]:  # they have the model in common
                self._owner._check(request, call, self._method)
        except Uncacheable:
            is_unchanged = False
        found, fresh = lengths_of(hit.value for hit in self._hits.values()), lengths_of(vectors)
        for one, vector in zip(self.missing, vectors, strict=True):
            answer = _packed(vector, found | fresh)
            (self._vectors[one],) = answer.values
            if self._requests[one] is not None:
                answers.append(answer if is_unchanged else None)
            yield
        self.missing = []
        if are_mixed(found, fresh):
            pairs = [(self._requests[one], hit) for one, hit in self._hits.items()]
            self._engine.not_served((request, hit) for request, hit in pairs if request is not None)
            self._hits, self.missing = {}, list(self._requests)
        return requests, answers

    def vectors(self) -> list[Vector]:
        """A list of its own for each text."""
        first = set(self._vectors)
        vectors = []
        for one in self._texts:
            vector = self._vectors[one]
            vectors.append(vector if one in first or vector is None else list(vector))
            first.discard(one)
        return vectors


def _packed(vector: Sequence[float], lengths: Collection[int] = ()) -> Answer:
    """What is stored of a vector, unless something is wrong with it."""
    try:
        packed = array("f", vector)
    except TypeError:  # some servers give nulls; what the model gives is passed on
        return Answer(b"", invalid=True, detail=NO_NUMBER, values=(None if vector is None else list(vector),))
    odd = oddity(packed, lengths)
    return Answer(
        packed.tobytes(),
        empty=not packed,
        invalid=bool(odd),
        detail=odd,
        values=(packed.tolist(),),
        vector_length=len(packed),
    )


def _rounded(vector: Sequence[float]) -> Vector:
    """As it will come from the cache, so that hits and misses give the same."""
    return cast("Vector", _packed(vector).values[0])


def _unpacked(payload: bytes) -> Vector:
    vector = array("f")
    vector.frombytes(payload)
    return vector.tolist()


class _Identity(NamedTuple):
    """What the vectors of embeddings depend on, in normal form, and the model's name, if known."""

    form: dict[str, Any]
    name: str | None


def form_of_embeddings(embeddings: Embeddings) -> Mapping[str, Any]:
    """What the vectors of embeddings, cached or not, depend on, in normal form.

    Raises:
        Uncacheable: they do not show which model they are, or something of them cannot be read.
    """
    if isinstance(embeddings, CachedEmbeddings):
        return embeddings._reading()().form
    return _identities[False].of(embeddings).form


def _identity_of(embeddings: Embeddings, *, asynchronous: bool) -> _Identity:
    form, described_fields = described(embeddings, _NEUTRAL, _WAY_OUT, asynchronous=asynchronous)
    if not any(isinstance(described_fields.get(name), str) and described_fields[name] for name in _MODEL_NAMES):
        cls = type(embeddings)
        raise Uncacheable(f"{cls.__name__} does not show which model it is; name it: {_WAY_OUT}")
    names = (getattr(embeddings, "model", None), getattr(embeddings, "model_name", None))
    identity = _Identity(form, next((name for name in names if isinstance(name, str)), None))
    record_new_model(embeddings, type(embeddings), _parts_of(identity), _WAY_OUT)
    return identity


def _parts_of(identity: _Identity) -> dict[str, Any]:
    return {**identity.form["fields"], **identity.form.get("own_fields", {})}


_WAY_OUT = "cached(embeddings, model='…')"
_identities = {
    asynchronous: RememberedIdentity(partial(_identity_of, asynchronous=asynchronous), _parts_of, _WAY_OUT)
    for asynchronous in (False, True)
}
