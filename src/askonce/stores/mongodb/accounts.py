"""Accounts of a namespace: exact under any number of processes, without transactions.

A call that changes a namespace first enters what it will add at most under a mark of its own (``calls``), then
writes, then adds what it did to the sums and removes its mark. A call that plans takes the sums and what the others
are about to add. Every write of a batch is an insert, or an upsert of the document that it was planned
for (``_id`` and ``g``); so the reply shows for each whether it replaced exactly that one, found nothing, or
collided with another, and two calls never account for the same document. A removal replaces the document by one
without a namespace, which is then deleted; a newcomer that collides with such a tombstone replaces it. So a batch
costs a few round trips whatever its length. Of two calls that write the same key at the same instant one wins, as
if the other had been just before it.

A call that fails, is cancelled or dies between its writes leaves its mark, and perhaps sums that are wrong. The
next call of the same process, or of any once the mark's time has passed, counts the records anew: exactly if nobody
else is writing, and again some seconds later if somebody was, or if the failed call may still run on the server.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bson.datetime_ms import DatetimeMS
from pymongo import InsertOne, ReplaceOne, ReturnDocument, WriteConcern
from pymongo.errors import BulkWriteError

from askonce.stores.base import Size
from askonce.stores.mongodb.layout import BY_PRIORITY, ENTRIES, SPACES, Steps
from askonce.stores.mongodb.plan import Document, NamespaceAccount, Seen

NOTHING = Size()
DUPLICATE_KEY = 11_000
LARGEST_COUNT = 100_000
"""A namespace with more records is not counted within a call: it takes too long."""

_RECOUNT_EVERY_SECONDS = 3_600.0  # since the server's sweeper updates no sums
_WRITER_SECONDS = 5.0  # beyond its timeout: by then a call has ended, whatever the machines' clocks
_ATTEMPTS = 3
_DOUBT = "doubt"  # the mark of a call that nobody makes: when its time has passed, the records are counted again

_TOMBSTONE = {"gone": DatetimeMS(0)}  # replaces a removed record until it is deleted
_REMOVED = {"ns": {"$exists": False}}


def new_mark() -> str:
    """Identifies a call, and the documents that it writes."""
    return secrets.token_hex(8)


@dataclass(slots=True)
class Visit:
    """One call that changes a namespace.

    Attributes:
        db: the database.
        namespace: which one.
        mark: identifies the call.
        space: the account, with what other calls are about to add.
        dead: marks of calls that have ended without removing them.
        doubtful: the sums may be wrong.
        left: its own mark is removed.
    """

    db: Any
    namespace: str
    mark: str
    space: NamespaceAccount
    dead: set[str]
    doubtful: bool
    _seconds: float
    left: bool = False

    def swap(
        self,
        removed: Mapping[str, Seen],
        added: Mapping[str, Document] | None = None,
        inflation: float = 0.0,
        *,
        is_last: bool = False,
    ) -> Steps[set[str]]:
        """Remove some documents, store others, and update the account.

        Args:
            removed: documents to remove or replace, by ``_id``; one that was replaced meanwhile stays.
            added: documents to store, by ``_id``.
            inflation: the namespace's, if higher than it is.
            is_last: the call changes nothing afterwards.

        Returns:
            the ``_id`` of those of ``removed`` that were.
        """
        added = added or {}
        missed, failed, refused = yield from self._write(removed, added)
        taken, stored = removed.keys() - missed, added.keys() - failed
        size_bytes = sum(added[name]["s"] for name in stored) - sum(removed[name]["s"] for name in taken)
        if taken or stored or inflation or is_last:
            yield from self._update(len(stored) - len(taken), size_bytes, inflation, is_last=is_last)
        if tombstones := [name for name in removed if name not in added]:
            # Not awaited: the server sweeps them too. The mark could be that of a newcomer by now.
            entries = self.db[ENTRIES].with_options(write_concern=WriteConcern(w=0))
            yield entries.delete_many({"_id": {"$in": tombstones}, **_REMOVED})
        if refused is not None:
            raise refused
        return taken

    def leave(self) -> Steps[None]:
        """Remove the call's mark, if it is still there."""
        if not self.left:
            yield from self._update(0, 0, 0.0, is_last=True)

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

    def _update(self, entries: int, size_bytes: int, inflation: float, *, is_last: bool) -> Steps[None]:
        change: dict[str, Any] = {
            "$inc": {"entries": entries, "size": size_bytes},
            "$max": {"inflation": inflation},
        }
        if is_last:
            change["$unset"] = {f"calls.{self.mark}": ""}
        after = yield self.db[SPACES].find_one_and_update(
            {"_id": self.namespace}, change, upsert=True, return_document=ReturnDocument.AFTER
        )
        self.left = self.left or is_last
        self._see(after)

    def _see(self, found: Mapping[str, Any]) -> list[str]:
        """Take over the account; returns the marks of other calls."""
        others = [mark for mark in found.get("calls", ()) if mark not in (self.mark, _DOUBT, *self.dead)]
        charged = [found["calls"][mark] for mark in others]
        self.space = NamespaceAccount(
            found.get("entries", 0) + sum(call["e"] for call in charged),
            found.get("size", 0) + sum(call["s"] for call in charged),
            found.get("inflation", 0.0),
        )
        return others

    def recount(self, now: float) -> Steps[bool]:
        """Count the records anew; returns whether that was done.

        What other calls have written and not added to the sums yet, or added while it was counted, may be missing
        or counted twice; then, and after a call that may still be running on the server, it is done again later.
        """
        mine = {"_id": self.namespace}
        for attempt in range(_ATTEMPTS):
            known = (yield self.db[SPACES].find_one(mine)) or {}
            if known.get("entries", 0) > LARGEST_COUNT:
                marks = {f"calls.{mark}": "" for mark in {*self.dead, _DOUBT}}
                yield self.db[SPACES].update_one(mine, {"$set": {"counted": now}, "$unset": marks})
                return True
            counted = yield from count(self.db, {"ns": self.namespace}, hint=BY_PRIORITY)
            if attempt == _ATTEMPTS - 1:  # others do not cease to write
                known = (yield self.db[SPACES].find_one(mine)) or {}
            again = bool(self.dead - {_DOUBT} or self._see(known))
            change: dict[str, Any] = {
                "$set": {"entries": counted.entries, "size": counted.size_bytes, "counted": now}
            }
            gone = self.dead | {_DOUBT}
            if again:
                change["$set"][f"calls.{_DOUBT}"] = {"e": 0, "s": 0, "until": now + self._seconds}
                gone = self.dead - {_DOUBT}
            if gone:
                change["$unset"] = {f"calls.{mark}": "" for mark in gone}
            unchanged = mine | {"entries": known.get("entries", 0), "size": known.get("size", 0)}
            after = yield self.db[SPACES].find_one_and_update(
                unchanged, change, return_document=ReturnDocument.AFTER
            )
            if after is not None:
                self._see(after)
                self.doubtful = False
                return True
        return False


def enter(
    db: Any, namespace: str, mark: str, charged: Size, now: float, timeout_seconds: float, dead: set[str]
) -> Steps[Visit]:
    """Charge a namespace before it is changed.

    Args:
        db: the database.
        namespace: which one.
        mark: of this call.
        charged: what it will add at most.
        now: seconds since the epoch.
        timeout_seconds: how long the call may take.
        dead: marks of calls that are known to have ended.
    """
    seconds = timeout_seconds + _WRITER_SECONDS
    call = {"e": charged.entries, "s": charged.size_bytes, "until": now + seconds}
    before = yield db[SPACES].find_one_and_update(
        {"_id": namespace},
        {
            "$inc": {"entries": 0, "size": 0},
            "$set": {f"calls.{mark}": call},
            "$setOnInsert": {"counted": now},
        },
        upsert=True,
        return_document=ReturnDocument.BEFORE,
    )
    before = before or {"counted": now}
    ended = {other for other, its in before.get("calls", {}).items() if other in dead or its["until"] < now}
    visit = Visit(
        db,
        namespace,
        mark,
        NamespaceAccount(0, 0, 0.0),
        ended,
        bool(ended) or is_old(before, now),
        _seconds=seconds,
    )
    visit._see(before)
    return visit


def is_old(space: Mapping[str, Any], now: float) -> bool:
    """Whether a namespace has not been counted for long."""
    old: bool = space.get("counted", 0.0) < now - _RECOUNT_EVERY_SECONDS
    return old


def count(db: Any, where: Mapping[str, Any], **options: Any) -> Steps[Size]:
    """The number and size of the records with such fields."""
    group = {"_id": None, "entries": {"$sum": 1}, "size": {"$sum": "$s"}}
    cursor = yield db[ENTRIES].aggregate([{"$match": where}, {"$group": group}], **options)
    rows = yield cursor.to_list()
    return Size(rows[0]["entries"], rows[0]["size"]) if rows else NOTHING
