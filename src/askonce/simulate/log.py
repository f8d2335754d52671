"""An access log as arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from askonce.errors import ConfigError
from askonce.storage.access_log import BEGINNING, FORMAT, RECORD, namespace_digest

_RECORD = np.dtype(
    [
        ("format", "u1"),
        ("hit", "u1"),
        ("unused", "<u2"),
        ("size", "<u4"),
        ("time", "<f8"),
        ("cost", "<f8"),
        ("namespace", "S8"),
        ("key", ">u8"),  # as numbers, keys sort as their bytes do
        ("rest", "V8"),
    ]
)
assert _RECORD.itemsize == RECORD.size


@dataclass(frozen=True)
class Trace:
    """Requests in the order in which they came; all arrays are of one length.

    Attributes:
        keys: the requests; numbers that are as good as random.
        sizes: bytes of the answer when it is stored.
        costs: of making it, in dollars.
        times: seconds since the epoch.
        rate: the share of all keys that are in here.
        all_requests: how many requests there were with all keys.
        all_cost: what they cost together without a cache.
    """

    keys: npt.NDArray[np.uint64]
    sizes: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]
    times: npt.NDArray[np.float64]
    rate: float
    all_requests: int
    all_cost: float

    @classmethod
    def of(cls, keys: npt.ArrayLike, sizes: npt.ArrayLike, costs: npt.ArrayLike, times: npt.ArrayLike) -> Trace:
        """A trace of all keys, from arrays or lists."""
        cost = np.asarray(costs, np.float64)
        return cls(
            np.asarray(keys, np.uint64),
            np.asarray(sizes, np.int64),
            cost,
            np.asarray(times, np.float64),
            1.0,
            len(cost),
            float(cost.sum()),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def sampled(self, rate: float) -> Trace:
        """All requests for some of the keys, chosen by their hash (SHARDS: Waldspurger et al., FAST 2015).

        Args:
            rate: the share of keys to choose.
        """
        if rate >= 1.0:
            return self
        dice = self.keys * np.uint64(0x9E3779B97F4A7C15)  # mixed, for keys that are not as random as digests
        dice ^= dice >> np.uint64(32)
        dice *= np.uint64(0xD6E8FEB86659FD93)
        chosen = dice < np.uint64(int(rate * 2**64))
        return replace(
            self,
            keys=self.keys[chosen],
            sizes=self.sizes[chosen],
            costs=self.costs[chosen],
            times=self.times[chosen],
            rate=self.rate * rate,
        )

    @property
    def working_set(self) -> tuple[int, int]:
        """How many keys there are (estimated from those chosen), and the bytes of their answers together."""
        _, last = np.unique(self.keys[::-1], return_index=True)
        sizes = self.sizes[::-1][last]
        return round(len(sizes) / self.rate), round(float(sizes.sum()) / self.rate)


def read_log(path: str | os.PathLike[str], *, namespace: str | None = None) -> Trace:
    """Read what ``Cache(access_log=path)`` wrote, with what it moved to ``path.1`` before.

    Args:
        path: the log.
        namespace: only the requests of this one.

    Raises:
        ConfigError: there is no such file, it is not an access log or cannot be read, or has no requests of that
            namespace.
    """
    parts = [part for part in (Path(f"{path}.1"), Path(path)) if part.exists()]
    if not parts:
        raise ConfigError(f"there is no access log {path}: write one with Cache(access_log={str(path)!r})")
    rows = np.concatenate([_rows(part) for part in parts])
    if namespace is not None:
        rows = rows[rows["namespace"] == np.bytes_(namespace_digest(namespace))]
    if not len(rows):
        raise ConfigError(f"{path} has no requests" + (f" of namespace {namespace!r}" if namespace else ""))
    rows = rows[np.argsort(rows["time"], kind="stable")]  # several processes append when they flush
    return Trace.of(rows["key"], rows["size"], rows["cost"], rows["time"])


def _rows(path: Path) -> npt.NDArray[np.void]:
    """The records of a file. Damaged ones, and parts that a process left when it died, are passed over."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    pieces, at = [np.empty(0, _RECORD)], 0
    while len(data) - at >= _RECORD.itemsize:
        rows = np.frombuffer(data, _RECORD, (len(data) - at) // _RECORD.itemsize, at)
        bad = np.flatnonzero((rows["format"] != FORMAT) | (rows["hit"] > 1) | (rows["unused"] != 0))
        pieces.append(rows[: bad[0]] if len(bad) else rows)
        after = at + len(pieces[-1]) * _RECORD.itemsize
        found = BEGINNING.search(data, after + 1) if len(bad) else None
        at = found.start() if found else len(data)
    found_rows: npt.NDArray[np.void] = np.concatenate(pieces)
    if 2 * len(found_rows) * _RECORD.itemsize < len(data):
        raise ConfigError(f"{path} is not an access log of this version of askonce")
    return found_rows
