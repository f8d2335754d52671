"""askonce: LangChain and LlamaIndex applications never pay twice for the same answer."""

from askonce.cache import Cache
from askonce.control import control
from askonce.corpus import Corpus
from askonce.errors import (
    AskOnceError,
    CodecError,
    ConfigError,
    ForeignStoreError,
    MissingExtraError,
    StoreError,
    StoreUnavailable,
)
from askonce.semantic.settings import Semantic
from askonce.stores import Store, open_store
from askonce.telemetry import Stats

__all__ = [
    "AskOnceError",
    "Cache",
    "CodecError",
    "ConfigError",
    "Corpus",
    "ForeignStoreError",
    "MissingExtraError",
    "Semantic",
    "Stats",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "control",
    "open_store",
]
__version__ = "0.1.0"
