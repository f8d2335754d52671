"""What processes tell one another of questions and of what was learned, as bytes in a change log.

A `Note` is one event. A `Snapshot` is all that was learned up to a position in the log, so that a new process need
not read what came before. Both are sealed by the cache's codec, since questions are the users' words.
"""

from __future__ import annotations

import msgspec

from askonce.entries.codec import Codec
from askonce.entries.entry import Entry
from askonce.errors import CodecError


class Note(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What one process did since its last note.

    Attributes:
        source: names the process.
        added: namespace and key of entries whose questions became known, or whose answer another entry holds now.
        removed: namespace and key of entries that are gone.
        cleared: namespaces that are empty.
        learned: a share of `Rule`.
    """

    source: str
    added: list[tuple[str, bytes]] = []
    removed: list[tuple[str, bytes]] = []
    cleared: list[str] = []
    learned: bytes | None = None

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.cleared or self.learned)


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """All that was learned.

    Attributes:
        position: it holds at least the notes up to this one.
        rule: a snapshot of `Rule`.
    """

    position: int
    rule: bytes


_encode = msgspec.msgpack.Encoder().encode
_note = msgspec.msgpack.Decoder(Note).decode
_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


class Journal:
    """Notes and snapshots as bytes and back.

    Args:
        codec: seals them.
        log: the namespace of the change log, to which they are bound.
    """

    def __init__(self, codec: Codec, log: str) -> None:
        self._codec, self._place = codec, log.encode()

    def write(self, told: Note | Snapshot) -> bytes:
        """The bytes of a note or snapshot."""
        return self._codec.encode(Entry(_encode(told), 0.0), bound_to=self._bound(type(told)))

    def note(self, data: bytes) -> Note:
        """The note in an event.

        Raises:
            CodecError: it cannot be read.
        """
        try:
            return _note(self._codec.decode(data, bound_to=self._bound(Note)).payload)
        except msgspec.MsgspecError as error:
            raise CodecError(f"no note: {error}") from error

    def snapshot(self, data: bytes) -> Snapshot:
        """The snapshot in a record.

        Raises:
            CodecError: it cannot be read.
        """
        try:
            return _snapshot(self._codec.decode(data, bound_to=self._bound(Snapshot)).payload)
        except msgspec.MsgspecError as error:
            raise CodecError(f"no snapshot: {error}") from error

    def _bound(self, kind: type[Note] | type[Snapshot]) -> bytes:
        return kind.__name__.encode().ljust(16) + self._place
