"""The change log.

A sequence is drawn before its event is written. A reader stops before a missing event until two seconds have
passed, by when its writer has written it or died; then a reader that comes to it has missed something. Clocks of
the machines that share a server should agree to about a second.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from askonce.stores.base import LOG_LENGTH, Clock, LogPage, log_begins
from askonce.stores.mongodb.layout import LOG, SPACES, Steps, prefix

TRIM_EVERY = 1_000
_GAP_SECONDS = 2.0


def _name(namespace: str, sequence: int) -> str:
    return f"{prefix(namespace)}{sequence:016x}"


def _trimmed(head: int) -> int:
    """Up to which sequence a log with that head is deleted; before its beginning while it is whole."""
    return head - head % TRIM_EVERY - LOG_LENGTH


def append(db: Any, namespace: str, event: bytes, clock: Clock) -> Steps[int]:
    """As ``Store.log_append``."""
    while not (space := (yield _draw(db, namespace))):
        before = {"$subtract": ["$start", 1]}
        begun = [
            {"$set": {"start": {"$ifNull": ["$start", log_begins(clock())]}}},
            {"$set": {"head": {"$ifNull": ["$head", before]}}},
        ]
        with suppress(DuplicateKeyError):  # another has just begun it
            yield db[SPACES].update_one({"_id": namespace}, begun, upsert=True)
    head = int(space["head"])  # not BSON's own kind of it
    yield db[LOG].insert_one({"_id": _name(namespace, head), "n": head, "e": event, "at": clock()})
    gone = head - 1 if head == space["start"] else _trimmed(head) if head % TRIM_EVERY == 0 else 0
    if gone > 0:
        yield db[LOG].delete_many({"_id": {"$gt": _name(namespace, 0), "$lte": _name(namespace, gone)}})
    return head


def _draw(db: Any, namespace: str) -> Any:
    return db[SPACES].find_one_and_update(
        {"_id": namespace, "start": {"$exists": True}},
        {"$inc": {"head": 1}},
        projection={"head": 1, "start": 1},
        return_document=ReturnDocument.AFTER,
    )


def read(db: Any, namespace: str, after: int, limit: int, clock: Clock) -> Steps[LogPage]:
    """As ``Store.log_read``: one round trip if the last event that is known is still there and none is missing."""
    known = {"$gte": _name(namespace, after), "$lt": prefix(namespace) + "g"}
    rows = yield db[LOG].find({"_id": known}, batch_size=limit + 2).sort("_id", 1).limit(limit + 1).to_list()
    found = [(int(row["n"]), row["e"]) for row in rows]
    if 0 < len(rows) <= limit and [sequence for sequence, _ in found] == list(range(after, after + len(rows))):
        return LogPage(found[1:], found[-1][0])
    # Read after the events, so that what was trimmed before they were read is known to be.
    all_of_it = {"$gt": prefix(namespace), "$lt": prefix(namespace) + "g"}
    newest = yield db[LOG].find_one({"_id": all_of_it}, {"n": 1}, sort=[("_id", -1)])
    if newest is None:
        return LogPage()
    space = yield db[SPACES].find_one({"_id": namespace}, {"start": 1})
    head, start = int(newest["n"]), int((space or {}).get("start", 1))
    oldest = max(start, _trimmed(head) + 1)
    wanted, settled = after + 1 if after else start, clock() - _GAP_SECONDS
    events: list[tuple[int, bytes]] = []
    expected = max(wanted, oldest)
    for row, (sequence, event) in zip(rows, found, strict=True):
        if sequence > expected and row["at"] > settled:
            break  # an event before this one may still be under way
        if sequence > after:
            events.append((sequence, event))
            expected = sequence + 1
    missed = wanted < oldest or (bool(events) and wanted < events[0][0])
    return LogPage(events[:limit], head, truncated=missed)
