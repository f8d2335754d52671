"""The change log.

A sequence is drawn before its event is written. A reader stops before a missing event until two seconds have
passed, by when its writer has written it or died. Clocks of the machines that share a server should agree to
about a second.
"""

from __future__ import annotations

from typing import Any

from pymongo import ReturnDocument

from askonce.stores.base import LOG_LENGTH, Clock, LogPage
from askonce.stores.mongodb.layout import LOG, SPACES, Steps, prefix

TRIM_EVERY = 1_000
_GAP_SECONDS = 2.0


def _name(namespace: str, sequence: int) -> str:
    return f"{prefix(namespace)}{sequence:016x}"


def _trimmed(head: int) -> int:
    """Up to which sequence a log with that head is deleted; not positive while it is whole."""
    return head - head % TRIM_EVERY - LOG_LENGTH


def append(db: Any, namespace: str, event: bytes, clock: Clock) -> Steps[int]:
    """As ``Store.log_append``."""
    space = yield db[SPACES].find_one_and_update(
        {"_id": namespace},
        {"$inc": {"head": 1}},
        projection={"head": 1},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    head: int = space["head"]
    yield db[LOG].insert_one({"_id": _name(namespace, head), "n": head, "e": event, "at": clock()})
    if head % TRIM_EVERY == 0 and _trimmed(head) > 0:
        yield db[LOG].delete_many({"_id": {"$gt": _name(namespace, 0), "$lte": _name(namespace, _trimmed(head))}})
    return head


def read(db: Any, namespace: str, after: int, limit: int, clock: Clock) -> Steps[LogPage]:
    """As ``Store.log_read``."""
    later = {"$gt": _name(namespace, after), "$lt": prefix(namespace) + "g"}
    rows = yield db[LOG].find({"_id": later}, batch_size=limit + 1).sort("_id", 1).limit(limit).to_list()
    # Read after the events, so that what was trimmed before they were read is known to be.
    all_of_it = {"$gt": prefix(namespace), "$lt": prefix(namespace) + "g"}
    newest = yield db[LOG].find_one({"_id": all_of_it}, {"n": 1}, sort=[("_id", -1)])
    head = newest["n"] if newest else 0
    settled = clock() - _GAP_SECONDS
    events: list[tuple[int, bytes]] = []
    expected = max(after, _trimmed(head)) + 1
    for row in rows:
        if row["n"] > expected and row["at"] > settled:
            break  # an event before this one may still be under way
        events.append((row["n"], row["e"]))
        expected = row["n"] + 1
    return LogPage(events, head, truncated=after < _trimmed(head))
