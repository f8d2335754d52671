"""The tables of a SQLite store, and every statement that it executes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from askonce.eviction.policy import NEVER, RECENCY, Policy

APPLICATION_ID = 0x61736B31  # "ask1": identifies our files, also to `file`
FORMAT = 1

# The small columns come before the value, so that they are read without it. Namespaces are numbers in the
# rows and indexes. `tagged` says whether a row has rows in `tag`; most have none.
SCHEMA = """
CREATE TABLE space (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    inflation REAL NOT NULL DEFAULT 0,
    entries INTEGER NOT NULL DEFAULT 0,
    size_bytes INTEGER NOT NULL DEFAULT 0,
    log_head INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    key BLOB NOT NULL,
    expires_at REAL,
    priority REAL NOT NULL,
    weight REAL NOT NULL,
    hits INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    tagged INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE UNIQUE INDEX entry_by_key ON entry (space, key);
CREATE INDEX entry_by_priority ON entry (space, priority, key);
CREATE INDEX entry_by_expiry ON entry (space, expires_at, size_bytes) WHERE expires_at IS NOT NULL;
CREATE TABLE tag (
    space INTEGER NOT NULL,
    name TEXT NOT NULL,
    entry INTEGER NOT NULL,
    PRIMARY KEY (space, name, entry)
) WITHOUT ROWID;
CREATE INDEX tag_by_entry ON tag (entry);
CREATE TABLE lease (
    space INTEGER NOT NULL,
    key BLOB NOT NULL,
    owner TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE TABLE log (
    space INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    event BLOB NOT NULL,
    PRIMARY KEY (space, sequence)
) WITHOUT ROWID;
"""

# Also where the type of a value is damaged, which else stops a whole page.
_VALUE = "CAST(value AS BLOB)"
GET = f"SELECT {_VALUE}, expires_at FROM entry WHERE space = ? AND key = ?"
MOST_KEYS, _FEW_KEYS = 256, 32


def padded(keys: Sequence[bytes]) -> list[bytes]:
    """Keys, filled up so that few statements serve any number of them: SQLite's driver holds few prepared."""
    places = len(keys) if len(keys) <= _FEW_KEYS else 1 << (len(keys) - 1).bit_length()
    return [*keys, *[b""] * (places - len(keys))]


@lru_cache
def get_many(count: int) -> str:
    """The statement that reads so many keys."""
    places = ", ".join("?" * count)
    return f"SELECT key, {_VALUE}, expires_at FROM entry WHERE space = ? AND key IN ({places})"


@lru_cache
def present(count: int) -> str:
    """The statement that finds which of so many keys there are."""
    return f"SELECT key FROM entry WHERE space = ? AND key IN ({', '.join('?' * count)})"


FIND_SPACE = "SELECT id FROM space WHERE name = ?"
PAGE = f"""SELECT key, {_VALUE}, expires_at, weight, hits FROM entry
    WHERE space = ? AND key > ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY key LIMIT ?"""
SPACES = "SELECT name FROM space"
SIZE = """SELECT entries - expired, size_bytes - expired_bytes FROM space,
    (SELECT count(*) AS expired, coalesce(sum(size_bytes), 0) AS expired_bytes
     FROM entry WHERE space = :space AND expires_at <= :now)
    WHERE id = :space"""

CREATE_SPACE = "INSERT INTO space (name) VALUES (?) ON CONFLICT DO NOTHING"
LOAD_SPACE = "SELECT id, inflation, entries, size_bytes FROM space WHERE name = ?"
ERASE_SPACE = "UPDATE space SET name = ?, inflation = 0, log_head = 0 WHERE id = ?"
"""The row stays, since others may hold its number."""
BEGIN_ERASED_SPACE = "UPDATE space SET name = ? WHERE name = ?"
SAVE_SPACE = "UPDATE space SET inflation = ?, entries = ?, size_bytes = ? WHERE id = ?"

INSERT = """INSERT INTO entry (space, key, expires_at, priority, weight, hits, size_bytes, tagged, value)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
OVERWRITE = """UPDATE entry SET key = ?, expires_at = ?, priority = ?, weight = ?, hits = ?, size_bytes = ?,
    tagged = ?, value = ? WHERE id = ?"""
_DELETED = "RETURNING id, size_bytes, tagged, priority, expires_at"
DELETE = f"DELETE FROM entry WHERE space = ? AND key = ? {_DELETED}"
DELETE_TAGGED = f"DELETE FROM entry WHERE id IN (SELECT entry FROM tag WHERE space = ? AND name = ?) {_DELETED}"
DELETE_EXPIRED = f"""DELETE FROM entry WHERE id IN
    (SELECT id FROM entry WHERE space = ? AND expires_at <= ? ORDER BY expires_at LIMIT ?) {_DELETED}"""
FIND_LOWEST = "SELECT id, size_bytes, tagged, priority FROM entry WHERE space = ? ORDER BY priority, key LIMIT 1"
DELETE_ENTRY = "DELETE FROM entry WHERE id = ?"
LOWEST = "SELECT priority, size_bytes FROM entry WHERE space = ? ORDER BY priority, key"
CLEAR = "DELETE FROM entry WHERE space = ?"
CLEAR_TAGS = "DELETE FROM tag WHERE space = ?"
ADD_TAG = "INSERT INTO tag (space, name, entry) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
DELETE_TAGS = "DELETE FROM tag WHERE entry = ?"

_BASE = {
    Policy.GDSF: ":inflation",
    Policy.LEC: "0.0",
    Policy.LFU: f":now * {RECENCY!r}",
    Policy.LRU: ":now",
    Policy.TTL: f"coalesce(expires_at, {NEVER!r})",
}
TOUCH = {
    policy: f"""UPDATE entry SET hits = hits + :hits, priority = {base} + (hits + :hits) * weight
    WHERE space = :space AND key = :key AND (expires_at IS NULL OR expires_at > :now)"""
    for policy, base in _BASE.items()
}

LEASE = """INSERT INTO lease (space, key, owner, until) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET until = excluded.until WHERE owner = excluded.owner RETURNING 1"""
END_LEASES = "DELETE FROM lease WHERE until <= ? OR (space = ? AND key = ? AND until > ?)"
"""Those that are over, and one that ends too far ahead."""
RELEASE = "DELETE FROM lease WHERE space = ? AND key = ? AND owner = ?"

NEXT_SEQUENCE = """UPDATE space SET log_head = CASE log_head WHEN 0 THEN ? ELSE log_head + 1 END
    WHERE id = ? RETURNING log_head"""
APPEND = "INSERT INTO log (space, sequence, event) VALUES (?, ?, ?)"
ERASE_LOG = "DELETE FROM log WHERE space = ?"
ERASE_LEASES = "DELETE FROM lease WHERE space = ?"
TRIM = "DELETE FROM log WHERE space = ? AND sequence <= ?"
LOG_STATE = "SELECT log_head, (SELECT min(sequence) FROM log WHERE space = :space) FROM space WHERE id = :space"
LOG_STATE_BY_NAME = """SELECT id, log_head, (SELECT min(sequence) FROM log WHERE space = id) FROM space
    WHERE name = :name"""
LOG_READ = "SELECT sequence, event FROM log WHERE space = ? AND sequence > ? ORDER BY sequence LIMIT ?"

WHOSE = """
SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
       EXISTS (SELECT 1 FROM sqlite_schema)
"""
