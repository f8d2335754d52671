"""The collections in the database of the URL's path (``askonce`` if none).

====================  =====================================================================================
``askonce.entries``   one document per record. ``_id`` is the namespace's hash and the key, in hexadecimal, so
                      that it sorts as keys do; ns; v value; s its length; w weight; h hits; p priority;
                      x expiry in seconds (1e15: never); t tags; g a mark of the call that wrote it; gone, the
                      expiry as a date, for the server's sweeper
``askonce.spaces``    one per namespace: entries, size, inflation; calls and counted serve the accounts;
                      start, head and logged (when the head was drawn) the log
``askonce.leases``    which process makes which record
``askonce.log``       the change log; ``_id`` is the namespace's hash and the sequence
====================  =====================================================================================

The server's own sweeper (TTL index) takes only what is a day past its expiry, in namespaces that are not
written to; it does not update the accounts, which are then too large until the next write counts them.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from hashlib import blake2b
from typing import Any, TypeVar

from bson.datetime_ms import DatetimeMS
from pymongo import IndexModel, ReturnDocument

from askonce.errors import ForeignStoreError

T = TypeVar("T")
Steps = Generator[Any, Any, T]
"""An operation, written once for both drivers: it yields calls of the driver and receives their results. Those of
the synchronous driver are results already; those of the asynchronous one are awaited first."""

ENTRIES, SPACES, LEASES, LOG = "askonce.entries", "askonce.spaces", "askonce.leases", "askonce.log"
BY_PRIORITY = "ns_p_id_s"
FORMAT = 1

_DAY_SECONDS = 86_400
_INDEXES = [
    IndexModel([("ns", 1), ("p", 1), ("_id", 1), ("s", 1)], name=BY_PRIORITY),  # s: to count without fetching
    IndexModel([("ns", 1), ("t", 1)], name="ns_t"),
    IndexModel([("ns", 1), ("x", 1)], name="ns_x"),
]
_SWEEP = IndexModel([("gone", 1)], name="gone", expireAfterSeconds=_DAY_SECONDS)


def prefix(namespace: str) -> str:
    """What every ``_id`` of a namespace begins with."""
    return blake2b(namespace.encode(), digest_size=16).hexdigest()


def id_of(namespace: str, key: bytes) -> str:
    """The ``_id`` of a key's documents."""
    return prefix(namespace) + key.hex()


def key_of(id_: str) -> bytes:
    """The key in an ``_id``."""
    return bytes.fromhex(id_[32:])


def date(seconds_from_now: float) -> DatetimeMS:
    """A date for the server's sweeper, which uses the real clock."""
    return DatetimeMS(int((time.time() + seconds_from_now) * 1000))


def prepare(db: Any, url: str) -> Steps[None]:
    """Create what is missing. The update with a pipeline also shows that the server can do one.

    Raises:
        ForeignStoreError: what is there was written by a newer askonce.
    """
    made = yield db[SPACES].find_one_and_update(
        {"_id": 0},
        [{"$set": {"format": {"$ifNull": ["$format", FORMAT]}}}],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    if made is None:  # another process made it at the same instant
        made = yield db[SPACES].find_one({"_id": 0})
    if made["format"] != FORMAT:
        raise ForeignStoreError(f"{url} was written in format {made['format']} by a newer askonce; update this one")
    yield db[ENTRIES].create_indexes([*_INDEXES, _SWEEP])
    yield db[LEASES].create_indexes([_SWEEP])
