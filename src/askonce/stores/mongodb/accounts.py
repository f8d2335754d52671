"""Accounts of a namespace: exact under any number of processes, without transactions.

A call that writes first charges its namespace for what it adds, then writes, then refunds what it replaced,
evicted or could not write. Every write of a batch is an insert, or an upsert of the document that it was planned
for (``_id`` and ``g``); so the reply shows for each whether it replaced exactly that one, found nothing, or
collided with another, and two calls never account for the same document. A removal replaces the document by one
without a namespace, which is then deleted; a newcomer that collides with such a tombstone replaces it. So a batch
costs a few round trips whatever its length. Of two calls that write the same key at the same instant one wins, as
if the other had been just before it.

A process that dies between its writes leaves sums that are too large, never too small: the namespace then
evicts early. ``check`` recounts what was not counted for an hour, and so does an eviction that finds nothing to
evict; both only while no other call writes (``busy`` has passed, ``writes`` has not moved).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bson.datetime_ms import DatetimeMS
from pymongo import InsertOne, ReplaceOne, ReturnDocument, WriteConcern
from pymongo.errors import BulkWriteError

from askonce.stores.base import Size
from askonce.stores.mongodb.layout import BY_PRIORITY, ENTRIES, SPACES, Steps
from askonce.stores.mongodb.plan import Document, Seen, Space

NOTHING = Size()
DUPLICATE_KEY = 11_000

_RECOUNT_EVERY_SECONDS = 3_600.0
_WRITER_SECONDS = 5.0  # beyond its timeout: by then a call has ended, whatever the machines' clocks

_TOMBSTONE = {"gone": DatetimeMS(0)}  # replaces a removed record until it is deleted
_REMOVED = {"ns": {"$exists": False}}


@dataclass(slots=True)
class Visit:
    """One call that changes a namespace.

    Attributes:
        db: the database.
        namespace: which one.
        charged: what the account already includes for documents that are not stored yet.
        space: the rest of the account, as last written.
        writes: how many calls there were so far.
        quiet: no other call was changing the namespace when this one began.
        mark: identifies the documents that the call wrote.
    """

    db: Any
    namespace: str
    charged: Size
    space: Space
    writes: int
    quiet: bool
    mark: bytes = field(default_factory=lambda: secrets.token_bytes(8))

    def swap(
        self, removed: Mapping[str, Seen], added: Mapping[str, Document] | None = None, inflation: float = 0.0
    ) -> Steps[tuple[set[str], bool]]:
        """Remove some documents, store others, and update the account.

        Args:
            removed: documents to remove or replace, by ``_id``; one that was replaced meanwhile stays.
            added: documents to store, by ``_id``: all that remain of what was charged.
            inflation: the namespace's, if higher than it is.

        Returns:
            the ``_id`` of those of ``removed`` that were, and whether the account was written.
        """
        back = NOTHING
        if added is not None:
            sizes = [document["s"] for document in added.values()]
            back = Size(self.charged.entries - len(sizes), self.charged.size_bytes - sum(sizes))
            self.charged = NOTHING
        added = added or {}
        missed, failed, refused = yield from self._write(removed, added)
        taken = removed.keys() - missed
        sizes = [removed[name]["s"] for name in taken] + [added[name]["s"] for name in added.keys() & failed]
        changes = bool(removed or failed or back.entries or inflation)
        if changes:
            yield from self._update(len(sizes) + back.entries, sum(sizes) + back.size_bytes, inflation)
        if tombstones := [name for name in removed if name not in added]:
            # Not awaited: the server sweeps them too. The mark could be that of a newcomer by now.
            entries = self.db[ENTRIES].with_options(write_concern=WriteConcern(w=0))
            yield entries.delete_many({"_id": {"$in": tombstones}, **_REMOVED})
        if refused is not None:
            raise refused
        return taken, changes

    def _write(
        self, removed: Mapping[str, Seen], added: Mapping[str, Document]
    ) -> Steps[tuple[set[str], set[str], BulkWriteError | None]]:
        """Returns whose planned document was missing, which writes failed, and an error other than a collision."""
        writes: dict[str, Any] = {
            name: ReplaceOne({"_id": name, "g": row["g"]}, added.get(name, _TOMBSTONE), upsert=True)
            for name, row in removed.items()
        }
        new = added.keys() - removed.keys()
        missed, failed, refused = yield from self._bulk(writes | {name: InsertOne(added[name]) for name in new})
        if collided := new & failed:
            over = {name: ReplaceOne({"_id": name, **_REMOVED}, added[name], upsert=True) for name in collided}
            _, failed_again, refused_again = yield from self._bulk(over)
            failed = failed - collided | failed_again
            refused = refused or refused_again
        return missed, failed, refused

    def _bulk(self, writes: Mapping[str, Any]) -> Steps[tuple[set[str], set[str], BulkWriteError | None]]:
        if not writes:
            return set(), set(), None
        names = list(writes)
        refused: BulkWriteError | None = None
        try:
            result = yield self.db[ENTRIES].bulk_write(list(writes.values()), ordered=False)
            upserted, failed = set(result.upserted_ids or ()), set()
        except BulkWriteError as error:
            upserted = {row["index"] for row in error.details["upserted"]}
            failed = {row["index"] for row in error.details["writeErrors"]}
            if {row["code"] for row in error.details["writeErrors"]} != {DUPLICATE_KEY}:
                refused = error
        return {names[index] for index in upserted | failed}, {names[index] for index in failed}, refused

    def _update(self, entries: int, size_bytes: int, inflation: float) -> Steps[None]:
        after = yield self.db[SPACES].find_one_and_update(
            {"_id": self.namespace},
            {"$inc": {"entries": -entries, "size": -size_bytes}, "$max": {"inflation": inflation}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        self.space = Space(
            after["entries"] - self.charged.entries, after["size"] - self.charged.size_bytes, after["inflation"]
        )

    def recount(self, now: float) -> Steps[None]:
        """Count the records again, if no other call is changing the namespace."""
        if not self.quiet:
            return
        counted = yield from count(self.db, {"ns": self.namespace}, hint=BY_PRIORITY)
        fresh = {
            "entries": counted.entries + self.charged.entries,
            "size": counted.size_bytes + self.charged.size_bytes,
            "counted": now,
        }
        result = yield self.db[SPACES].update_one({"_id": self.namespace, "writes": self.writes}, {"$set": fresh})
        if result.matched_count:
            self.space.entries, self.space.size_bytes = counted.entries, counted.size_bytes


def enter(db: Any, namespace: str, charged: Size, now: float, timeout_seconds: float) -> Steps[Visit]:
    """Charge a namespace before it is changed."""
    before = yield db[SPACES].find_one_and_update(
        {"_id": namespace},
        {
            "$inc": {"entries": charged.entries, "size": charged.size_bytes, "writes": 1},
            "$max": {"busy": now + timeout_seconds + _WRITER_SECONDS},
            "$setOnInsert": {"counted": now},
        },
        upsert=True,
        return_document=ReturnDocument.BEFORE,
    )
    before = before or {}
    space = Space(before.get("entries", 0), before.get("size", 0), before.get("inflation", 0.0))
    return Visit(db, namespace, charged, space, before.get("writes", 0) + 1, before.get("busy", 0.0) < now)


def count(db: Any, where: Mapping[str, Any], **options: Any) -> Steps[Size]:
    """The number and size of the records with such fields."""
    group = {"_id": None, "entries": {"$sum": 1}, "size": {"$sum": "$s"}}
    cursor = yield db[ENTRIES].aggregate([{"$match": where}, {"$group": group}], **options)
    rows = yield cursor.to_list()
    return Size(rows[0]["entries"], rows[0]["size"]) if rows else NOTHING


def not_counted_for_long(db: Any, now: float) -> Steps[list[str]]:
    """Some namespaces whose sums may be too large."""
    stale = {"counted": {"$lt": now - _RECOUNT_EVERY_SECONDS}}
    rows = yield db[SPACES].find(stale, {"_id": 1}).limit(100).to_list()
    return [row["_id"] for row in rows]
