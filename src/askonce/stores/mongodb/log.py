"""The change log.

A sequence is drawn before its event is written. A reader stops before a missing event for two seconds; by then its
writer has written it or died, and a reader that reaches it has missed something. Clocks of
the machines that share a server should agree to about a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from askonce.stores.base import LOG_LENGTH, Clock, LogPage, log_begins
from askonce.stores.mongodb.layout import LOG, SPACES, Steps, prefix

TRIM_EVERY = 1_000
_GAP_SECONDS = 2.0
_FEW = 64


def _name(namespace: str, sequence: int) -> str:
    return f"{prefix(namespace)}{sequence:016x}"


def _trimmed(head: int) -> int:
    """The last deleted sequence of a log with that head; before its beginning while it is whole."""
    return head - head % TRIM_EVERY - LOG_LENGTH


def append(db: Any, namespace: str, event: bytes, clock: Clock) -> Steps[int]:
    """As ``Store.log_append``."""
    while not (space := (yield _draw(db, namespace, clock()))):
        before = {"$subtract": ["$start", 1]}
        begun = [
            {"$set": {"start": {"$ifNull": ["$start", log_begins(clock())]}}},
            {"$set": {"head": {"$ifNull": ["$head", before]}}},
        ]
        with suppress(DuplicateKeyError):  # another process has just begun it
            yield db[SPACES].update_one({"_id": namespace}, begun, upsert=True)
    head = int(space["head"])  # not a BSON integer
    record = {"_id": _name(namespace, head), "n": head, "e": event, "at": clock()}
    try:
        yield db[LOG].insert_one(record)
    except DuplicateKeyError:  # the driver tried twice, since the first answer was lost
        if (yield db[LOG].find_one({"_id": record["_id"]})) != record:
            raise
    last_deleted = head - 1 if head == space["start"] else _trimmed(head) if head % TRIM_EVERY == 0 else 0
    if last_deleted > 0:
        yield db[LOG].delete_many({"_id": {"$gt": _name(namespace, 0), "$lte": _name(namespace, last_deleted)}})
    return head


def _draw(db: Any, namespace: str, now: float) -> Any:
    return db[SPACES].find_one_and_update(
        {"_id": namespace, "start": {"$exists": True}},
        {"$inc": {"head": 1}, "$set": {"logged": now}},
        projection={"head": 1, "start": 1},
        return_document=ReturnDocument.AFTER,
    )


ENDS = {"start": 1, "head": 1, "logged": 1}
"""The fields of a namespace that say where its log begins and ends."""


def read(db: Any, namespace: str, after: int, limit: int, clock: Clock) -> Steps[LogPage]:
    """As ``Store.log_read``: reads one small document if there is nothing new."""
    space = yield db[SPACES].find_one({"_id": namespace}, ENDS)
    return (yield from read_events(db, namespace, space or {}, after, limit, clock))


def read_events(
    db: Any, namespace: str, space: Mapping[str, Any], after: int, limit: int, clock: Clock
) -> Steps[LogPage]:
    """`read`, where the namespace's document is at hand."""
    if "head" not in space or space["head"] < space["start"]:  # begun a moment ago, and nothing is in it yet
        return LogPage()
    head, start = int(space["head"]), int(space["start"])
    if after >= head:
        return LogPage(head=head)
    wanted, oldest = after + 1 if after else start, max(start, _trimmed(head) + 1)
    first = max(wanted, oldest)
    # By their names, since there is one for each sequence; many of them as a range.
    names = [_name(namespace, sequence) for sequence in range(first, head + 1)] if head - first < _FEW else []
    within = {"$in": names} if names else {"$gte": _name(namespace, first), "$lte": _name(namespace, head)}
    rows = yield db[LOG].find({"_id": within}, batch_size=limit + 1).sort("_id", 1).limit(limit).to_list()
    complete_until = clock() - _GAP_SECONDS
    if not rows and space["logged"] <= complete_until:  # their writers have died
        return LogPage(head=head, truncated=True)
    events: list[tuple[int, bytes]] = []
    newest = after
    for row in rows:
        newest = int(row["n"])
        if newest > first and (events or row["at"] > complete_until):
            break  # an earlier event may still be written; else the next page begins with the gap
        events.append((newest, row["e"]))
        first = newest + 1
    missed = wanted < oldest or (bool(events) and wanted < events[0][0])
    return LogPage(events, head if len(rows) == limit else newest, truncated=missed)
