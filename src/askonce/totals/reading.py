"""What was counted, added up as it is wanted."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import get_args

from askonce.entries.codec import Codec
from askonce.errors import ConfigError
from askonce.stats import Counts, Totals, TotalsBy
from askonce.stores.base import Store
from askonce.totals.buckets import OTHER, Amounts, Bucket, Row, add_to, namespace_of, requests_of, tenant_of
from askonce.totals.counts import counts_of
from askonce.totals.records import TotalsRecords

Since = datetime.datetime | datetime.timedelta | str

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def since_of(since: Since | None, now: float) -> float | None:
    """A point in time, in seconds since the epoch.

    Args:
        since: a time (of the local time zone, if it has none); how long ago; or either as a text: ``2026-11-28``,
            ``2026-11-28T09:00``, ``90m``, ``24h``, ``7d``, ``4w``. ``None``: the beginning.
        now: seconds since the epoch.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(since, str):
        if span := re.fullmatch(r"(\d+)([mhdw])", since):
            return now - int(span[1]) * _SECONDS[span[2]]
        try:
            since = datetime.datetime.fromisoformat(since)
        except ValueError:
            raise ConfigError(
                f"since is a time such as 2026-11-28, or a span such as 24h or 7d; got {since!r}"
            ) from None
    if since is None:
        return None
    if isinstance(since, datetime.timedelta):
        return now - since.total_seconds()
    if isinstance(since, datetime.datetime):
        return since.timestamp()
    raise ConfigError(f"since is a datetime, a timedelta, or a text such as '24h'; got {since!r}")


def read_totals(
    store: Store,
    codec: Codec,
    namespace: str,
    *,
    by: TotalsBy | None,
    since: Since | None,
    now: float,
    tenants: Sequence[str] = (),
) -> Totals:
    """The totals of a namespace.

    Args:
        store: where they are.
        codec: unseals them.
        namespace: the cache's.
        by: what the rows are; ``None`` for none.
        since: see `since_of`.
        now: seconds since the epoch.
        tenants: only of this tenant, and those within it.

    Raises:
        ConfigError: ``by`` or ``since`` is wrong.
        StoreError: the store failed.
    """
    if by is not None and by not in get_args(TotalsBy):
        raise ConfigError(f"by is one of {', '.join(get_args(TotalsBy))}; got {by!r}")
    start = since_of(since, now)
    records = TotalsRecords(codec, namespace)
    counted, unreadable = records.buckets(store.scan(records.namespace))
    buckets = [one for one in counted if start is None or (one.start + one.hours) * 3600 > start]
    total, groups, seen = _added_up(buckets, by, tenant_of(tenants))
    sizes = [store.size(namespace_of(namespace, one)) for one in seen]
    rows = sorted(groups) if by in ("hour", "day") else sorted(groups, key=lambda name: -requests_of(groups[name]))
    return Totals(
        **counts_of(total),
        by=by,
        rows={name: Counts(**counts_of(groups[name])) for name in rows},
        since=None if start is None else min((one.start * 3600.0 for one in buckets), default=start // 3600 * 3600),
        entries=sum(size.entries for size in sizes),
        size_bytes=sum(size.size_bytes for size in sizes),
        unreadable=unreadable,
    )


def _added_up(
    buckets: Iterable[Bucket], by: TotalsBy | None, tenant: str
) -> tuple[Amounts, dict[str, Amounts], list[str]]:
    """All amounts together, those of each group, and the tenants that were counted."""
    total: Amounts = {}
    groups: dict[str, Amounts] = {}
    seen = {tenant: None}
    for bucket in buckets:
        for row in bucket.rows:
            layer, _, of, tag = row.name
            if tenant and of != tenant and not of.startswith(tenant + "/"):
                continue
            if of != OTHER:
                seen[of] = None
            if not tag:
                add_to(total, row.amounts)
            name = _group(bucket, row, by)
            if name is not None and (by in ("hour", "day") or layer or tag):
                add_to(groups.setdefault(name, {}), row.amounts)
    return total, groups, list(seen)


def _group(bucket: Bucket, row: Row, by: TotalsBy | None) -> str | None:
    """The name of the group to which a row belongs; ``None`` if to none."""
    layer, model, tenant, tag = row.name
    if by == "tag":
        return tag or None
    if by is None or tag:
        return None
    if by in ("hour", "day"):
        at = datetime.datetime.fromtimestamp(bucket.start * 3600, datetime.UTC)
        return at.strftime("%Y-%m-%dT%H:00" if by == "hour" and bucket.hours == 1 else "%Y-%m-%d")
    return {"layer": layer, "model": model, "tenant": tenant}[by]
