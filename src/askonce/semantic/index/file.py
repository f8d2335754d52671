"""An index in a file, so that a process begins with it and need not build its graphs anew.

    16 bytes    the format and its version
    16 bytes    random, so that no piece of another file fits
    pieces      4 bytes length, 4 bytes CRC-32, then an entry's bytes (see ``askonce.entries.codec``) whose payload
                is first the head and then what `Index.dump` gives; bound to the random bytes and their number
    8 bytes     zero: the end

The file holds the texts of questions. It is sealed when the codec seals, and private to its owner (0600).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from askonce.entries.codec import Codec
from askonce.entries.decodable import decodable
from askonce.entries.entry import Entry
from askonce.errors import CodecError, ConfigError
from askonce.stores import cache_directory

if TYPE_CHECKING:  # it loads numpy
    from askonce.semantic.index.index import Index

logger = logging.getLogger("askonce")

_MAGIC = b"askonce index 2\n"
_FRAME = struct.Struct(">II")
_ABANDONED_SECONDS = 3600.0
"""No write takes so long: its process was killed."""


@decodable
class _Head(msgspec.Struct, frozen=True, array_like=True):
    name: str
    position: int


def save(index: Index, path: Path, *, name: str, position: int, codec: Codec) -> bool:
    """Save an index to a file, replacing what was there; a reader of the old file is not disturbed.

    Args:
        index: the index; it can be used meanwhile.
        path: the file; its folder is created.
        name: must be the same when it is loaded: it identifies embeddings and store.
        position: up to where in the change log it is complete.
        codec: seals what is written.

    Returns:
        False if it could not be written, as when the disk is full; that is logged.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(number, "wb") as file:
            _write(file, index, _Head(name, position), codec)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        logger.warning("askonce: the index of questions could not be saved to %s: %s", path, error)
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        return False
    with contextlib.suppress(OSError):  # another process may be first
        for other in path.parent.glob(f".{path.name}.*"):
            if time.time() - other.stat().st_mtime > _ABANDONED_SECONDS:
                other.unlink()
    return True


def _write(file: BinaryIO, index: Index, head: _Head, codec: Codec) -> None:
    identity = os.urandom(16)
    file.write(_MAGIC + identity)
    now = time.time()
    for number, piece in enumerate(itertools.chain([msgspec.msgpack.encode(head)], index.dump())):
        data = codec.encode(Entry(piece, now), bound_to=_place(identity, number))
        file.write(_FRAME.pack(len(data), zlib.crc32(data)))
        file.write(data)
    file.write(_FRAME.pack(0, 0))


def load(index: Index, path: Path, *, name: str, codec: Codec) -> int | None:
    """Replace all questions of an index by those that `save` put into a file.

    Args:
        index: the index; nothing changes when the file cannot be used.
        path: the file.
        name: as in `save`.
        codec: opens what it sealed.

    Returns:
        The position up to which it is complete, or ``None`` when there is no such file, or it cannot be used: one
        of another name, cut short, changed, or sealed with another key. That is logged.
    """
    try:
        with open(path, "rb") as file:
            pieces = _read(file, codec)
            head = msgspec.msgpack.decode(next(pieces, b""), type=_Head)
            if head.name != name:
                raise ValueError("saved with other embeddings or for another store")
            index.restore(pieces)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError, CodecError) as error:
        logger.warning("askonce: the index of questions in %s is not used: %s", path, error)
        return None
    return head.position


def folder() -> Path:
    """The folder of all index files of this user.

    Raises:
        ConfigError: there is no home directory.
    """
    return cache_directory() / "questions"


def saved_under(name: str, codec: Codec) -> list[Path]:
    """The files that were saved under a name, for whichever store, as far as the codec opens them."""
    found = []
    with contextlib.suppress(ConfigError):
        for path in folder().glob("*.index"):
            with (
                contextlib.suppress(OSError, ValueError, msgspec.MsgspecError, CodecError),
                open(path, "rb") as file,
            ):
                head = msgspec.msgpack.decode(next(_read(file, codec), b""), type=_Head)
                if head.name == name:
                    found.append(path)
    return found


def _read(file: BinaryIO, codec: Codec) -> Iterator[bytes]:
    start = file.read(32)
    if len(start) < 32 or start[:16] != _MAGIC:
        raise ValueError("not a file of this format")
    size = os.fstat(file.fileno()).st_size
    for number in itertools.count():
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            raise ValueError("truncated")
        length, checksum = _FRAME.unpack(frame)
        if not length:
            return
        data = file.read(length) if length <= size else b""
        if len(data) < length or zlib.crc32(data) != checksum:
            raise ValueError("truncated or modified")
        yield codec.decode(data, bound_to=_place(start[16:], number)).payload


def _place(identity: bytes, number: int) -> bytes:
    return identity + number.to_bytes(4)
