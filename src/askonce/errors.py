"""Every error that askonce raises.

    AskOnceError
    ├── ConfigError           a bad argument, URL or password; raised at construction   (ValueError)
    │   ├── MissingExtraError an optional dependency is not installed
    │   └── ForeignStoreError the file or server holds something that is not askonce's
    ├── StoreError            a call to the store failed
    │   └── StoreUnavailable  it is down, unreachable or too slow
    └── CodecError            stored bytes cannot be read: corrupt, foreign, or sealed with another key

Only ``ConfigError`` and its subclasses reach an application that caches through a ``Cache``: there store and codec
errors become misses, which are counted and logged. Code that uses a store directly gets them all.
"""

from __future__ import annotations


class AskOnceError(Exception):
    """Base of all errors that askonce raises."""


class ConfigError(AskOnceError, ValueError):
    """The configuration cannot work; the message says what to do."""


class MissingExtraError(ConfigError):
    """A feature needs a package that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs a package that is not installed: pip install 'askonce[{extra}]'")


class ForeignStoreError(ConfigError):
    """The place at the URL holds something that askonce did not write, or wrote in a newer format."""


class StoreError(AskOnceError):
    """A call to a store failed."""


class StoreUnavailable(StoreError):
    """The store is down, unreachable or too slow."""


class CodecError(AskOnceError):
    """Stored bytes that cannot be read back."""
