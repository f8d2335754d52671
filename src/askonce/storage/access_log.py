"""A log of requests: no text, only digests, sizes, costs and times. ``askonce simulate`` replays it.

A record has 48 bytes, little-endian: format (1 byte), hit (1), 2 unused, size of the stored value in bytes (4),
seconds since the epoch (8, a double), cost in dollars as used by eviction (8, a double), a digest of the
namespace (8), and the beginning of the request's key (16), which is a digest too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import struct
from collections.abc import Collection
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Place

logger = logging.getLogger("askonce")

FORMAT = 1
RECORD = struct.Struct("<BBxxIdd8s16s")
_LIKE_A_RECORD = re.compile(rb"\x01[\x00\x01]\x00\x00")
BEGINNING = re.compile(rb"\x01[\x00\x01]\x00\x00(?=.{44}(?:\x01[\x00\x01]\x00\x00|\Z))", re.DOTALL)
"""Of a record before another one or the end."""
ROTATE_BYTES = 256_000_000
"""A log that has grown so large is renamed to ``….1``, in place of the one before: 5 million requests each."""

_CACHED_SIZES = 100_000


def namespace_digest(namespace: str) -> bytes:
    """The digest of a namespace in a log."""
    return blake2b(namespace.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class Access(NamedTuple):
    """A request that was answered.

    Attributes:
        at: seconds since the epoch.
        place: where the answer is stored.
        entry: the answer.
        cost_usd: what making it costs.
        size_bytes: the size of its stored value if it was made now; ``None`` for a hit.
    """

    at: float
    place: Place
    entry: Entry
    cost_usd: float
    size_bytes: int | None = None


class AccessLog:
    """Collects accesses in memory, and appends them to a file that only its owner can read.

    Several processes may append to one file. A file that cannot be written is logged once; the cache continues.

    Args:
        path: the file; its folder is created.
        codec: gives the stored size of an answer.
    """

    def __init__(self, path: str | os.PathLike[str], codec: Codec) -> None:
        self._path = Path(path)
        self._codec = codec
        self._logged = False
        self._waiting: list[Access] = []
        self._sizes: dict[bytes, int] = {}

    def add(self, access: Access) -> None:
        """Collect an access."""
        self._waiting.append(access)

    def flush(self) -> None:
        """Append what was collected to the file."""
        waiting, self._waiting = self._waiting, []
        records = []
        for one in waiting:
            size_bytes = self._size(one)
            digest = namespace_digest(one.place.namespace)
            hit = one.size_bytes is None
            size_bytes = min(size_bytes, 0xFFFFFFFF)
            records.append(RECORD.pack(FORMAT, hit, size_bytes, one.at, one.cost_usd, digest, one.place.key[:16]))
        if records:
            try:
                self._append(b"".join(records))
                self._logged = False
            except OSError as error:
                if not self._logged:
                    logger.warning("askonce: the access log %s cannot be written: %s", self._path, error)
                self._logged = True

    def _size(self, access: Access) -> int:
        key = access.place.key
        if access.size_bytes is not None:
            size_bytes = access.size_bytes
        elif (cached := self._sizes.get(key)) is not None:
            return cached
        else:
            size_bytes = len(self._codec.encode(access.entry, bound_to=access.place.bound_to))
        if len(self._sizes) >= _CACHED_SIZES:
            self._sizes.clear()
        self._sizes[key] = size_bytes
        return size_bytes

    def _append(self, data: bytes) -> None:
        # Opened anew each time: another process may have renamed it.
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # not there, or held open by a reader on Windows: it grows on
            if os.stat(self._path).st_size >= ROTATE_BYTES:
                os.replace(self._path, f"{self._path}.1")
        binary = getattr(os, "O_BINARY", 0)  # Windows has a text mode
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | binary, 0o600)
        try:
            os.write(file, data)
        finally:
            os.close(file)


def is_access_log(path: str | os.PathLike[str]) -> bool:
    """Whether an access log, or a part of one, is there."""
    return any(file.exists() for part in _parts(path) for file in (part, _aside(part)))


def _parts(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    return Path(path), Path(f"{path}.1")


def _aside(part: Path) -> Path:
    return Path(f"{part}.erasing")


def erase_accesses(path: str | os.PathLike[str], namespaces: Collection[str], keys: Collection[bytes]) -> int:
    """Delete the requests of some namespaces, and those with some keys; returns how many there were.

    A process that writes meanwhile begins a new file, and loses nothing.

    Raises:
        OSError: the log cannot be read or written.
    """
    digests, beginnings = {namespace_digest(one) for one in namespaces}, {key[:16] for key in keys}
    erased = 0
    for part in _parts(path):
        aside = _aside(part)  # it may be there still, if a process died in the middle
        if part.exists() and not aside.exists():
            os.replace(part, aside)
        if aside.exists():
            erased += _append_others(aside, part, digests, beginnings)
            aside.unlink()
    return erased


def _append_others(aside: Path, part: Path, digests: Collection[bytes], beginnings: Collection[bytes]) -> int:
    data, rest, erased, at = aside.read_bytes(), bytearray(), 0, 0
    while len(data) - at >= RECORD.size:
        if not _LIKE_A_RECORD.match(data, at):  # the part of one that a process left when it died
            found = BEGINNING.search(data, at + 1)
            at = found.start() if found else len(data)
            continue
        *_, digest, beginning = RECORD.unpack_from(data, at)
        if digest in digests or beginning in beginnings:
            erased += 1
        else:
            rest += data[at : at + RECORD.size]
        at += RECORD.size
    file = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        os.write(file, rest)
    finally:
        os.close(file)
    return erased
