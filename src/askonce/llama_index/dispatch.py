"""`cached`: the one verb by which an LLM, an embedding model or a retriever of LlamaIndex gets a cache."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, TypeVar, Unpack, overload

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.indices.base import BaseIndex
from llama_index.core.llms import LLM
from llama_index.core.tools.types import BaseTool
from llama_index.core.vector_stores.types import BasePydanticVectorStore
from llama_index.core.workflow import Workflow

from askonce.cache import Cache
from askonce.engine.settings import Settings
from askonce.errors import ConfigError
from askonce.llama_index.embeddings import cached_embed_model
from askonce.llama_index.models.cached import cached_llm
from askonce.llama_index.retrieval.retriever import CachedRetriever
from askonce.retrieval.corpus import Corpus
from askonce.stores import Client, Store

Model = TypeVar("Model", bound=LLM | BaseEmbedding)


@overload
def cached(
    x: Model,
    store: str | Store | Client | Cache | None = None,
    *,
    name: str | None = None,
    **settings: Unpack[Settings],
) -> Model: ...


@overload
def cached(
    x: BaseRetriever,
    store: str | Store | Client | Cache | None = None,
    *,
    corpus: Corpus | str,
    name: str | None = None,
    depends_on: Sequence[str] | None = None,
    empty_ttl: float = 60,
    audit: float = 0,
    ignore_case: bool = True,
    ignore_punctuation: bool = True,
    **settings: Unpack[Settings],
) -> CachedRetriever: ...


def cached(
    x: Any = None, store: str | Store | Client | Cache | None = None, *, name: str | None = None, **settings: Any
) -> Any:
    """An LLM, an embedding model or a retriever that computes only what is not in the cache.

        llm = cached(OpenAI(model="…"))
        llm = cached(Anthropic(model="…"), "redis://localhost:6379", ttl=3600)
        embed_model = cached(OpenAIEmbedding(model="text-embedding-3-small"))
        retriever = cached(index.as_retriever(), corpus=corpus)

    An *LLM* comes back as a copy of its own class (of a generated subclass), so that agents, structured output,
    query engines and whatever else looks at the class work as before. All its endpoints look into the cache
    first: plain, streaming, and asynchronous. The copy shares the SDK's clients with the LLM. A hit carries
    ``additional_kwargs["askonce"]``. Of a ``StructuredLLM`` the LLM inside is cached.

    An *embedding model* comes back as such a copy, too. Queries and texts are stored apart. A batch is one round
    trip to the store and at most one call of the model, with each missing text once. Vectors are stored as 32-bit
    floats.

    What is cached already comes back as it is, unless another store is named. A *retriever* comes back as
    `CachedRetriever`; see there for its options.

    Args:
        x: an LLM, an embedding model or a retriever; it stays as it is.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        name: which model or retriever it is, where that cannot be read from it, such as a model that was loaded
            from a file (``HuggingFaceLLM``). In keys it stands for all private attributes of a model, and for
            fields that are objects; other fields count as ever.
        settings: of `askonce.Cache`, such as ``ttl`` (seconds) and ``namespace``. For a retriever also ``corpus``,
            which it needs, and the other options of `CachedRetriever`.

    Raises:
        ConfigError: ``x`` is something else (the message says what to wrap instead), an argument is wrong, or the
            store cannot be used.
    """
    if isinstance(x, LLM):
        return cached_llm(x, store, settings, name)  # type: ignore[arg-type]
    if isinstance(x, BaseEmbedding):
        return cached_embed_model(x, store, settings, name)  # type: ignore[arg-type]
    if isinstance(x, BaseRetriever):
        if settings.get("corpus") is None:
            raise ConfigError(
                "a retriever needs the documents that it searches: cached(retriever, corpus=Corpus(name='…'))"
            )
        return CachedRetriever(x, store, name=name, **settings)
    what = f"the class {x.__name__}" if isinstance(x, type) else f"a {type(x).__name__}"
    raise ConfigError(f"cached() takes an LLM, an embedding model or a retriever, not {what}; {_instead(x)}")


def _instead(x: Any) -> str:
    """What to write where `cached` cannot be used."""
    if isinstance(x, type):
        return f"make one first: cached({x.__name__}(…))"
    if isinstance(x, str) and "://" not in x:
        return "make a model of the name first: cached(OpenAI(model='gpt-5-mini'))"
    if x is None or isinstance(x, str) or inspect.isroutine(x):
        return "it is no decorator: wrap the LLM that the function calls, llm = cached(OpenAI(…))"
    if isinstance(x, (BaseIndex, BasePydanticVectorStore)):
        return "wrap a retriever of the index, cached(index.as_retriever(), corpus=…), and its embedding model"
    if isinstance(x, (BaseQueryEngine, BaseChatEngine)):
        return "wrap the LLM and the retriever in it: cached(llm), cached(retriever, corpus=…)"
    if isinstance(x, Workflow):  # agents are workflows
        return "wrap the LLM in it: FunctionAgent(llm=cached(llm), tools=…)"
    if isinstance(x, BaseTool):
        return "tools are not cached; wrap the LLM that calls it, cached(llm)"
    return "wrap the LLM, the embedding model or the retriever that it uses"
