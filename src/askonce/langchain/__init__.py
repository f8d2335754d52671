"""LangChain: model calls, retrievals and embeddings answered from a cache.

    from langchain_core.globals import set_llm_cache
    from askonce.langchain import AskOnceCache

    set_llm_cache(AskOnceCache())          # every call of every model, except streams

    model = cached(ChatOpenAI(model="…"))  # one model, streams included
    embeddings = CachedEmbeddings(OpenAIEmbeddings(model="…"))

    corpus = Corpus(name="handbook")       # documents that change
    store = watch(Chroma("handbook", embeddings), corpus)
    retriever = CachedRetriever(store.as_retriever(), corpus=corpus)

A hit carries ``response_metadata["askonce"]``: what kind of hit it is, its age, and what it saved.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from askonce.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise
    raise MissingExtraError("askonce.langchain", "langchain") from error

if TYPE_CHECKING:
    from askonce.langchain.dispatch import cached
    from askonce.langchain.embeddings import CachedEmbeddings
    from askonce.langchain.global_cache import AskOnceCache
    from askonce.langchain.past import alearn, learn
    from askonce.langchain.prefix.middleware import PrefixMiddleware
    from askonce.langchain.prefix.optimizer import optimize_prefix
    from askonce.langchain.prefix.tracker import PrefixTracker
    from askonce.langchain.retrieval.retriever import CachedRetriever
    from askonce.langchain.retrieval.watch import watch
    from askonce.langchain.routing.multiplexer import Multiplexer

__all__ = [
    "AskOnceCache",
    "CachedEmbeddings",
    "CachedRetriever",
    "Multiplexer",
    "PrefixMiddleware",
    "PrefixTracker",
    "alearn",
    "cached",
    "learn",
    "optimize_prefix",
    "watch",
]

_WHERE = {
    "AskOnceCache": "global_cache",
    "CachedEmbeddings": "embeddings",
    "CachedRetriever": "retrieval.retriever",
    "Multiplexer": "routing.multiplexer",
    "PrefixMiddleware": "prefix.middleware",
    "PrefixTracker": "prefix.tracker",
    "alearn": "past",
    "cached": "dispatch",
    "learn": "past",
    "optimize_prefix": "prefix.optimizer",
    "watch": "retrieval.watch",
}


def __getattr__(name: str) -> Any:
    # On first use: LangChain's language models alone take half a second to import, and few need all of these.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
