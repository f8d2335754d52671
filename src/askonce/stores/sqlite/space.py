"""One namespace of a SQLite store within a write transaction."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any

from askonce.eviction.policy import Budget, Policy
from askonce.stores.base import LEASE_SLACK, Record
from askonce.stores.sqlite import schema as sql

REAPED_AT_ONCE = 20
"""How many expired rows are deleted in one step."""


class Space:
    """A namespace's accounts, read at the beginning of a transaction and written back by `save`.

    Args:
        connection: in a transaction.
        namespace: its name; it is created if it does not exist.
        now: seconds since the epoch; what expires until then does not count.
    """

    def __init__(self, connection: sqlite3.Connection, namespace: str, now: float) -> None:
        self._execute, self._executemany = connection.execute, connection.executemany
        self._now = now
        self._swept = False  # whether no expired row is left
        row = self._execute(sql.LOAD_SPACE, (namespace,)).fetchone()
        if row is None:
            if not self._execute(sql.BEGIN_ERASED_SPACE, (namespace, _erased(namespace))).rowcount:
                self._execute(sql.CREATE_SPACE, (namespace,))
            row = self._execute(sql.LOAD_SPACE, (namespace,)).fetchone()
        self.id: int
        self.inflation: float
        self.entries: int
        self.size_bytes: int
        self.id, self.inflation, self.entries, self.size_bytes = row

    @classmethod
    def there(cls, connection: sqlite3.Connection, namespace: str, now: float) -> Space | None:
        """A namespace for what only deletes; ``None`` if it does not exist: its name is not stored for that."""
        row = connection.execute(sql.FIND_SPACE, (namespace,)).fetchone()
        return None if row is None else cls(connection, namespace, now)

    def save(self) -> None:
        self._execute(sql.SAVE_SPACE, (self.inflation, self.entries, self.size_bytes, self.id))

    def put(self, record: Record, budget: Budget) -> int:
        """Store a record, with room made for it; returns how many were evicted.

        The last victim's row is overwritten: that changes fewer pages than to delete it and insert another.
        """
        size_bytes, tags = len(record.value), record.tags
        evicted, entry = 0, None
        while self._lacks_room(budget, 1, size_bytes):
            if entry is not None:
                self._execute(sql.DELETE_ENTRY, (entry,))
            entry, evicted = self._evict(budget.policy), evicted + 1
        row = self._row(record, budget.policy)
        if entry is None:
            entry = self._execute(sql.INSERT, (self.id, *row)).lastrowid
        else:
            self._execute(sql.OVERWRITE, (*row, entry))
        for tag in tags:
            self._execute(sql.ADD_TAG, (self.id, tag, entry))
        self.entries += 1
        self.size_bytes += size_bytes
        self._swept = self._swept and (record.expires_at is None or record.expires_at > self._now)
        return evicted

    def _row(self, record: Record, policy: Policy) -> tuple[Any, ...]:
        base = policy.base(inflation=self.inflation, now=self._now, expires_at=record.expires_at)
        priority, size_bytes = base + record.hits * record.weight, len(record.value)
        return (
            record.key, record.expires_at, priority, record.weight, record.hits,
            size_bytes, bool(record.tags), record.value,
        )  # fmt: skip

    def has_room(self, records: Sequence[Record], budget: Budget) -> bool:
        """Whether records fit as they are: nothing that is there must go for them."""
        return not self._exceeds(budget, len(records), sum(len(record.value) for record in records))

    def put_all(self, records: Sequence[Record], policy: Policy) -> None:
        """Store records that there is room for, under keys that have none: most of them with one statement."""
        rows = []
        for record in records:
            row = (self.id, *self._row(record, policy))
            if record.tags:
                entry = self._execute(sql.INSERT, row).lastrowid
                self._executemany(sql.ADD_TAG, [(self.id, tag, entry) for tag in record.tags])
            else:
                rows.append(row)
            self.size_bytes += len(record.value)
            self._swept = self._swept and (record.expires_at is None or record.expires_at > self._now)
        self._executemany(sql.INSERT, rows)
        self.entries += len(records)

    def present(self, keys: Sequence[bytes]) -> set[bytes]:
        """Which of some keys have a row; for one key a query does not pay."""
        if len(keys) == 1:
            return set(keys)
        found = set[bytes]()
        for start in range(0, len(keys), sql.MOST_KEYS):
            some = sql.padded(keys[start : start + sql.MOST_KEYS])
            found.update(key for (key,) in self._execute(sql.present(len(some)), (self.id, *some)))
        return found

    def refuses(self, newcomer: Record, budget: Budget) -> bool:
        """Whether a newcomer has no higher priority than one that it would evict; that raises the inflation."""
        entries, size_bytes = 1, len(newcomer.value)
        if not self._lacks_room(budget, entries, size_bytes):
            return False
        gain = newcomer.hits * newcomer.weight
        base = budget.policy.judged_base(inflation=self.inflation, expires_at=newcomer.expires_at)
        lowest = self._execute(sql.LOWEST, (self.id,))
        refused = False
        while not refused and self._exceeds(budget, entries, size_bytes) and (row := lowest.fetchone()):
            refused = row[0] >= base + gain
            entries, size_bytes = entries - 1, size_bytes - row[1]
        lowest.close()
        if refused and budget.policy.inflates:
            self.inflation += gain / self.entries
        return refused

    def _exceeds(self, budget: Budget, entries: int, size_bytes: int) -> bool:
        return budget.exceeded_by(entries=self.entries + entries, size_bytes=self.size_bytes + size_bytes)

    def _lacks_room(self, budget: Budget, entries: int, size_bytes: int) -> bool:
        """Whether a live row must be evicted for that much more; expired ones are deleted now and do not count."""
        while self.entries and self._exceeds(budget, entries, size_bytes):
            if not self.reap(REAPED_AT_ONCE):
                return True
        return False

    def _evict(self, policy: Policy) -> int:
        """Take the lowest row out of the accounts and the index of tags; returns the row to delete."""
        entry: int
        entry, size_bytes, tagged, priority = self._execute(sql.FIND_LOWEST, (self.id,)).fetchone()
        if tagged:
            self._execute(sql.DELETE_TAGS, (entry,))
        self.entries -= 1
        self.size_bytes -= size_bytes
        if policy.inflates:
            self.inflation = max(self.inflation, priority)
        return entry

    def make_room(self, budget: Budget, entries: int, size_bytes: int) -> int:
        """Evict until that much more fits; expired rows are deleted first and do not count."""
        evicted = 0
        while self._lacks_room(budget, entries, size_bytes):
            self._execute(sql.DELETE_ENTRY, (self._evict(budget.policy),))
            evicted += 1
        return evicted

    def reap(self, limit: int) -> bool:
        """Delete the longest expired rows; returns whether there were any."""
        if self._swept:
            return False
        before = self.entries
        self._delete(sql.DELETE_EXPIRED, (self.id, self._now, limit))
        self._swept = before - self.entries < limit
        return self.entries < before

    def lease(self, key: bytes, owner: str, seconds: float) -> bool:
        """As ``Store.lease``."""
        until, ahead = self._now + seconds, self._now + LEASE_SLACK * seconds
        self._execute(sql.END_LEASES, (self._now, self.id, key, ahead))
        return bool(self._execute(sql.LEASE, (self.id, key, owner, until)).fetchall())

    def release(self, key: bytes, owner: str) -> None:
        """As ``Store.release``."""
        self._execute(sql.RELEASE, (self.id, key, owner))

    def delete(self, key: bytes) -> int:
        return len(self._delete(sql.DELETE, (self.id, key)))

    def delete_tag(self, tag: str) -> int:
        return len(self._delete(sql.DELETE_TAGGED, (self.id, tag)))

    def clear(self) -> int:
        self._execute(sql.CLEAR_TAGS, (self.id,))
        self.inflation, self.entries, self.size_bytes = 0.0, 0, 0
        return self._execute(sql.CLEAR, (self.id,)).rowcount

    def erase(self, name: str) -> int:
        """Delete all records, the change log, the leases and the name; returns how many records there were."""
        self._execute(sql.ERASE_LOG, (self.id,))
        self._execute(sql.ERASE_LEASES, (self.id,))
        self._execute(sql.ERASE_SPACE, (_erased(name), self.id))
        while self.reap(1000):
            pass
        erased = self.entries
        self.clear()
        return erased

    def _delete(self, statement: str, args: tuple[Any, ...]) -> list[float]:
        """Delete rows and account for them; returns the priorities of those that were not expired."""
        live = []
        for entry, size_bytes, tagged, priority, expires_at in self._execute(statement, args).fetchall():
            if tagged:
                self._execute(sql.DELETE_TAGS, (entry,))
            self.entries -= 1
            self.size_bytes -= size_bytes
            if expires_at is None or expires_at > self._now:
                live.append(priority)
        return live


def _erased(namespace: str) -> str:
    """The name of a namespace that was erased: others may hold its number, so that its row is needed."""
    return "\0" + hashlib.blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def is_erased(name: str) -> bool:
    """Whether a name is that of a namespace that was erased."""
    return name.startswith("\0")
