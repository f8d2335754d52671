"""`IngestionCache`: what an ingestion pipeline has made of its documents."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import sys
from collections.abc import Mapping, Sequence
from types import CodeType, FrameType, ModuleType
from typing import Any, Unpack

import msgspec
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.ingestion import IngestionCache as LlamaIngestionCache
from llama_index.core.ingestion.cache import DEFAULT_CACHE_NAME
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.schema import BaseNode, NodeWithScore, TransformComponent

from askonce.cache import Cache
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Entry, Hit
from askonce.errors import ConfigError
from askonce.keys.normal_form import VERSION, NormalForm, Uncacheable, plain
from askonce.llama_index.keys.model import component_form
from askonce.llama_index.kvstore import AskOnceKVStore
from askonce.llama_index.retrieval.documents import content_of, encoded, unpack
from askonce.retrieval.cached_retrieval import NotPlain
from askonce.retrieval.encoded import payload_of
from askonce.stores import Client, Store

logger = logging.getLogger("askonce")

_ASIDE = frozenset({"callback_manager", "show_progress", "num_workers", "max_retries", "retry_backoff"})
_DEEPEST = 12
_MOST_PENDING = 1024


class _StoredNodes(msgspec.Struct, array_like=True, tag="askonce nodes"):
    """Nodes with their key; tagged, so that a scan distinguishes them from other entries."""

    collection: str
    key: bytes
    nodes: bytes


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_StoredNodes)


class IngestionCache(LlamaIngestionCache):
    """The cache of an ingestion pipeline, in a store.

        pipeline = IngestionPipeline(transformations=[…], cache=IngestionCache("redis://localhost:6379"))

    LlamaIndex's own names what a transformation made by the joined texts of its input: equal texts of two documents
    are one, and so are "ab" + "c" and "a" + "bc". Here everything of the nodes counts, their ids too, each node by
    itself; and of the transformation its class, its settings and the code of its functions. So documents need ids
    that stay the same from run to run. What cannot be named is made each time, with one warning.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        cache: an `AskOnceKVStore` instead, as LlamaIndex's own takes it.
        collection: keeps these apart from others in the store.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Raises:
        ConfigError: as `Cache` does; or ``cache`` is no `AskOnceKVStore`, or given beside ``store``.
    """

    cache: AskOnceKVStore

    def __init__(
        self,
        store: str | Store | Client | Cache | None = None,
        *,
        cache: AskOnceKVStore | None = None,
        collection: str = DEFAULT_CACHE_NAME,
        **settings: Unpack[Settings],
    ) -> None:
        if cache is not None and (store is not None or settings or not isinstance(cache, AskOnceKVStore)):
            raise ConfigError("give a store's URL, IngestionCache('redis://…'), or an AskOnceKVStore as cache")
        fields: dict[str, Any] = {"cache": cache or AskOnceKVStore(store, **settings), "collection": collection}
        super().__init__(**fields)

    def get(self, key: str, collection: str | None = None) -> Sequence[BaseNode] | None:
        """What the transformation that the pipeline is about to run made before, or ``None``."""
        run = sys._getframe(1)
        own = _own_key(key, run)
        if own is not None:
            _pending[id(self), id(run), key] = own
            while len(_pending) > _MOST_PENDING:
                _pending.pop(next(iter(_pending)), None)
        request = None if own is None else self._request(own, collection)
        if request is None:
            return None
        (found,) = self.cache.cache.engine.lookup_many([request])
        return found.value if isinstance(found, Hit) else None

    def put(self, key: str, nodes: Sequence[BaseNode], collection: str | None = None) -> None:
        """Store what the transformation made that was looked up under this key."""
        own = _pending.pop((id(self), id(sys._getframe(1)), key), None)
        request = None if own is None else self._request(own, collection)
        if own is None or request is None:
            return
        try:
            payload = payload_of([encoded(NodeWithScore(node=node)) for node in nodes])
        except NotPlain as error:
            logger.warning("askonce: what a transformation made is not cached, since it holds %s", error)
            return
        stored = _StoredNodes(collection or self.collection, own, payload)
        self.cache.cache.engine.store_many([request], [Answer(_encoder.encode(stored))], 0.0)

    def clear(self, collection: str | None = None) -> None:
        """Delete all nodes of a collection. Reads the whole namespace.

        Raises:
            StoreError: the store failed, so they may still be there.
        """
        stored = [_stored(entry) for entry in self.cache.cache.entries()]
        for one in stored:
            if one is not None and one.collection == (collection or self.collection):
                request = self._request(one.key, collection)
                if request is not None:
                    self.cache.cache.engine.delete(request)

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Nothing: the store has it all."""

    def _request(self, key: bytes, collection: str | None) -> Request | None:
        body = {
            "version": VERSION,
            "kind": "ingestion",
            "collection": collection or self.collection,
            "key": key.hex(),
        }
        return self.cache.cache.engine.request("node", lambda: NormalForm(body), unpack=_unpack, from_sources=False)


def _unpack(payload: bytes) -> list[BaseNode]:
    return [found.node for found in unpack(_decoder.decode(payload).nodes)]


def _stored(entry: Entry) -> _StoredNodes | None:
    try:
        return _decoder.decode(entry.payload)
    except msgspec.MsgspecError:
        return None  # of something else in the same namespace


# -- keys ------------------------------------------------------------------------------------------------------

# By cache, running pipeline and LlamaIndex's key: our key. It is made before the transformation runs, which may
# change its nodes; and two pipelines may run at once over documents that LlamaIndex takes for the same.
_pending: dict[tuple[int, int, str], bytes] = {}
_warned: set[str] = set()


def _own_key(key: str, run: FrameType) -> bytes | None:
    """The key of what a pipeline is about to make, which hands over only LlamaIndex's key; ``None`` for none."""
    nodes, transformation = run.f_locals.get("nodes"), run.f_locals.get("transform")
    try:
        if not isinstance(transformation, TransformComponent) or key != get_transformation_hash(
            nodes or [], transformation
        ):
            raise Uncacheable("its nodes are not seen; IngestionCache works in an IngestionPipeline")
        return key_of(nodes or [], transformation)
    except (Uncacheable, NotPlain) as error:
        if str(error) not in _warned:
            _warned.add(str(error))
            logger.warning("askonce: a transformation is not cached, since it has no key: %s", error)
        return None


def key_of(nodes: Sequence[BaseNode], transformation: TransformComponent) -> bytes:
    """32 bytes that name what a transformation makes of nodes.

    Raises:
        NotPlain: a node is of another class than LlamaIndex's, or holds what cannot be named.
        Uncacheable: the transformation holds what cannot be named.
    """
    contents = [hashlib.sha256(content_of(node)).hexdigest() for node in nodes]
    return NormalForm({"nodes": contents, "by": plain(_part(transformation))}).digest()


def _part(value: Any, depth: int = 0) -> Any:
    """A transformation, or what it holds, as plain data.

    Raises:
        Uncacheable: it is an object that does not show what it does.
    """
    if depth > _DEEPEST:
        raise Uncacheable(f"a {type(value).__qualname__} is nested too deeply")
    depth += 1
    if isinstance(value, (LLM, BaseEmbedding, BasePromptTemplate)):
        return component_form(value, [])
    if isinstance(value, BaseModel):
        return _fields(value, depth)
    if isinstance(value, Mapping):
        return [[_part(name, depth), _part(item, depth)] for name, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [_part(item, depth) for item in value]
    if isinstance(value, functools.partial):
        return ["partial", _part([value.func, value.args, value.keywords], depth)]
    if inspect.ismethod(value):
        return ["method", value.__qualname__, _part(value.__self__, depth)]
    if inspect.isfunction(value):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        with_it = _part([value.__defaults__, value.__kwdefaults__, held], depth)
        return [f"{value.__module__}.{value.__qualname__}", _code(value.__code__), with_it]
    if isinstance(value, (type, ModuleType)) or inspect.isroutine(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
    if (name := _name_of_known(value)) is not None:
        return name
    plain(value)
    return value


def _fields(value: BaseModel, depth: int) -> Any:
    """The class of an object, its code if it is the application's own, and its fields."""
    cls = type(value)
    fields = {name: getattr(value, name, None) for name in cls.model_fields} | (value.__pydantic_extra__ or {})
    fields |= value.__pydantic_private__ or {}
    own = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in _KNOWN_PACKAGES]
    code = [
        [name, _code(item.__code__)]
        for base in own
        for name, item in vars(base).items()
        if inspect.isfunction(item)
    ]
    shown = {name: _part(item, depth) for name, item in fields.items() if name not in _ASIDE}
    return [f"{cls.__module__}.{cls.__qualname__}", code, shown]


_KNOWN_PACKAGES = frozenset({"llama_index", "pydantic", "abc", "builtins", "typing"})


def _code(code: CodeType) -> str:
    """What a function does, by its code; not where it is written."""
    constants = [_code(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    parts = repr((code.co_code, code.co_names, code.co_varnames, constants))
    return hashlib.sha256(parts.encode(errors="replace")).hexdigest()


def _name_of_known(value: Any) -> str | None:
    """The name of an object of a package whose objects show by it what they do."""
    cls = type(value)
    package = cls.__module__.partition(".")[0]
    if package == "tiktoken":
        return f"tiktoken {value.name}"
    return f"{cls.__module__}.{cls.__qualname__}" if package == "nltk" else None
