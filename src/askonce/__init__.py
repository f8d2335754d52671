"""askonce: LangChain and LlamaIndex applications never pay twice for the same answer."""

from askonce.cache import Cache
from askonce.engine.events import CacheEvent
from askonce.engine.explanation import Explanation
from askonce.errors import (
    AskOnceError,
    CodecError,
    ConfigError,
    ForeignStoreError,
    MissingExtraError,
    StoreError,
    StoreUnavailable,
)
from askonce.keys.ignore import FormField
from askonce.keys.normal_form import NormalForm
from askonce.options import cache_options
from askonce.retrieval.corpus import Corpus
from askonce.semantic.config import Semantic
from askonce.stats import Stats, Totals
from askonce.stores import Store, open_store

__all__ = [
    "AskOnceError",
    "Cache",
    "CacheEvent",
    "CodecError",
    "ConfigError",
    "Corpus",
    "Explanation",
    "ForeignStoreError",
    "FormField",
    "MissingExtraError",
    "NormalForm",
    "Semantic",
    "Stats",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "Totals",
    "cache_options",
    "open_store",
]
__version__ = "0.1.0"
