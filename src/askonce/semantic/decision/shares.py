"""What processes tell each other of what they learned, as bytes.

A *share* is what one process counted and learned since its last share. It carries the process's name and a
running number, so that a share that comes twice, or that a snapshot already holds, is counted once. A *snapshot* is
the whole state. Both are one version byte and MessagePack; an answer is named by the first 16 bytes of its key,
and no text is in them.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
import numpy as np

from askonce.errors import CodecError
from askonce.semantic.decision.counts import RATES, Counts
from askonce.semantic.decision.features import SIZE
from askonce.semantic.decision.model import Label

VERSION = 1
_WINDOW = 1024
_SOURCES = 1000


class Share(msgspec.Struct, frozen=True, array_like=True):
    """What one process adds: a tally and labels, oldest first."""

    source: bytes
    number: int
    tally: Counts
    labels: list[Label]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole state: sums, model, records of answers, and which shares are in it."""

    seen: dict[bytes, tuple[int, bytes]]
    tally: Counts
    labels: list[Label]
    count: int
    next_fit: int
    coefficients: bytes
    covariance: bytes
    regime: tuple[float, float, float]
    floor: float
    records: dict[bytes, tuple[int, int]]
    recent: list[float]
    aim: tuple[float, float]


Blob = TypeVar("Blob", Share, Snapshot)


def encode(blob: Share | Snapshot) -> bytes:
    """Its bytes."""
    return bytes((VERSION,)) + msgspec.msgpack.encode(blob)


def decode(data: bytes, kind: type[Blob]) -> Blob:
    """The share or snapshot in ``data``.

    Raises:
        CodecError: it is corrupt, or of another version.
    """
    if not data or data[0] != VERSION:
        raise CodecError("what another process learned is of another version, or no such thing")
    try:
        blob = msgspec.msgpack.decode(memoryview(data)[1:], type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError("what another process learned cannot be read") from error
    if not _sound(blob):
        raise CodecError("what another process learned makes no sense")
    return blob


def _sound(blob: Share | Snapshot) -> bool:
    tally = blob.tally
    if any(len(vector) != len(RATES) for vector in (tally.above, tally.open_above, tally.below)):
        return False
    if not all(len(label.features) == 2 * SIZE and 0 < label.weight < 100 for label in blob.labels):
        return False
    rows = np.frombuffer(b"".join(label.features for label in blob.labels), np.float16)
    numbers = [label.expected for label in blob.labels]
    if isinstance(blob, Snapshot):
        if len(blob.coefficients) != 8 * SIZE or len(blob.covariance) != 8 * SIZE * SIZE:
            return False
        numbers += [
            *np.frombuffer(blob.coefficients),
            *np.frombuffer(blob.covariance),
            *blob.regime,
            *blob.recent,
            *blob.aim,
        ]
        numbers.append(blob.floor)
    return bool(np.isfinite(rows).all() and np.isfinite(numbers).all())


class Seen:
    """Which shares were counted: per process the highest number and a window of those before it.

    A share from before the window is taken as seen (the anti-replay window of RFC 4303, section 3.4.3).
    """

    def __init__(self, seen: dict[bytes, tuple[int, bytes]] | None = None) -> None:
        self._seen = {source: (highest, int.from_bytes(bits)) for source, (highest, bits) in (seen or {}).items()}

    def add(self, source: bytes, number: int) -> bool:
        """Notes a share; whether it is new."""
        highest, bits = self._seen.get(source, (number - 1, 0))
        behind = highest - number
        if behind >= _WINDOW or (behind >= 0 and bits >> behind & 1):
            return False
        if behind < 0:
            bits = bits << -behind & (1 << _WINDOW) - 1 | 1 if -behind < _WINDOW else 1
        else:
            bits |= 1 << behind
        self._seen.pop(source, None)  # the last in the dictionary is the one heard last
        self._seen[source] = (max(highest, number), bits)
        if len(self._seen) > _SOURCES:
            del self._seen[next(iter(self._seen))]
        return True

    def stored(self) -> dict[bytes, tuple[int, bytes]]:
        """As it stands in a snapshot."""
        return {
            source: (highest, bits.to_bytes((bits.bit_length() + 7) // 8))
            for source, (highest, bits) in self._seen.items()
        }
