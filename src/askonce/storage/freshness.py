"""Whether a stored answer may still be used, and for how long a new one may: functions of values only."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from askonce.entries.entry import Entry, Hit, Miss
from askonce.options import positive_seconds

_TRY_LATER = frozenset({408, 409, 425, 429})


class Freshness(msgspec.Struct, frozen=True):
    """The rules of one cache.

    Attributes:
        ttl_seconds: an answer's time to live; ``None`` for ever.
        stale_while_revalidate_seconds: for so long after that it is still served while a new one is made.
        stale_if_error_seconds: for so long after that it is served if the model fails; see `is_refusal`.
        min_fresh_seconds: for so long it must stay fresh: as one request demands it.
        max_stale_seconds: for so long after its time to live it is served all the same: of one such request.
    """

    ttl_seconds: float | None = None
    stale_while_revalidate_seconds: float = 0.0
    stale_if_error_seconds: float = 0.0
    min_fresh_seconds: float = 0.0
    max_stale_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.ttl_seconds is not None:
            positive_seconds("ttl", self.ttl_seconds)
        for name in ("stale_while_revalidate", "stale_if_error"):
            positive_seconds(name, getattr(self, f"{name}_seconds"), or_zero=True)

    @property
    def never_stale(self) -> bool:
        """Whether stale answers would be served, and none becomes stale by these rules alone."""
        return self.ttl_seconds is None and (self.stale_while_revalidate_seconds or self.stale_if_error_seconds) > 0

    def within(self, seconds: float) -> Freshness:
        """Rules by which no answer is served that is older than so many seconds; its time to live is no longer."""
        left = seconds - (self.ttl_seconds or 0.0)
        return msgspec.structs.replace(
            self,
            stale_while_revalidate_seconds=min(self.stale_while_revalidate_seconds, left),
            stale_if_error_seconds=min(self.stale_if_error_seconds, left),
            max_stale_seconds=min(self.max_stale_seconds, left),
        )

    def fresh_until(self, now: float, requested_ttl_seconds: float | None) -> float | None:
        """Until when an answer made now is fresh."""
        ttl = self.ttl_seconds if requested_ttl_seconds is None else requested_ttl_seconds
        return None if ttl is None else now + ttl

    def expires_at(self, fresh_until: float | None) -> float | None:
        """When the store may delete it."""
        if fresh_until is None:
            return None
        return fresh_until + max(self.stale_while_revalidate_seconds, self.stale_if_error_seconds)

    def judge(self, entry: Entry, now: float, requested_ttl_seconds: float | None) -> Hit | Miss:
        """Whether an entry answers a request made now.

        It does until ``fresh_until``, and not beyond the time to live in effect now: a request with a TTL of a
        minute is not answered with yesterday's answer, whatever its own TTL was.
        """
        until = entry.fresh_until
        ttl = self.ttl_seconds if requested_ttl_seconds is None else requested_ttl_seconds
        if ttl is not None and (until is None or entry.created_at + ttl < until):
            until = entry.created_at + ttl
        age = max(now - entry.created_at, 0.0)
        if until is None or now + self.min_fresh_seconds < until:
            return Hit(entry, "exact", age)
        late = max(now - until, 0.0)
        if late < self.max_stale_seconds:
            return Hit(entry, "stale", age)
        if late < max(self.stale_while_revalidate_seconds, self.stale_if_error_seconds):
            return Miss("expired", Hit(entry, "stale", age), late_seconds=late)
        return Miss("expired")

    def serves_while_revalidating(self, miss: Miss) -> bool:
        """Whether the stale answer may be served now, since a new one is being made."""
        return miss.stale is not None and miss.late_seconds < self.stale_while_revalidate_seconds

    def serves_on_error(self, miss: Miss, error: Exception) -> bool:
        """Whether the stale answer may be served, since the model failed, and did not refuse the request itself."""
        return miss.stale is not None and miss.late_seconds < self.stale_if_error_seconds and not is_refusal(error)


def is_refusal(error: Exception) -> bool:
    """Whether a provider refuses the request as it is: a wrong key, no permission, a wrong parameter.

    By the status of HTTP that SDKs' errors have: as in RFC 5861 a stale answer stands in for a provider's own
    failures, and also while it takes no more requests.
    """
    status = _status_of(error)
    return status is not None and 400 <= status < 500 and status not in _TRY_LATER


def _status_of(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # of botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    for of in (error, response):
        for name in ("status_code", "status", "code"):
            status = getattr(of, name, None)
            if isinstance(status, int):
                return status
    return None
