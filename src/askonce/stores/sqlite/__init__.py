"""The store in a SQLite file.

from askonce.stores.sqlite import SQLiteStore
"""

from askonce.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
