"""Records: reading, writing and removing them.

Reads test the expiry by this machine's clock. Puts remove expired records now and then, evictions first of all.
"""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import OperationFailure

from askonce.errors import StoreError
from askonce.eviction.policy import NEVER, Budget, Policy
from askonce.stores.base import Clock, LogPage, Page, Record, Size
from askonce.stores.mongodb import accounts, log
from askonce.stores.mongodb.accounts import NOTHING, Visit
from askonce.stores.mongodb.layout import (
    BY_PRIORITY,
    ENTRIES,
    LEASES,
    LOG,
    SPACES,
    Steps,
    T,
    date,
    id_of,
    key_of,
    prefix,
    prepare,
)
from askonce.stores.mongodb.plan import Document, MoreNeeded, Plan, Seen, number, seen

LARGEST_RECORD_BYTES = 16_000_000  # a document holds 16 MiB, its other fields included
PAGE = 1_000
_LEAST_FULL_BYTES = 16 * 2**20 - LARGEST_RECORD_BYTES

_REAP_EVERY_SECONDS = 10.0
_RECOUNT_AGAIN_SECONDS = 5.0
_SEEN = {"g": 1, "s": 1, "p": 1, "x": 1}


class Records:
    """The operations on records, as steps.

    Args:
        url: the store's, without credentials, for messages.
        timeout_seconds: how long one call may take.
        clock: seconds since the epoch.
    """

    def __init__(self, url: str, timeout_seconds: float, clock: Clock) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._prepared = False
        self._reaped: dict[str, float] = {}  # by namespace: when this process last looked for expired records
        self._ended: dict[str, set[str]] = {}  # by namespace: marks of calls here that failed or were cancelled
        self._recounted: dict[str, float] = {}  # by namespace: when this process last tried to

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, db: Any, namespace: str, key: bytes) -> Steps[bytes | None]:
        """As ``Store.get``."""
        row = yield db[ENTRIES].find_one({"_id": id_of(namespace, key)}, {"_id": 0, "v": 1, "x": 1})
        return None if row is None else _value(row, self._clock())

    def get_many(self, db: Any, namespace: str, keys: Sequence[bytes]) -> Steps[list[bytes | None]]:
        """As ``Store.get_many``."""
        names = [id_of(namespace, key) for key in keys]
        rows = yield _find(db, {"_id": {"$in": list(set(names))}}, {"v": 1, "x": 1}, len(names)).to_list()
        now = self._clock()
        values = {row["_id"]: _value(row, now) for row in rows}
        return [values.get(name) for name in names]

    def get_many_with_log(
        self, db: Any, namespace: str, keys: Sequence[bytes], space: str, after: int, limit: int
    ) -> Steps[tuple[list[bytes | None], LogPage]]:
        """As ``Store.get_many_with_log``."""
        names = [id_of(namespace, key) for key in keys]
        ends = [{"$match": {"_id": space}}, {"$project": log.ENDS}]
        stages = [
            {"$match": {"_id": {"$in": list(set(names))}}},
            {"$project": {"v": 1, "x": 1}},
            {"$unionWith": {"coll": SPACES, "pipeline": ends}},
        ]
        cursor = yield db[ENTRIES].aggregate(stages, batchSize=len(names) + 2)
        rows = {row["_id"]: row for row in (yield cursor.to_list())}
        page = yield from log.read_events(db, space, rows.pop(space, {}), after, limit, self._clock)
        now = self._clock()
        values = {name: _value(row, now) for name, row in rows.items()}
        return [values.get(name) for name in names], page

    def page(self, db: Any, namespace: str, after: bytes, limit: int = PAGE) -> Steps[Page]:
        """As ``Store.page``: at most 16 MB, however long the values are. The cursor is the last key."""
        within = {"$gt": id_of(namespace, after), "$lt": prefix(namespace) + "g"}
        reply = yield db.command(
            "find",
            ENTRIES,
            filter={"_id": within, "x": {"$gt": self._clock()}},
            projection={"v": 1, "x": 1, "w": 1, "h": 1},
            sort={"_id": 1},
            limit=limit,
            singleBatch=True,
        )
        rows = reply["cursor"]["firstBatch"]
        records = [
            Record(
                key_of(row["_id"]),
                row["v"] if isinstance(row.get("v"), bytes) else b"",  # as somebody else has damaged it
                row["x"] if row["x"] < NEVER else None,
                number(row.get("w"), 0.0),
                hits=int(number(row.get("h"), 0)),
            )
            for row in rows
        ]
        # A batch ends early where the next document would not fit.
        ends = len(rows) < limit and sum(len(one.value) for one in records) < _LEAST_FULL_BYTES
        return Page(records, records[-1].key if records and not ends else b"")

    def size(self, db: Any, namespace: str) -> Steps[Size]:
        """As ``Store.size``."""
        space = yield db[SPACES].find_one({"_id": namespace})
        if space is None:
            return NOTHING
        unsure = space.get("calls") or accounts.is_old(space, self._clock())
        if unsure and space.get("entries", 0) <= accounts.LARGEST_COUNT:
            return (yield from accounts.count(db, {"ns": namespace, "x": {"$gt": self._clock()}}))
        expired = yield from accounts.count(db, {"ns": namespace, "x": {"$lte": self._clock()}})
        return Size(
            max(space.get("entries", 0) - expired.entries, 0),
            max(space.get("size", 0) - expired.size_bytes, 0),
        )

    # -- putting ---------------------------------------------------------------------------------------------

    def put(self, db: Any, namespace: str, records: Sequence[Record], budget: Budget) -> Steps[int]:
        """As ``Store.put``."""
        if not records:
            return 0
        documents = [self._document(namespace, record) for record in records]
        last = {document["_id"]: document for document in documents}
        where = {"_id": {"$in": list(last)}, "ns": namespace}
        rows = yield _find(db, where, _SEEN, len(last)).to_list()
        under = {row["_id"]: seen(row) for row in rows}
        sizes = [document["s"] for document in last.values() if budget.admits(document["s"])]

        def change(visit: Visit) -> Steps[int]:
            if abs(self._clock() - self._reaped.get(namespace, 0.0)) >= _REAP_EVERY_SECONDS:
                yield from self._reap(visit, under)
            plan = yield from self._plan(visit, documents, budget, under)
            for document in plan.added.values():
                document["g"] = visit.mark
            inflation = plan.inflation if plan.evicted else 0.0
            yield from visit.swap(plan.removed, plan.added, inflation, is_last=True)
            if budget.exceeded_by(entries=visit.space.entries, size_bytes=visit.space.size_bytes):
                yield from self.evict(db, namespace, budget)  # other calls have written in between
            return plan.evicted

        return (yield from self._visit(db, namespace, change, Size(len(sizes), sum(sizes))))

    def _document(self, namespace: str, record: Record) -> Document:
        tags = list(dict.fromkeys(record.tags))
        if len(record.value) + sum(map(len, tags)) > LARGEST_RECORD_BYTES:
            raise StoreError(
                f"{self._url}: a value of {len(record.value)} bytes is more than a MongoDB document can hold "
                f"({LARGEST_RECORD_BYTES})"
            )
        document: Document = {"_id": id_of(namespace, record.key), "ns": namespace, "h": record.hits}
        document |= {"v": record.value, "s": len(record.value), "w": float(record.weight), "x": NEVER}
        if record.expires_at is not None:
            document |= {"x": float(record.expires_at), "gone": date(record.expires_at - self._clock())}
        if tags:
            document["t"] = tags
        return document

    def _visit(
        self, db: Any, namespace: str, change: Callable[[Visit], Steps[T]], charged: Size = NOTHING
    ) -> Steps[T]:
        """Change a namespace. A change that does not come to its end is remembered, and the next one recounts."""
        if not self._prepared:  # the server was down when `check` was called, or never called
            yield from self._prepare(db)
        mark, left = accounts.new_mark(), False
        try:
            dead = set(self._ended.get(namespace, ()))
            visit = yield from accounts.enter(
                db, namespace, mark, charged, self._clock(), self._timeout_seconds, dead
            )
            if visit.doubtful:
                yield from self._recount(visit)
            result = yield from change(visit)
            yield from visit.leave()
            left = True
            return result
        finally:
            if not left:
                self._ended.setdefault(namespace, set()).add(mark)

    def _recount(self, visit: Visit) -> Steps[None]:
        """Correct the account, unless that has just been tried in vain."""
        now, namespace = self._clock(), visit.namespace
        if abs(now - self._recounted.get(namespace, -math.inf)) < _RECOUNT_AGAIN_SECONDS:
            return
        self._recounted[namespace] = now
        if (yield from visit.recount(now)):
            del self._recounted[namespace]
            self._ended.get(namespace, set()).difference_update(visit.dead)

    def _plan(
        self, visit: Visit, documents: Sequence[Document], budget: Budget, under: dict[str, Seen]
    ) -> Steps[Plan]:
        """The changes of a put. Reads records of low priority only if something must be evicted."""
        now, limit = self._clock(), 0
        lowest: list[Seen] = []
        complete = recounted = False
        while True:
            plan = Plan(visit.space, budget, now, under, lowest, complete=complete)
            try:
                for document in documents:
                    plan.put(document)
                if not plan.starved or recounted:
                    return plan
                yield from self._recount(visit)
                recounted = True
            except MoreNeeded:
                if not limit:
                    yield from self._reap(visit, under)
                limit = 4 * limit or 2 * len(documents) + 16
                lowest = yield from _lowest(visit, limit)
                complete = len(lowest) < limit

    def touch(self, db: Any, namespace: str, hits: Mapping[bytes, int], policy: Policy) -> Steps[None]:
        """As ``Store.touch``."""
        if not hits:
            return
        inflation = 0.0
        if policy.inflates:
            space = yield db[SPACES].find_one({"_id": namespace}, {"inflation": 1})
            inflation = (space or {}).get("inflation", 0.0)
        now = self._clock()
        # What is the same for all is computed by the formula itself; only the expiry is in the document.
        base: Any = "$x" if policy is Policy.TTL else policy.base(inflation=inflation, now=now, expires_at=None)
        updates = [
            UpdateOne(
                {"_id": id_of(namespace, key), "x": {"$gt": now}},
                [
                    {"$set": {"h": {"$add": ["$h", count]}}},
                    {"$set": {"p": {"$add": [base, {"$multiply": ["$h", "$w"]}]}}},
                ],
            )
            for key, count in hits.items()
        ]
        yield db[ENTRIES].bulk_write(updates, ordered=False)

    # -- removing --------------------------------------------------------------------------------------------

    def evict(self, db: Any, namespace: str, budget: Budget) -> Steps[int]:
        """As ``Store.evict``."""

        def change(visit: Visit) -> Steps[int]:
            yield from self._reap(visit, {})
            return (yield from self._shrink(visit, budget))

        return (yield from self._visit(db, namespace, change))

    def _shrink(self, visit: Visit, budget: Budget) -> Steps[int]:
        """Evict, a page of victims at a time, until the account is within the budget."""
        evicted = 0
        while budget.exceeded_by(entries=visit.space.entries, size_bytes=visit.space.size_bytes):
            lowest = yield from _lowest(visit, PAGE)
            if not lowest:
                yield from self._recount(visit)
                break
            plan = Plan(visit.space, budget, self._clock(), {}, lowest, complete=True)
            plan.make_room(0, 0)
            removed = yield from visit.swap(plan.removed, inflation=plan.inflation)
            evicted += len(removed)
        return evicted

    def _reap(self, visit: Visit, under: dict[str, Seen]) -> Steps[None]:
        """Remove expired records, also from those found ``under`` some keys."""
        now = self._clock()
        self._reaped[visit.namespace] = now
        found = PAGE
        while found == PAGE:
            rows = yield _find(visit.db, {"ns": visit.namespace, "x": {"$lte": now}}, _SEEN, PAGE).to_list()
            found = len(rows)
            removed = yield from visit.swap({row["_id"]: seen(row) for row in rows})
            for name in removed:
                under.pop(name, None)

    def delete(self, db: Any, namespace: str, keys: Sequence[bytes]) -> Steps[int]:
        """As ``Store.delete``."""
        names = {id_of(namespace, key) for key in keys}
        _, deleted = yield from self._remove(db, namespace, {"_id": {"$in": list(names)}}, len(names))
        return deleted

    def delete_where(self, db: Any, namespace: str, where: Mapping[str, Any]) -> Steps[tuple[int, bool]]:
        """Delete a page of records with such fields; returns how many, and whether there may be more."""
        found, deleted = yield from self._remove(db, namespace, where, PAGE)
        return deleted, found == PAGE

    def clear(self, db: Any, namespace: str) -> Steps[bool]:
        """Delete a page; returns whether there may be more."""
        _, more = yield from self.delete_where(db, namespace, {})
        if not more:
            yield db[SPACES].update_one({"_id": namespace}, {"$set": {"inflation": 0.0}})
        return more

    def _remove(self, db: Any, namespace: str, where: Mapping[str, Any], limit: int) -> Steps[tuple[int, int]]:
        """Remove at most ``limit`` records; returns how many were found, and how many of them deleted alive."""
        rows = []
        if limit:
            rows = yield _find(db, {**where, "ns": namespace}, _SEEN, limit).to_list()
        if not rows:
            return 0, 0
        now, found = self._clock(), {row["_id"]: seen(row) for row in rows}
        removed = yield from self._visit(db, namespace, lambda visit: visit.swap(found, is_last=True))
        return len(rows), sum(found[name]["x"] > now for name in removed)

    def erase(self, db: Any, namespace: str) -> Steps[None]:
        """Delete what a namespace has beside its records."""
        within = {"_id": {"$gte": prefix(namespace), "$lt": prefix(namespace) + "g"}}
        yield db[LOG].delete_many(within)
        yield db[LEASES].delete_many(within)
        yield db[SPACES].delete_one({"_id": namespace})

    def namespaces(self, db: Any, _: str) -> Steps[list[str]]:
        """As ``Store.namespaces``."""
        rows = yield db[SPACES].find({}, {"_id": 1}).to_list()
        return [row["_id"] for row in rows if isinstance(row["_id"], str)]  # the other one is the format's

    # -- life ------------------------------------------------------------------------------------------------

    def check(self, db: Any) -> Steps[None]:
        """Create what is missing."""
        yield from self._prepare(db)

    def facts(self, db: Any, _: str) -> Steps[dict[str, Any]]:
        """As ``Store.facts``; what the server does not show this user is left out."""
        built = yield db.command("buildInfo")
        hello = yield db.command("hello")
        found = {"version": built["version"]}
        if "localTime" in hello:
            found["clock"] = hello["localTime"].replace(tzinfo=datetime.UTC).timestamp()
        with contextlib.suppress(OperationFailure):
            found["size_bytes"] = int((yield db.command("dbStats")).get("dataSize", 0))
        return found

    def _prepare(self, db: Any) -> Steps[None]:
        yield from prepare(db, self._url)
        self._prepared = True


def _find(db: Any, where: Mapping[str, Any], fields: Mapping[str, int], limit: int) -> Any:
    # The limit as batch size: the first reply has all.
    return db[ENTRIES].find(where, fields, limit=limit, batch_size=limit + 1)


def _lowest(visit: Visit, limit: int) -> Steps[list[Seen]]:
    found = _find(visit.db, {"ns": visit.namespace}, _SEEN, limit)
    rows = yield found.sort([("p", 1), ("_id", 1)]).hint(BY_PRIORITY).to_list()
    return [seen(row) for row in rows]


def _value(row: Mapping[str, Any], now: float) -> bytes | None:
    """The value of a record that has not expired. One that somebody else has damaged is none."""
    value = row.get("v")
    return value if isinstance(value, bytes) and number(row.get("x"), 0.0) > now else None
