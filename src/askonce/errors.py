"""Every error that askonce raises.

    AskOnceError
    ├── ConfigError           a bad argument, URL or password; raised at construction   (ValueError)
    │   ├── MissingExtraError an optional dependency is not installed
    │   └── ForeignStoreError the file or server holds something that is not askonce's
    ├── StoreError            the store could not do what it was asked
    │   └── StoreUnavailable  it is down, unreachable or too slow
    └── CodecError            stored bytes cannot be read: corrupt, foreign, or sealed with another key

Only ``ConfigError`` and its kin reach an application that caches through a ``Cache``: store and codec
errors are turned into misses there, counted and logged. Code that uses a store directly sees them all.
"""

from __future__ import annotations


class AskOnceError(Exception):
    """Base of all errors that askonce raises."""


class ConfigError(AskOnceError, ValueError):
    """What was asked for cannot work; the message says what to do."""


class MissingExtraError(ConfigError):
    """A feature needs a package that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs a package that is not installed: pip install 'askonce[{extra}]'")


class ForeignStoreError(ConfigError):
    """The place named by the URL holds something that askonce did not write, or wrote in a newer format."""


class StoreError(AskOnceError):
    """A store could not do what it was asked."""


class StoreUnavailable(StoreError):
    """The store is down, unreachable or too slow."""


class CodecError(AskOnceError):
    """Stored bytes that cannot be read back."""
