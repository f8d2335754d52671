"""LlamaIndex over the cache.

    import askonce.llama_index

    askonce.llama_index.install("sqlite:///cache.db")   # Settings.llm and Settings.embed_model, now and later

or piece by piece: ``cached(llm)``, ``cached(embed_model)``, ``cached(retriever, corpus=corpus)`` with
``watch(index, corpus)``, ``IngestionCache`` for an ingestion pipeline, and ``AskOnceKVStore`` where LlamaIndex
takes a key-value store. Importing this changes nothing in the framework.
"""

from askonce.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise
    raise MissingExtraError("askonce.llama_index", "llama-index") from error

from askonce.llama_index.dispatch import cached
from askonce.llama_index.global_cache import Installation, install
from askonce.llama_index.ingestion import IngestionCache
from askonce.llama_index.kvstore import AskOnceKVStore
from askonce.llama_index.past import alearn, learn
from askonce.llama_index.prefix.optimizer import optimize_prefix
from askonce.llama_index.prefix.tracker import PrefixTracker
from askonce.llama_index.retrieval.retriever import CachedRetriever
from askonce.llama_index.retrieval.watch import watch
from askonce.llama_index.routing.multiplexer import Multiplexer

__all__ = [
    "AskOnceKVStore",
    "CachedRetriever",
    "IngestionCache",
    "Installation",
    "Multiplexer",
    "PrefixTracker",
    "alearn",
    "cached",
    "install",
    "learn",
    "optimize_prefix",
    "watch",
]
