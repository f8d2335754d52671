"""A store in MongoDB: a replica set, a cluster sharded by hashed ``_id``, or one server; 4.2 or newer.

All is in the database that the URL's path names (``askonce`` if none):

====================  =====================================================================================
``askonce.entries``   one document per record. ``_id`` is the namespace's hash and the key, in hexadecimal, so
                      that it sorts as keys do; ns; v value; s its length; w weight; h hits; p priority;
                      x expiry in seconds (1e15: never); t tags; g a mark of the call that wrote it; gone, the
                      expiry as a date, for the server's sweeper
``askonce.spaces``    one per namespace: entries, size, inflation, the log's head; writes, busy and counted
                      serve the accounts
``askonce.leases``    who makes which record
``askonce.log``       the change log; ``_id`` is the namespace's hash and the sequence
====================  =====================================================================================

*Accounts without transactions.* A put first charges its namespace for what it brings, then writes, then gives
back what it replaced, evicted or could not write. Every write of a batch names the document that it was planned
for (``_id`` and ``g``) and is an upsert, or is an insert; so the reply tells for each whether it replaced exactly
that one, found nothing, or found another, and two calls never account for the same document. A removal replaces
the document by one without a namespace, which is then deleted. So a batch costs a few round trips whatever its
length, and the sums are exact under any number of processes. Of two calls that write the same key at the same
instant one wins, as if the other had come just before it.

A process that dies between its writes leaves sums that are too large, never too small: the namespace then
evicts early. `MongoDBStore.check` counts anew what was not counted for an hour, and so does an eviction that
finds nothing to evict; both only while nobody writes (``busy`` has passed, ``writes`` has not moved).

*Expiry.* Reads test it by this machine's clock. Puts remove expired records now and then, evictions first of
all. The server's own sweeper (TTL index) takes only what is a day past its expiry, in namespaces that nobody
writes to; it knows nothing of the accounts, which are then too large until `MongoDBStore.check`.

*The log.* A sequence is drawn before its event is written. A reader stops before a missing event until two
seconds have passed, by when its writer has written it or died. Clocks of the machines that share a server
should agree to about a second.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Concatenate, ParamSpec, TypeVar

from bson.datetime_ms import DatetimeMS
from pymongo import IndexModel, InsertOne, ReplaceOne, ReturnDocument, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError

from askonce.errors import ForeignStoreError, StoreError, StoreUnavailable
from askonce.eviction import NEVER, UNLIMITED, Budget, Policy
from askonce.stores import redact
from askonce.stores._mongodb_client import CONNECT_SECONDS, Clients, first_write_error
from askonce.stores._mongodb_plan import Document, MoreNeeded, Plan, Seen, Space
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, LOG_LENGTH, Clock, LogPage, Record, Size, Store

T = TypeVar("T")
P = ParamSpec("P")
Steps = Generator[Any, Any, T]
"""An operation, written once for both faces: it yields calls of the driver and is sent their results. Those of
the synchronous driver are results already; those of the asynchronous one are awaited first."""

ENTRIES, SPACES, LEASES, LOG = "askonce.entries", "askonce.spaces", "askonce.leases", "askonce.log"
FORMAT = 1
NOTHING = Size()
DUPLICATE_KEY = 11_000
LARGEST_RECORD_BYTES = 16_000_000  # a document holds 16 MiB, its other fields included

_DAY_SECONDS = 86_400
_PAGE = 1_000
_REAP_EVERY_SECONDS = 10.0
_RECOUNT_EVERY_SECONDS = 3_600.0
_WRITER_SECONDS = 5.0  # beyond its timeout: by then a call has ended, whatever the machines' clocks
_GAP_SECONDS = 2.0
_TRIM_EVERY = 1_000

_SEEN = {"g": 1, "s": 1, "p": 1, "x": 1}
_SEEN_WHATEVER_ITS_PRIORITY = {"g": 1, "s": 1, "x": 1}
_BY_PRIORITY = "ns_p_id_s"
_INDEXES = [
    IndexModel([("ns", 1), ("p", 1), ("_id", 1), ("s", 1)], name=_BY_PRIORITY),  # s: to count without fetching
    IndexModel([("ns", 1), ("t", 1)], name="ns_t"),
    IndexModel([("ns", 1), ("x", 1)], name="ns_x"),
]


def _space(namespace: str) -> str:
    return blake2b(namespace.encode(), digest_size=16).hexdigest()


def _name(namespace: str, key: bytes) -> str:
    return _space(namespace) + key.hex()


def _key(name: str) -> bytes:
    return bytes.fromhex(name[32:])


def _log_name(namespace: str, sequence: int) -> str:
    return f"{_space(namespace)}{sequence:016x}"


def _trimmed(head: int) -> int:
    """Up to which sequence a log with that head is deleted; not positive while it is whole."""
    return head - head % _TRIM_EVERY - LOG_LENGTH


def _date(seconds_from_now: float) -> DatetimeMS:
    """A date for the server's sweeper, which goes by the real clock."""
    return DatetimeMS(int((time.time() + seconds_from_now) * 1000))


def _as_seen(row: Seen) -> Document:
    return {field: row[field] for field in ("_id", "g", "p") if field in row}


def _find(db: Any, where: Mapping[str, Any], fields: Mapping[str, int], limit: int) -> Any:
    # A limit as batch size: all comes with the first reply.
    return db[ENTRIES].find(where, fields, limit=limit, batch_size=limit + 1)


def _count(db: Any, where: Mapping[str, Any], **options: Any) -> Steps[Size]:
    group = {"_id": None, "entries": {"$sum": 1}, "size": {"$sum": "$s"}}
    cursor = yield db[ENTRIES].aggregate([{"$match": where}, {"$group": group}], **options)
    rows = yield cursor.to_list()
    return Size(rows[0]["entries"], rows[0]["size"]) if rows else NOTHING


def _sweep(seconds: int) -> IndexModel:
    return IndexModel([("gone", 1)], name="gone", expireAfterSeconds=seconds)


class MongoDBStore(Store):
    """Keeps records in MongoDB, with pymongo.

    One call takes at most the timeout, or raises; ``clear``, ``delete_tag`` and ``scan`` take it for each
    page of a thousand records. Connections are opened at the first call.

    Args:
        url: ``mongodb://user:password@host1,host2/database?options`` or ``mongodb+srv://``.
        timeout_seconds: how long one call may take.
        clock: seconds since the epoch.

    Raises:
        ConfigError: the URL cannot be used.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, clock: Clock = time.time
    ) -> None:
        self._clients = Clients(url, redact(url))
        self.url = redact(url)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._prepared = False
        self._reaped: dict[str, float] = {}  # by namespace: when this process last looked for expired records

    def _run(self, steps: Callable[Concatenate[Any, P], Steps[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run_for(self._timeout_seconds, steps, *args, **kwargs)

    def _run_for(
        self,
        seconds: float,
        steps: Callable[Concatenate[Any, P], Steps[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with self._clients.bounded(seconds):
            under_way = steps(self._clients.database(), *args, **kwargs)
            result = None
            while True:
                try:
                    result = under_way.send(result)
                except StopIteration as end:
                    value: T = end.value
                    return value

    async def _arun(self, steps: Callable[Concatenate[Any, P], Steps[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._clients.bounded(self._timeout_seconds):
            under_way = steps(await self._clients.database_of_loop(), *args, **kwargs)
            result, error = None, None
            while True:
                try:
                    call = under_way.send(result) if error is None else under_way.throw(error)
                except StopIteration as end:
                    value: T = end.value
                    return value
                try:
                    result, error = await call, None
                except Exception as raised:
                    error = raised

    # -- reading ---------------------------------------------------------------------------------------------

    def _get(self, db: Any, namespace: str, key: bytes) -> Steps[bytes | None]:
        row = yield db[ENTRIES].find_one({"_id": _name(namespace, key)}, {"_id": 0, "v": 1, "x": 1})
        return row["v"] if row is not None and row.get("x", 0.0) > self._clock() else None

    def _get_many(self, db: Any, namespace: str, keys: Sequence[bytes]) -> Steps[list[bytes | None]]:
        names = [_name(namespace, key) for key in keys]
        rows = yield _find(db, {"_id": {"$in": list(set(names))}}, {"v": 1, "x": 1}, len(names)).to_list()
        now = self._clock()
        values = {row["_id"]: row["v"] for row in rows if row.get("x", 0.0) > now}
        return [values.get(name) for name in names]

    def _scan(self, db: Any, namespace: str, after: str) -> Steps[list[Document]]:
        # A single batch: at most 16 MB, however long the values are.
        within = {"$gt": after, "$lt": _space(namespace) + "g"}
        reply = yield db.command(
            "find",
            ENTRIES,
            filter={"_id": within, "x": {"$gt": self._clock()}},
            projection={"v": 1},
            sort={"_id": 1},
            limit=_PAGE,
            singleBatch=True,
        )
        rows: list[Document] = reply["cursor"]["firstBatch"]
        return rows

    def _size(self, db: Any, namespace: str) -> Steps[Size]:
        space = yield db[SPACES].find_one({"_id": namespace})
        if space is None:
            return Size()
        expired = yield from _count(db, {"ns": namespace, "x": {"$lte": self._clock()}})
        return Size(
            max(space.get("entries", 0) - expired.entries, 0),
            max(space.get("size", 0) - expired.size_bytes, 0),
        )

    # -- accounts --------------------------------------------------------------------------------------------

    def _enter(self, db: Any, namespace: str, entries: int = 0, size_bytes: int = 0) -> Steps[Space]:
        """Charge a namespace before it is changed; returns it as it was before."""
        if not self._prepared:  # the server was down when `check` was called, or nobody called it
            yield from self._prepare(db)
        now = self._clock()
        before = yield db[SPACES].find_one_and_update(
            {"_id": namespace},
            {
                "$inc": {"entries": entries, "size": size_bytes, "writes": 1},
                "$max": {"busy": now + self._timeout_seconds + _WRITER_SECONDS},
                "$setOnInsert": {"counted": now},
            },
            upsert=True,
            return_document=ReturnDocument.BEFORE,
        )
        before = before or {}
        return Space(
            before.get("entries", 0),
            before.get("size", 0),
            before.get("inflation", 0.0),
            before.get("writes", 0) + 1,
            before.get("busy", 0.0) < now,
        )

    def _recount(self, db: Any, namespace: str, space: Space, charged: Size = NOTHING) -> Steps[Space]:
        """Count a namespace anew if nobody else is changing it; ``space`` is what `_enter` returned."""
        if not space.quiet:
            return space
        counted = yield from _count(db, {"ns": namespace}, hint=_BY_PRIORITY)
        fresh = {
            "entries": counted.entries + charged.entries,
            "size": counted.size_bytes + charged.size_bytes,
            "counted": self._clock(),
        }
        result = yield db[SPACES].update_one({"_id": namespace, "writes": space.writes}, {"$set": fresh})
        if not result.matched_count:
            return space
        return Space(counted.entries, counted.size_bytes, space.inflation, space.writes, True)

    def _swap(
        self,
        db: Any,
        namespace: str,
        mark: bytes,
        gone: Sequence[Seen],
        come: Sequence[Document] = (),
        under: Mapping[str, Seen] | None = None,
        back: Size = NOTHING,
        inflation: float = 0.0,
    ) -> Steps[tuple[set[str], Space | None]]:
        """Remove some documents and store others, and settle the namespace's account.

        Args:
            db: the database.
            namespace: which one; `_enter` has charged it for ``come``.
            mark: of this call.
            gone: documents to remove; one that is not as it was seen stays.
            come: documents to store.
            under: what was seen under their ``_id``.
            back: what was charged and will not be stored.
            inflation: the namespace's, if higher than it is.

        Returns:
            the ``_id`` of those of ``gone`` that were removed, and the namespace after it if it changed.
        """
        under = under or {}
        tombstone = {"g": mark, "gone": DatetimeMS(0)}
        writes: list[Any] = [ReplaceOne(_as_seen(row), tombstone, upsert=True) for row in gone]
        for new in come:
            old = under.get(new["_id"])
            writes.append(
                InsertOne(new) if old is None else ReplaceOne({"_id": new["_id"], "g": old["g"]}, new, upsert=True)
            )
        failed: dict[int, int] = {}
        refused = ""
        upserted: set[int] = set()
        try:
            if writes:
                upserted = set((yield db[ENTRIES].bulk_write(writes, ordered=False)).upserted_ids or ())
        except BulkWriteError as error:
            failed = {row["index"]: row["code"] for row in error.details["writeErrors"]}
            upserted = {row["index"] for row in error.details["upserted"]}
            if set(failed.values()) != {DUPLICATE_KEY}:
                refused = first_write_error(error)
        missed = upserted | failed.keys()
        surprised = False
        removed = [row for index, row in enumerate(gone) if index not in missed]
        sizes = [row["s"] for row in removed]
        for index, new in enumerate(come, len(gone)):
            if index in failed:
                sizes.append(new["s"])
            elif "s" in under.get(new["_id"], ()):
                if index in upserted:
                    surprised = True  # what should make room for it was gone before
                else:
                    sizes.append(under[new["_id"]]["s"])
        space = None
        if sizes or back.entries or inflation or surprised:
            space = yield from self._settle(
                db, namespace, len(sizes) + back.entries, sum(sizes) + back.size_bytes, inflation
            )
        if gone:  # nobody waits for it: such documents are nothing to anyone, and the server sweeps them too
            entries = db[ENTRIES].with_options(write_concern=WriteConcern(w=0))
            yield entries.delete_many({"_id": {"$in": [row["_id"] for row in gone]}, "g": mark})
        if refused:
            raise StoreError(f"{self.url}: {refused}")
        return {row["_id"] for row in removed}, space

    def _settle(self, db: Any, namespace: str, entries: int, size_bytes: int, inflation: float) -> Steps[Space]:
        after = yield db[SPACES].find_one_and_update(
            {"_id": namespace},
            {"$inc": {"entries": -entries, "size": -size_bytes}, "$max": {"inflation": inflation}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return Space(after["entries"], after["size"], after["inflation"], after.get("writes", 0), False)

    def _reap(self, db: Any, namespace: str, space: Space, mark: bytes) -> Steps[set[str]]:
        """Remove expired records, and take them off ``space``; returns the ``_id`` of all that were removed."""
        now = self._clock()
        self._reaped[namespace] = now
        reaped: set[str] = set()
        while True:
            where = {"ns": namespace, "x": {"$lte": now}}
            rows = yield _find(db, where, _SEEN_WHATEVER_ITS_PRIORITY, _PAGE).to_list()
            removed, _ = yield from self._swap(db, namespace, mark, rows)
            space.entries -= len(removed)
            space.size_bytes -= sum(row["s"] for row in rows if row["_id"] in removed)
            reaped |= removed
            if len(rows) < _PAGE:
                return reaped

    # -- writing ---------------------------------------------------------------------------------------------

    def _put(self, db: Any, namespace: str, records: Sequence[Record], budget: Budget) -> Steps[int]:
        if not records:
            return 0
        now, mark = self._clock(), secrets.token_bytes(8)
        documents = [self._document(namespace, record, mark) for record in records]
        last = {document["_id"]: document for document in documents}
        rows = yield _find(db, {"_id": {"$in": list(last)}}, _SEEN, len(last)).to_list()
        under: dict[str, Seen] = {row["_id"]: row for row in rows}
        sizes = [document["s"] for document in last.values() if budget.admits(document["s"])]
        charged = Size(len(sizes), sum(sizes))
        space = yield from self._enter(db, namespace, charged.entries, charged.size_bytes)
        if abs(now - self._reaped.get(namespace, 0.0)) >= _REAP_EVERY_SECONDS:
            yield from self._reap_under(db, namespace, space, mark, under)
        plan = yield from self._plan(db, namespace, documents, budget, space, charged, under, mark)
        gone = [row for name, row in plan.gone.items() if name not in plan.come]
        come = list(plan.come.values())
        back = Size(charged.entries - len(come), charged.size_bytes - sum(document["s"] for document in come))
        inflation = plan.inflation if plan.evicted else 0.0
        _, after = yield from self._swap(db, namespace, mark, gone, come, under, back, inflation)
        if after is not None:  # others may have come in between
            yield from self._shrink(db, namespace, budget, space, after, mark)
        return plan.evicted

    def _reap_under(
        self, db: Any, namespace: str, space: Space, mark: bytes, under: dict[str, Seen]
    ) -> Steps[None]:
        for name in (yield from self._reap(db, namespace, space, mark)):
            if name in under:
                under[name] = {"_id": name, "g": mark}

    def _plan(
        self,
        db: Any,
        namespace: str,
        documents: Sequence[Document],
        budget: Budget,
        space: Space,
        charged: Size,
        under: dict[str, Seen],
        mark: bytes,
    ) -> Steps[Plan]:
        """What a put will change. Reads records of low priority only if something must be evicted."""
        now, limit = self._clock(), 0
        lowest: list[Seen] = []
        complete = recounted = False
        while True:
            plan = Plan(space, budget, under, lowest, complete=complete)
            try:
                for document in documents:
                    plan.put(document, now)
                if not plan.starved or recounted:
                    return plan
                counted = yield from self._recount(db, namespace, space, charged)
                space.entries, space.size_bytes, recounted = counted.entries, counted.size_bytes, True
            except MoreNeeded:
                if not limit:
                    yield from self._reap_under(db, namespace, space, mark, under)
                limit = 4 * limit or 2 * len(documents) + 16
                lowest = yield from self._lowest(db, namespace, limit)
                complete = len(lowest) < limit

    def _lowest(self, db: Any, namespace: str, limit: int) -> Steps[list[Seen]]:
        rows: list[Seen] = yield (
            _find(db, {"ns": namespace}, _SEEN, limit).sort([("p", 1), ("_id", 1)]).hint(_BY_PRIORITY).to_list()
        )
        return rows

    def _document(self, namespace: str, record: Record, mark: bytes) -> Document:
        tags = list(dict.fromkeys(record.tags))
        if len(record.value) + sum(map(len, tags)) > LARGEST_RECORD_BYTES:
            raise StoreError(
                f"{self.url}: a value of {len(record.value)} bytes is more than a MongoDB document can hold "
                f"({LARGEST_RECORD_BYTES})"
            )
        document: Document = {"_id": _name(namespace, record.key), "ns": namespace, "g": mark, "h": 1}
        document |= {"v": record.value, "s": len(record.value), "w": float(record.weight), "x": NEVER}
        if record.expires_at is not None:
            document |= {"x": float(record.expires_at), "gone": _date(record.expires_at - self._clock())}
        if tags:
            document["t"] = tags
        return document

    def _touch(self, db: Any, namespace: str, hits: Mapping[bytes, int], policy: Policy) -> Steps[None]:
        if not hits:
            return
        inflation = 0.0
        if policy.inflates:
            space = yield db[SPACES].find_one({"_id": namespace}, {"inflation": 1})
            inflation = (space or {}).get("inflation", 0.0)
        now = self._clock()
        # What is the same for all is worked out by the formula itself; only the expiry stands in the document.
        base: Any = "$x" if policy is Policy.TTL else policy.base(inflation=inflation, now=now, expires_at=None)
        updates = [
            UpdateOne(
                {"_id": _name(namespace, key), "x": {"$gt": now}},
                [
                    {"$set": {"h": {"$add": ["$h", count]}}},
                    {"$set": {"p": {"$add": [base, {"$multiply": ["$h", "$w"]}]}}},
                ],
            )
            for key, count in hits.items()
        ]
        yield db[ENTRIES].bulk_write(updates, ordered=False)

    def _evict(self, db: Any, namespace: str, budget: Budget) -> Steps[int]:
        mark = secrets.token_bytes(8)
        space = yield from self._enter(db, namespace)
        yield from self._reap(db, namespace, space, mark)
        return (yield from self._shrink(db, namespace, budget, space, space, mark))

    def _shrink(
        self, db: Any, namespace: str, budget: Budget, entered: Space, space: Space, mark: bytes
    ) -> Steps[int]:
        """Evict, a page of victims at a time, until the account is within the budget."""
        evicted = 0
        while budget.exceeded_by(entries=space.entries, size_bytes=space.size_bytes):
            lowest = yield from self._lowest(db, namespace, _PAGE)
            if not lowest:
                yield from self._recount(db, namespace, entered)
                break
            plan = Plan(space, budget, {}, lowest, complete=True)
            plan.make_room(0, 0)
            removed, after = yield from self._swap(
                db, namespace, mark, list(plan.gone.values()), inflation=plan.inflation
            )
            evicted += len(removed)
            space = after or space
        return evicted

    def _delete(self, db: Any, namespace: str, keys: Sequence[bytes]) -> Steps[int]:
        names = {_name(namespace, key) for key in keys}
        _, deleted = yield from self._remove(db, namespace, {"_id": {"$in": list(names)}}, len(names))
        return deleted

    def _remove(
        self, db: Any, namespace: str, where: Mapping[str, Any], limit: int = _PAGE
    ) -> Steps[tuple[int, int]]:
        """Remove at most ``limit`` records; returns how many were found, and how many of them deleted alive."""
        rows = []
        if limit:
            rows = yield _find(db, {**where, "ns": namespace}, _SEEN_WHATEVER_ITS_PRIORITY, limit).to_list()
        if not rows:
            return 0, 0
        now = self._clock()
        yield from self._enter(db, namespace)
        removed, _ = yield from self._swap(db, namespace, secrets.token_bytes(8), rows)
        return len(rows), sum(row["_id"] in removed and row["x"] > now for row in rows)

    def _clear(self, db: Any, namespace: str) -> Steps[bool]:
        """Delete a page; returns whether there may be more."""
        found, _ = yield from self._remove(db, namespace, {})
        if found < _PAGE:
            yield db[SPACES].update_one({"_id": namespace}, {"$set": {"inflation": 0.0}})
        return found == _PAGE

    # -- between processes -----------------------------------------------------------------------------------

    def _lease(self, db: Any, namespace: str, key: bytes, owner: str, seconds: float) -> Steps[bool]:
        now = self._clock()
        free = {"$or": [{"owner": owner}, {"until": {"$lte": now}}]}
        until = {"owner": owner, "until": now + seconds, "gone": _date(seconds)}
        try:
            yield db[LEASES].update_one({"_id": _name(namespace, key), **free}, {"$set": until}, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    def _release(self, db: Any, namespace: str, key: bytes, owner: str) -> Steps[None]:
        yield db[LEASES].delete_one({"_id": _name(namespace, key), "owner": owner})

    def _log_append(self, db: Any, namespace: str, event: bytes) -> Steps[int]:
        space = yield db[SPACES].find_one_and_update(
            {"_id": namespace},
            {"$inc": {"head": 1}},
            projection={"head": 1},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        head: int = space["head"]
        document = {"_id": _log_name(namespace, head), "n": head, "e": event, "at": self._clock()}
        yield db[LOG].insert_one(document)
        if head % _TRIM_EVERY == 0 and _trimmed(head) > 0:
            old = {"$gt": _log_name(namespace, 0), "$lte": _log_name(namespace, _trimmed(head))}
            yield db[LOG].delete_many({"_id": old})
        return head

    def _log_read(self, db: Any, namespace: str, after: int, limit: int) -> Steps[LogPage]:
        later = {"$gt": _log_name(namespace, after), "$lt": _space(namespace) + "g"}
        rows = yield db[LOG].find({"_id": later}, batch_size=limit + 1).sort("_id", 1).limit(limit).to_list()
        # Read after the events, so that what was trimmed before they were read is known to be.
        all_of_it = {"$gt": _space(namespace), "$lt": _space(namespace) + "g"}
        newest = yield db[LOG].find_one({"_id": all_of_it}, {"n": 1}, sort=[("_id", -1)])
        head = newest["n"] if newest else 0
        settled = self._clock() - _GAP_SECONDS
        events: list[tuple[int, bytes]] = []
        expected = max(after, _trimmed(head)) + 1
        for row in rows:
            if row["n"] > expected and row["at"] > settled:
                break  # an event before this one may still be under way
            events.append((row["n"], row["e"]))
            expected = row["n"] + 1
        return LogPage(events, head, truncated=after < _trimmed(head))

    # -- life ------------------------------------------------------------------------------------------------

    def _prepare(self, db: Any) -> Steps[None]:
        """Create what is missing. The update with a pipeline also shows that the server can do one."""
        made = yield db[SPACES].find_one_and_update(
            {"_id": 0},
            [{"$set": {"format": {"$ifNull": ["$format", FORMAT]}}}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        if made["format"] != FORMAT:
            raise ForeignStoreError(
                f"{self.url} was written in format {made['format']} by a newer askonce; update this one"
            )
        yield db[ENTRIES].create_indexes([*_INDEXES, _sweep(_DAY_SECONDS)])
        yield db[LEASES].create_indexes([_sweep(_DAY_SECONDS)])
        self._prepared = True

    def _check(self, db: Any) -> Steps[list[str]]:
        """Prepare; returns namespaces that have not been counted for long."""
        yield from self._prepare(db)
        stale = {"counted": {"$lt": self._clock() - _RECOUNT_EVERY_SECONDS}}
        rows = yield db[SPACES].find(stale, {"_id": 1}).limit(100).to_list()
        return [row["_id"] for row in rows]

    def _count_anew(self, db: Any, namespace: str) -> Steps[None]:
        space = yield from self._enter(db, namespace)
        yield from self._recount(db, namespace, space)

    def check(self) -> None:
        try:
            stale = self._run_for(CONNECT_SECONDS, self._check)
        except StoreError as error:
            self._clients.refuse(error)
        with suppress(StoreUnavailable):  # too large to be counted in time
            for namespace in stale:
                self._run(self._count_anew, namespace)

    def close(self) -> None:
        self._clients.close()

    async def aclose(self) -> None:
        await self._clients.aclose()

    # -- the two faces of each operation ---------------------------------------------------------------------

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        after = _space(namespace)
        while rows := self._run(self._scan, namespace, after):
            yield from ((_key(row["_id"]), row["v"]) for row in rows)
            after = rows[-1]["_id"]

    async def ascan(self, namespace: str) -> AsyncIterator[tuple[bytes, bytes]]:
        after = _space(namespace)
        while rows := await self._arun(self._scan, namespace, after):
            for row in rows:
                yield _key(row["_id"]), row["v"]
            after = rows[-1]["_id"]

    def clear(self, namespace: str) -> None:
        while self._run(self._clear, namespace):
            pass

    async def aclear(self, namespace: str) -> None:
        while await self._arun(self._clear, namespace):
            pass

    def delete_tag(self, namespace: str, tag: str) -> int:
        deleted, found = 0, _PAGE
        while found == _PAGE:
            found, alive = self._run(self._remove, namespace, {"t": tag})
            deleted += alive
        return deleted

    async def adelete_tag(self, namespace: str, tag: str) -> int:
        deleted, found = 0, _PAGE
        while found == _PAGE:
            found, alive = await self._arun(self._remove, namespace, {"t": tag})
            deleted += alive
        return deleted

    def get(self, namespace: str, key: bytes) -> bytes | None:
        return self._run(self._get, namespace, key)

    async def aget(self, namespace: str, key: bytes) -> bytes | None:
        return await self._arun(self._get, namespace, key)

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return self._run(self._get_many, namespace, keys)

    async def aget_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return await self._arun(self._get_many, namespace, keys)

    def size(self, namespace: str) -> Size:
        return self._run(self._size, namespace)

    async def asize(self, namespace: str) -> Size:
        return await self._arun(self._size, namespace)

    def put(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return self._run(self._put, namespace, records, budget)

    async def aput(self, namespace: str, records: Sequence[Record], budget: Budget = UNLIMITED) -> int:
        return await self._arun(self._put, namespace, records, budget)

    def touch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        self._run(self._touch, namespace, hits, policy)

    async def atouch(self, namespace: str, hits: Mapping[bytes, int], policy: Policy = Policy.GDSF) -> None:
        await self._arun(self._touch, namespace, hits, policy)

    def evict(self, namespace: str, budget: Budget) -> int:
        return self._run(self._evict, namespace, budget)

    async def aevict(self, namespace: str, budget: Budget) -> int:
        return await self._arun(self._evict, namespace, budget)

    def delete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return self._run(self._delete, namespace, keys)

    async def adelete(self, namespace: str, keys: Sequence[bytes]) -> int:
        return await self._arun(self._delete, namespace, keys)

    def lease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return self._run(self._lease, namespace, key, owner, seconds)

    async def alease(self, namespace: str, key: bytes, owner: str, seconds: float) -> bool:
        return await self._arun(self._lease, namespace, key, owner, seconds)

    def release(self, namespace: str, key: bytes, owner: str) -> None:
        self._run(self._release, namespace, key, owner)

    async def arelease(self, namespace: str, key: bytes, owner: str) -> None:
        await self._arun(self._release, namespace, key, owner)

    def log_append(self, namespace: str, event: bytes) -> int:
        return self._run(self._log_append, namespace, event)

    async def alog_append(self, namespace: str, event: bytes) -> int:
        return await self._arun(self._log_append, namespace, event)

    def log_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return self._run(self._log_read, namespace, after, limit)

    async def alog_read(self, namespace: str, after: int, limit: int = 1000) -> LogPage:
        return await self._arun(self._log_read, namespace, after, limit)
