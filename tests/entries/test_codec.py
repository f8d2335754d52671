import os
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Usage
from askonce.errors import CodecError, ConfigError

entries = st.builds(
    Entry,
    payload=st.binary(max_size=3000),
    created_at=st.floats(0, 1e11),
    fresh_until=st.none() | st.floats(0, 1e11),
    cost_seconds=st.floats(0, 1e6),
    cost_usd=st.none() | st.floats(0, 1e3),
    usage=st.builds(Usage, st.integers(0, 10**9), st.integers(0, 10**9)),
    tags=st.lists(st.text(max_size=9), max_size=3).map(tuple),
)
ENTRY = Entry(b"forty-two " * 300, 1.0, tags=("a",))
KEY, OTHER = os.urandom(32), os.urandom(16)


@given(entries, st.booleans())
def test_an_entry_is_decoded_unchanged(entry: Entry, sealed: bool) -> None:
    codec = Codec([KEY] if sealed else [])
    assert codec.decode(codec.encode(entry, bound_to=b"place"), bound_to=b"place") == entry


def test_a_long_entry_is_compressed() -> None:
    assert len(Codec().encode(ENTRY)) < len(ENTRY.payload) / 10


def test_random_bytes_are_not_made_longer_by_compression() -> None:
    noise = Entry(os.urandom(5000), 1.0)
    assert len(Codec().encode(noise)) < 5100


@pytest.mark.parametrize("codec", [Codec(), Codec([KEY])], ids=["plain", "sealed"])
def test_damaged_bytes_are_a_codec_error(codec: Codec) -> None:
    whole = codec.encode(ENTRY)
    for damaged in [b"", b"\x01", b"garbage", whole[:-1], whole[: len(whole) // 2], b"\x01" + whole[1:]]:
        with pytest.raises(CodecError):
            codec.decode(damaged)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_a_codec_error(data: bytes) -> None:
    for prefix in (b"", b"\x02\x00", b"\x02\x01", b"\x02\x02", b"\x02\x03"):
        for codec in (Codec([KEY]), Codec()):
            with pytest.raises(CodecError):
                codec.decode(prefix + bytes(16) + data)


def test_the_entry_of_another_key_is_not_accepted() -> None:
    with pytest.raises(CodecError, match="another key"):
        Codec().decode(Codec().encode(ENTRY, bound_to=b"question A"), bound_to=b"question B")


def test_a_few_bytes_cannot_use_up_all_memory() -> None:
    frame = b"\x28\xb5\x2f\xfd\xe0" + (2**50).to_bytes(8, "little")
    with pytest.raises(CodecError, match="claims"):
        Codec().decode(b"\x02\x01" + bytes(16) + zlib.crc32(frame, 1).to_bytes(4, "little") + frame)


@pytest.mark.parametrize("codec", [Codec(), Codec([KEY])], ids=["plain", "sealed"])
@pytest.mark.parametrize(
    "entry", [ENTRY, msgspec.structs.replace(ENTRY, payload=b"long " * 1000)], ids=["short", "long"]
)
def test_no_flipped_bit_is_accepted(codec: Codec, entry: Entry) -> None:
    whole = codec.encode(entry, bound_to=b"here")
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            codec.decode(bytes(damaged), bound_to=b"here")


def test_an_entry_moved_to_another_namespace_is_not_accepted() -> None:
    with pytest.raises(CodecError):
        Codec().decode(Codec().encode(ENTRY, bound_to=b"same key, a namespace"), bound_to=b"same key, b namespace")


def test_the_deepest_nesting_is_a_codec_error() -> None:
    body = b"\x91" * 100_000 + b"\xc0"
    header = b"\x02\x00" + bytes(16)
    with pytest.raises(CodecError):
        Codec().decode(header + zlib.crc32(body, 0).to_bytes(4, "little") + body)


def test_a_sealed_entry_cannot_be_read_moved_or_changed() -> None:
    sealed = Codec([KEY]).encode(ENTRY, bound_to=b"here")
    assert b"forty-two" not in sealed
    for codec, data, place in [
        (Codec(), sealed, b"here"),
        (Codec([OTHER]), sealed, b"here"),
        (Codec([KEY]), sealed, b"there"),
        (Codec([KEY]), sealed[:-1] + bytes([sealed[-1] ^ 1]), b"here"),
    ]:
        with pytest.raises(CodecError):
            codec.decode(data, bound_to=place)


def test_a_cache_with_a_key_refuses_unsealed_entries() -> None:
    with pytest.raises(CodecError, match="not sealed"):
        Codec([KEY]).decode(Codec().encode(ENTRY))


def test_a_key_can_be_replaced_without_losing_what_it_sealed() -> None:
    old = Codec([KEY]).encode(ENTRY)
    both = Codec([OTHER, KEY])
    assert both.decode(old) == ENTRY
    with pytest.raises(CodecError):
        Codec([KEY]).decode(both.encode(ENTRY))


def test_a_key_of_the_wrong_length_is_refused_at_construction() -> None:
    with pytest.raises(ConfigError, match="16, 24 or 32"):
        Codec([b"short"])
