"""RowSums of amounts, by hour, layer, model, tenant and tag: values only, bounded in number.

An amount has a name, and perhaps a reason after a dot: ``hits.exact``, ``misses.absent``, ``saved_usd``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from askonce.entries.decodable import decodable

Amounts = dict[str, float]
RowName = tuple[str, str, str, str]
"""Layer, model, tenant and tag; empty where there is none."""

OTHER = "(other)"
"""The name of what is counted together, since there are too many names."""
MOST_ROWS = 1000
"""Of one hour or day. Beyond it tenants and tags become `OTHER`, and beyond twice as many the models too."""


@decodable
class Row(msgspec.Struct, frozen=True, array_like=True):
    """What was counted of one layer, model and tenant; or of one tag of a tenant, in addition.

    Attributes:
        name: which.
        amounts: what was counted.
    """

    name: RowName
    amounts: Amounts


@decodable
class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """What was counted in one hour or one day (UTC).

    Attributes:
        start: its first hour, counted since the epoch.
        hours: 1 or 24.
        rows: what was counted.
    """

    start: int
    hours: int
    rows: list[Row]


class RowSums:
    """Rows that grow."""

    def __init__(self) -> None:
        self._rows: dict[RowName, Amounts] = {}

    def add(self, name: RowName, amounts: Mapping[str, float]) -> None:
        """Add to a row, or to that of the others where there are too many."""
        row = self._rows.get(name)
        if row is None and len(self._rows) >= MOST_ROWS:
            layer, model, tenant, tag = name
            name = (layer, model, tenant and OTHER, tag and OTHER)
            if name not in self._rows and len(self._rows) >= 2 * MOST_ROWS:
                name = (layer, model and OTHER, tenant and OTHER, tag and OTHER)
            row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = {}
        add_to(row, amounts)

    def rows(self) -> list[Row]:
        """A copy of what was added up."""
        return [Row(name, dict(amounts)) for name, amounts in self._rows.items()]


@lru_cache(maxsize=4096)
def name_digest(kind: Literal["tenant", "tag"], name: str) -> bytes:
    """Stands for a name that is erased, where the name itself may not stand: its BLAKE2b digest, 16 bytes."""
    return blake2b(f"{kind} {name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_within(tenant: str, erased: Collection[bytes]) -> bool:
    parts = tenant.split("/")
    return any(name_digest("tenant", "/".join(parts[:end])) in erased for end in range(1, len(parts) + 1))


def without(buckets: Iterable[Bucket], erased: Collection[bytes]) -> list[Bucket]:
    """Buckets with the same sums, in which some tenants with all within them, or tags, are counted under `OTHER`.

    Args:
        buckets: what was counted.
        erased: the digests of the names.
    """
    made = []
    for bucket in buckets:
        sums = RowSums()
        for row in bucket.rows:
            layer, model, of, tagged = row.name
            if of and _is_within(of, erased):
                of, tagged = OTHER, tagged and OTHER
            if tagged and name_digest("tag", tagged) in erased:
                tagged = OTHER
            sums.add((layer, model, of, tagged), row.amounts)
        made.append(Bucket(bucket.start, bucket.hours, sums.rows()))
    return made


def add_to(amounts: Amounts, more: Mapping[str, float]) -> None:
    """Add amounts to others."""
    for name, amount in more.items():
        amounts[name] = amounts.get(name, 0) + amount


def requests_of(amounts: Mapping[str, float]) -> float:
    """How many requests are counted in it."""
    return sum(amount for name, amount in amounts.items() if name.startswith(("hits.", "misses.", "bypassed")))


def merged(buckets: Iterable[Bucket], hours: int) -> list[Bucket]:
    """Buckets of so many hours with the sums of those that lie in them; of too many rows the largest by name."""
    together: dict[int, dict[RowName, Amounts]] = {}
    for bucket in buckets:
        rows = together.setdefault(bucket.start - bucket.start % hours, {})
        for row in bucket.rows:
            add_to(rows.setdefault(row.name, {}), row.amounts)
    made = []
    for start, rows in sorted(together.items()):
        sums = RowSums()
        for name in sorted(rows, key=lambda name: -requests_of(rows[name])) if len(rows) > MOST_ROWS else rows:
            sums.add(name, rows[name])
        made.append(Bucket(start, hours, sums.rows()))
    return made


def tenant_of(tenants: Iterable[str]) -> str:
    """One name for nested tenants: joined by ``/``; a slash in a name is ``%2F``, and a percent sign ``%25``."""
    return "/".join(one.replace("%", "%25").replace("/", "%2F") for one in tenants)


def namespace_of(namespace: str, tenant: str) -> str:
    """The namespace of a tenant's entries, in a cache with that one."""
    return (
        "/".join((namespace, *(quote(unquote(one), safe="") for one in tenant.split("/")))) if tenant else namespace
    )
