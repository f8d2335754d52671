"""One namespace of a SQLite store within a write transaction."""

from __future__ import annotations

import sqlite3
from typing import Any

from askonce.eviction import Budget, Policy
from askonce.stores import _sqlite_schema as sql
from askonce.stores.base import Record

REAPED_AT_ONCE = 20
"""How many expired rows are deleted in one step."""


class Space:
    """A namespace's accounts, read at the beginning of a transaction and written back by `save`.

    Args:
        connection: in a transaction.
        namespace: its name; it comes to be if it was not there.
        now: seconds since the epoch; what expires until then does not count.
    """

    def __init__(self, connection: sqlite3.Connection, namespace: str, now: float) -> None:
        self._execute = connection.execute
        self._now = now
        row = self._execute(sql.LOAD_SPACE, (namespace,)).fetchone()
        if row is None:
            self._execute(sql.CREATE_SPACE, (namespace,))
            row = self._execute(sql.LOAD_SPACE, (namespace,)).fetchone()
        self.id: int
        self.inflation: float
        self.entries: int
        self.size_bytes: int
        self.id, self.inflation, self.entries, self.size_bytes = row

    def save(self) -> None:
        self._execute(sql.SAVE_SPACE, (self.inflation, self.entries, self.size_bytes, self.id))

    def put(self, record: Record, policy: Policy) -> None:
        base = policy.base(inflation=self.inflation, now=self._now, expires_at=record.expires_at)
        size_bytes, tags = len(record.value), record.tags
        priority = base + record.hits * record.weight
        row = (self.id, record.key, record.expires_at, priority, record.weight, record.hits, size_bytes, bool(tags))
        entry = self._execute(sql.INSERT, (*row, record.value)).lastrowid
        for tag in tags:
            self._execute(sql.ADD_TAG, (self.id, tag, entry))
        self.entries += 1
        self.size_bytes += size_bytes

    def refuses(self, newcomer: Record, budget: Budget) -> bool:
        """Whether a newcomer is worth no more than one that would have to go; that raises the inflation."""
        entries, size_bytes = 1, len(newcomer.value)
        while self._exceeds(budget, entries, size_bytes) and self.reap(REAPED_AT_ONCE):
            pass
        worth = newcomer.hits * newcomer.weight
        base = budget.policy.base(inflation=self.inflation, now=self._now, expires_at=newcomer.expires_at)
        lowest = self._execute(sql.LOWEST, (self.id,))
        while self._exceeds(budget, entries, size_bytes) and (row := lowest.fetchone()):
            priority, freed_bytes = row
            if priority >= base + worth:
                lowest.close()
                if budget.policy.inflates:
                    self.inflation += worth / self.entries
                return True
            entries, size_bytes = entries - 1, size_bytes - freed_bytes
        lowest.close()
        return False

    def _exceeds(self, budget: Budget, entries: int, size_bytes: int) -> bool:
        return budget.exceeded_by(entries=self.entries + entries, size_bytes=self.size_bytes + size_bytes)

    def make_room(self, budget: Budget, entries: int, size_bytes: int) -> int:
        """Evict until that much more fits; what is expired goes first and does not count."""
        evicted = 0
        while self.entries and self._exceeds(budget, entries, size_bytes):
            if not self.reap(REAPED_AT_ONCE):
                (victim,) = self._delete(sql.DELETE_LOWEST, (self.id,))
                if budget.policy.inflates:
                    self.inflation = max(self.inflation, victim)
                evicted += 1
        return evicted

    def reap(self, limit: int) -> bool:
        """Delete the longest expired rows; returns whether there were any."""
        before = self.entries
        self._delete(sql.DELETE_EXPIRED, (self.id, self._now, limit))
        return self.entries < before

    def delete(self, key: bytes) -> int:
        return len(self._delete(sql.DELETE, (self.id, key)))

    def delete_tag(self, tag: str) -> int:
        return len(self._delete(sql.DELETE_TAGGED, (self.id, tag)))

    def clear(self) -> int:
        self._execute(sql.CLEAR_TAGS, (self.id,))
        self.inflation, self.entries, self.size_bytes = 0.0, 0, 0
        return self._execute(sql.CLEAR, (self.id,)).rowcount

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
