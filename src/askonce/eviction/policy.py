"""Which entry is evicted when a namespace is full.

Every policy is one formula with two settings. An entry's priority is

    priority = base + hits x weight

and the entry with the lowest priority is evicted first (equal priorities: the smallest key first). ``hits``
is 1 when an entry is put, unless earlier requests for it were counted, and grows with each hit. The base is
computed when an entry is put or touched, the weight when it is put:

========  ==================  =============  ==========================================================
policy    base                weight         meaning
========  ==================  =============  ==========================================================
gdsf      inflation ``L``     cost / size    Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69R1, 1998):
                                             favours what is expensive to recompute, small and
                                             frequently requested
lec       0                   cost           least expected cost (Zhu et al., NeurIPS 2023)
lfu       now / 2^33          1              least frequently used; of equals the least recently used, since
                                             the base stays below 1 until the year 2242
lru       now                 0              least recently used
ttl       expiry              0              nearest to its expiry; what never expires is evicted last
========  ==================  =============  ==========================================================

``L`` belongs to a namespace. It starts at 0, never decreases, and becomes the priority of each victim, so entries
that are no longer requested sink below newcomers.

With the admission ``cost``, a newcomer to a full namespace is stored only if its priority is higher than that of
every entry that it would evict (the rule of LEC). A refused one raises ``L`` by ``hits x weight / entries``: when
as many newcomers were refused as there are entries, those entries have aged by the gain of one newcomer, so none
stays for ever without a request.

Stores execute these rules in Python, SQL, Lua and MongoDB's update language; ``askonce.testing`` checks each
against one model.

A 64-bit float is enough for ``L``. An eviction adds at most the gain of the lowest entry, so after n evictions
``L`` is below n average weights; at a thousand evictions in every second of ten years, n is below 2^39, and a
weight a thousand times smaller than the average still counts to one part in 2^4. A weight too small to count makes
an entry the first victim, as it should. `Policy.weight` limits costs, so that ``L`` stays finite.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Literal

import msgspec

from askonce.errors import ConfigError

PolicyName = Literal["gdsf", "lec", "lfu", "lru", "ttl"]
AdmissionName = Literal["always", "cost"]

NEVER = 1e15
"""The priority base of an entry without expiry under ``ttl``: later than any date in seconds."""
RECENCY = 2.0**-33
"""The weight of a second under ``lfu``, where it only decides between entries of equal hits."""
MAX_COST = 1e12
"""A higher cost counts as this one."""


class Policy(Enum):
    """A row of the table above."""

    GDSF = "gdsf"
    LEC = "lec"
    LFU = "lfu"
    LRU = "lru"
    TTL = "ttl"

    @property
    def inflates(self) -> bool:
        """Whether the base is the namespace's inflation ``L``."""
        return self is Policy.GDSF

    def base(self, *, inflation: float, now: float, expires_at: float | None) -> float:
        """The first term of an entry's priority."""
        if self is Policy.GDSF:
            return inflation
        if self is Policy.LRU:
            return now
        if self is Policy.LFU:
            return now * RECENCY
        if self is Policy.TTL:
            return NEVER if expires_at is None else expires_at
        return 0.0

    def judged_base(self, *, inflation: float, expires_at: float | None) -> float:
        """The first term of a newcomer's priority for admission: being new does not count."""
        return self.base(inflation=inflation, now=0.0, expires_at=expires_at)

    def weight(self, *, cost: float, size_bytes: int) -> float:
        """The factor of ``hits``.

        Args:
            cost: what making the entry again would cost, in any one unit (dollars or seconds). Taken as 0 if
                negative or not a number, and as `MAX_COST` if larger.
            size_bytes: length of the stored value.
        """
        cost = min(max(0.0, cost), MAX_COST)
        if self is Policy.GDSF:
            return cost / max(size_bytes, 1)
        if self is Policy.LEC:
            return cost
        return 1.0 if self is Policy.LFU else 0.0


class Budget(msgspec.Struct, frozen=True):
    """How much a namespace may hold, and what is evicted first.

    Attributes:
        max_bytes: limit on the sum of the lengths of all stored values; ``None`` for no limit.
        max_entries: limit on their number; ``None`` for no limit.
        policy: which entry is evicted first.
        admission: whether a newcomer is stored ``always``, or by ``cost``: only if its priority is higher than that
            of what it would evict.
    """

    max_bytes: int | None = None
    max_entries: int | None = None
    policy: Policy = Policy.GDSF
    admission: AdmissionName = "always"

    def __post_init__(self) -> None:
        if self.admission not in ("always", "cost"):
            raise ConfigError(f"admission is 'always' or 'cost'; got {self.admission!r}")
        if self.admission == "cost" and self.policy is Policy.LRU:
            raise ConfigError("admission='cost' has no effect under lru, which ranks the newest entry highest")
        for name, limit in (("max_bytes", self.max_bytes), ("max_entries", self.max_entries)):
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0):
                raise ConfigError(f"{name} is a positive whole number, or None for no limit; got {limit!r}")

    def exceeded_by(self, *, entries: int, size_bytes: int) -> bool:
        """Whether a namespace of that size is over this budget."""
        return (self.max_entries is not None and entries > self.max_entries) or (
            self.max_bytes is not None and size_bytes > self.max_bytes
        )

    def admits(self, size_bytes: int) -> bool:
        """Whether one value of that size can be held at all."""
        return self.max_bytes is None or size_bytes <= self.max_bytes

    @property
    def is_limited(self) -> bool:
        """Whether anything is ever evicted."""
        return self.max_bytes is not None or self.max_entries is not None

    @property
    def selects(self) -> bool:
        """Whether a newcomer must have a higher priority than what it would evict."""
        return self.admission == "cost"

    def share(self, parts: int) -> Budget:
        """This budget divided over ``parts`` equal shards (at least one entry and one byte each)."""
        return Budget(
            None if self.max_bytes is None else max(self.max_bytes // parts, 1),
            None if self.max_entries is None else max(self.max_entries // parts, 1),
            self.policy,
            self.admission,
        )


UNLIMITED = Budget()


_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "KI": 2**10,
    "MI": 2**20,
    "GI": 2**30,
    "TI": 2**40,
}


def parse_bytes(size: int | str | None) -> int | None:
    """A number of bytes from a number or a text such as ``"2GB"``, ``"512 MiB"`` or ``"1.5g"``.

    Raises:
        ConfigError: the text is none of these.
    """
    if not isinstance(size, str):
        return size
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", size.upper())
    if match is None:
        raise ConfigError(f"invalid size {size!r}; use for example '500MB' or '2GiB'")
    return int(float(match[1]) * _UNITS[match[2] or ""])
