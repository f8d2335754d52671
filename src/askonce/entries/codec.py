"""An entry's bytes.

    byte 0       format version (2)
    byte 1       flags: 1 = compressed with zstandard, 2 = sealed with AES-GCM
    bytes 2–17   the first bytes of the key under which it is stored
    [unsealed]   4 bytes: CRC-32 of the place (key and namespace), the flags and all that follows
    [sealed]     4 bytes that identify the encryption key, 12 bytes nonce
    the rest     the entry in MessagePack, compressed and then sealed as the flags say

An entry is bound to its place: one returned for another key, as when a client mixes up its replies, or moved to
another namespace, is not accepted; nor is one with a flipped bit. Stored data cannot choose which objects are
built: an entry is numbers, strings and bytes.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import zstandard

from askonce.entries.entry import Entry
from askonce.errors import CodecError, ConfigError, MissingExtraError

VERSION = 2
_PLACE = 16
_HEADER = 2 + _PLACE
_CHECKSUM = 4
_COMPRESSED, _SEALED = 1, 2
_COMPRESS_FROM_BYTES = 1024
_LARGEST_BYTES = 256 * 2**20
"""No entry is larger than this when decompressed: a few stored bytes cannot use up all memory."""


class Codec:
    """Turns entries into bytes and back. Thread-safe.

    Args:
        encryption_keys: AES keys of 16, 24 or 32 bytes. The first seals; all of them open, so that a key can be
            replaced without losing what it sealed. Empty: entries are not sealed.

    Raises:
        ConfigError: a key has another length.
        MissingExtraError: keys are given and ``cryptography`` is not installed.
    """

    def __init__(self, encryption_keys: Sequence[bytes] = ()) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Entry)
        for key in encryption_keys:
            if not isinstance(key, bytes) or len(key) not in (16, 24, 32):
                raise ConfigError(
                    "encryption_keys is a list of keys of 16, 24 or 32 bytes, such as [os.urandom(32)]"
                )
        self._seals = {_key_name(key): _aes(key) for key in encryption_keys}
        self._digest_key = b"".join(_digest_key(key) for key in encryption_keys[:1])

    def digest(self, data: bytes, namespace: str) -> bytes:
        """16 bytes that identify data in a namespace: only to those who have the first key, if there is one."""
        digest = hashlib.blake2b(data, digest_size=16, key=self._digest_key)
        digest.update(b"\0" + namespace.encode())
        return digest.digest()

    @property
    def seals(self) -> bool:
        """Whether what it encodes is sealed."""
        return bool(self._seals)

    def wrote(self, data: bytes) -> bool:
        """Whether it would write an entry's bytes in this way: with its first key, or not sealed."""
        if not self._seals:
            return not data[1] & _SEALED
        return bool(data[1] & _SEALED) and data[_HEADER : _HEADER + 4] == next(iter(self._seals))

    def has_key_of(self, data: bytes) -> bool:
        """Whether an entry's bytes are not sealed, or with one of its keys."""
        return not (data[1:2] and data[1] & _SEALED) or data[_HEADER : _HEADER + 4] in self._seals

    def encode(self, entry: Entry, *, bound_to: bytes = b"") -> bytes:
        """An entry's bytes; ``bound_to`` is its place (namespace and key)."""
        body, flags = self._encoder.encode(entry), 0
        if len(body) >= _COMPRESS_FROM_BYTES:
            smaller = _compress(body)
            if len(smaller) < 0.9 * len(body):
                body, flags = smaller, _COMPRESSED
        if self._seals:
            name, seal = next(iter(self._seals.items()))
            nonce = os.urandom(12)
            header = bytes((VERSION, flags | _SEALED)) + bound_to[:_PLACE].ljust(_PLACE, b"\0")
            sealed: bytes = seal.encrypt(nonce, body, header + bound_to)
            return header + name + nonce + sealed
        header = bytes((VERSION, flags)) + bound_to[:_PLACE].ljust(_PLACE, b"\0")
        return header + _checksum(bound_to, flags, body) + body

    def decode(self, data: bytes, *, bound_to: bytes = b"") -> Entry:
        """The entry in ``data``.

        Raises:
            CodecError: it is corrupt, of a newer format, sealed with an unknown key, or from another place.
        """
        if not isinstance(data, bytes) or len(data) < _HEADER or data[0] != VERSION:
            raise CodecError("not an entry of this format")
        if data[2:_HEADER] != bound_to[:_PLACE].ljust(_PLACE, b"\0"):
            raise CodecError("the entry of another key")
        body: Any
        if data[1] & _SEALED:
            body = self._unseal(data, bound_to)
        elif self._seals:
            raise CodecError("not sealed, but this cache has an encryption key")
        else:
            body = memoryview(data)[_HEADER + _CHECKSUM :]
            if data[_HEADER : _HEADER + _CHECKSUM] != _checksum(bound_to, data[1], body):
                raise CodecError("corrupt entry: the checksum does not match")
        try:
            if data[1] & _COMPRESSED:
                body = _decompress(bytes(body))
            return self._decoder.decode(body)
        except Exception as error:  # also undocumented errors: deep nesting, no memory
            raise CodecError(f"corrupt entry: {error}") from error

    def can_decode(self, data: bytes, *, bound_to: bytes = b"") -> bool:
        """Whether `decode` returns an entry: by the checksum alone, where there is one."""
        if not self._seals and len(data) >= _HEADER and data[0] == VERSION and not data[1] & _SEALED:
            checksum = _checksum(bound_to, data[1], memoryview(data)[_HEADER + _CHECKSUM :])
            place = bound_to[:_PLACE].ljust(_PLACE, b"\0")
            return data[2:_HEADER] == place and data[_HEADER : _HEADER + _CHECKSUM] == checksum
        try:
            self.decode(data, bound_to=bound_to)
        except CodecError:
            return False
        return True

    def _unseal(self, data: bytes, bound_to: bytes) -> bytes:
        seal = self._seals.get(data[_HEADER : _HEADER + 4])
        if seal is None:
            raise CodecError("sealed with a key that this cache does not have")
        try:
            nonce, sealed = data[_HEADER + 4 : _HEADER + 16], data[_HEADER + 16 :]
            opened: bytes = seal.decrypt(nonce, sealed, data[:_HEADER] + bound_to)
        except Exception as error:  # cryptography raises InvalidTag, and ValueError on a short nonce
            raise CodecError("does not open: changed, or moved from another place") from error
        return opened


def _checksum(bound_to: bytes, flags: int, body: bytes | memoryview) -> bytes:
    return zlib.crc32(body, zlib.crc32(bound_to, flags)).to_bytes(_CHECKSUM, "little")


def _compress(body: bytes) -> bytes:
    try:
        compressor = _of_thread.compressor
    except AttributeError:
        compressor = _of_thread.compressor = zstandard.ZstdCompressor(level=3)
    compressed: bytes = compressor.compress(body)
    return compressed


def _decompress(body: bytes) -> bytes:
    size = zstandard.frame_content_size(body)
    if not 0 <= size <= _LARGEST_BYTES:
        raise CodecError(f"claims to decompress to {size} bytes")
    try:
        decompressor = _of_thread.decompressor
    except AttributeError:
        decompressor = _of_thread.decompressor = zstandard.ZstdDecompressor()
    decompressed: bytes = decompressor.decompress(body)
    return decompressed


_of_thread = threading.local()
"""To make a compressor or a decompressor takes longer than its work on an entry; each serves one thread."""


def _digest_key(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=32, person=b"askonce digests").digest()


def _key_name(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=4, person=b"askonce key name").digest()


def _aes(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError as error:
        raise MissingExtraError("Encryption of entries", "crypto") from error
    return AESGCM(key)
