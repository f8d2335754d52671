"""Damage to what a store holds: to the bytes of entries, and to payloads inside of entries that are sound."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from askonce.entries.codec import Codec
from askonce.entries.entry import Place
from askonce.stores.base import Record, Store

Damage = Callable[[bytes], bytes]
_pack = msgspec.msgpack.encode
_SHAPES: list[Any] = [
    None, 5, "text", b"\xff\xfe", [], {}, [None], [[]], [{}], [[None]], [5, 6], [[1, 2, 3]], {"a": 1},
    {"message": 5}, {"message": {}}, {"text": 5}, [[["x"], 3, 4, 5]], [{"message": None, "text": None}],
    [{"text": "x"}, {"text": 1}], {"text": "x"}, [{"message": {"content": 5}}],
    [None] * 12, [[None] * 12], [["x", None, None]], [["TextNode", {}, None]], [["TextNode", {"text": 5}, 0.5]],
    [["", {}, None, {}]], ["askonce kv", "data", "k", "no JSON"], ["askonce kv", "data", "k", "[1]"],
    ["askonce kv", 1, 2, 3], ["askonce nodes", "c", b"k", b"x"],
]  # fmt: skip


def flipped(seed: int) -> Damage:
    """A bit is another one."""

    def flip(data: bytes) -> bytes:
        at = random.Random(seed).randrange(len(data))
        return data[:at] + bytes((data[at] ^ (1 << seed % 8),)) + data[at + 1 :]

    return flip


def cut(share: float) -> Damage:
    """The end is missing."""
    return lambda data: data[: int(share * len(data))]


def _nested(opening: bytes, end: bytes) -> bytes:
    return opening * 20_000 + end


def of_bytes() -> dict[str, Damage]:
    """Damage to the bytes of an entry."""
    return {
        **{f"bit {seed}": flipped(seed) for seed in range(12)},
        **{f"cut {share}": cut(share) for share in (0, 0.05, 0.5, 0.99)},
        "newer format": lambda data: bytes((data[0] + 1,)) + data[1:],
        "older format": lambda data: b"\x01" + data[1:],
        "garbage": lambda data: b"garbage",
    }


def of_payloads() -> dict[str, Damage]:
    """Damage to what an adapter wrote, as by another version of it."""
    shapes = {f"shape {_shape!r}": (lambda data, _shape=_shape: _pack(_shape)) for _shape in _SHAPES}
    return {
        **{f"payload bit {seed}": flipped(seed) for seed in range(24)},
        **{f"payload cut {share}": cut(share) for share in (0, 0.3, 0.9, 0.99)},
        **shapes,
        "payload of lists": lambda data: _nested(b"\x91", b"\xc0"),
        "payload of maps": lambda data: _nested(b"\x81\xa1a", b"\xc0"),
        "payload of an answer nested deeply": lambda data: b"\x91\x93" + _nested(b"\x91", b"\xc0") + b"\xc0\xc0",
        "payload of an extension": lambda data: _pack([[msgspec.msgpack.Ext(4, b"\x91" * 5_000)] * 4]),
    }


def swapped_values(data: bytes) -> Iterator[bytes]:
    """Valid payloads of nearly the right shape: one value in it, at a time, is of another type."""
    try:
        whole = msgspec.msgpack.decode(data)
    except msgspec.DecodeError:
        return
    yield from (_pack(one) for one in _swapped(whole))


def _swapped(value: Any) -> Iterator[Any]:
    yield from (
        other for other in (None, 5, "x", [], {}, [5], {"a": 5}, b"\xff", True) if type(other) is not type(value)
    )
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from ([*value[:at], other, *value[at + 1 :]] for other in _swapped(item))
    if isinstance(value, dict):
        for name, item in value.items():
            yield from ({**value, name: other} for other in _swapped(item))


def payloads(store: Store, namespace: str = "default") -> list[bytes]:
    """The payloads in a store."""
    return [
        Codec().decode(value, bound_to=Place(namespace, key).bound_to).payload
        for key, value in store.scan(namespace)
    ]


def damage(store: Store, of_entry: Damage | None = None, of_payload: Damage | None = None) -> None:
    """Damage all that a store holds in its default namespace."""
    for key, value in list(store.scan("default")):
        if of_payload is not None:
            bound = Place("default", key).bound_to
            entry = Codec().decode(value, bound_to=bound)
            changed = msgspec.structs.replace(entry, payload=of_payload(entry.payload))
            value = Codec().encode(changed, bound_to=bound)
        store.put("default", [Record(key, of_entry(value) if of_entry else value)])


def survived(store: Store, call: Callable[[], Any], right: Callable[[Any], bool], misses: Callable[[], int]) -> int:
    """Call again after each kind of damage; returns how many kinds there were.

    Damage to bytes and payloads that cannot be read are a counted miss with the right answer. Whatever the damage,
    nothing is raised.
    """
    assert right(call())
    sound, kinds = list(store.scan("default")), 0
    assert sound
    swapped = {f"swapped {at}": one for at, one in enumerate(swapped_values(payloads(store)[0]))}
    cases: dict[str, tuple[Damage | None, Damage | None]] = {
        **{name: (one, None) for name, one in of_bytes().items()},
        **{name: (None, one) for name, one in of_payloads().items()},
        **{name: (None, lambda _, one=one: one) for name, one in swapped.items()},  # type: ignore[misc]
    }
    for name, (of_entry, of_payload) in cases.items():
        store.put("default", [Record(key, value) for key, value in sound])
        damage(store, of_entry, of_payload)
        before, kinds = misses(), kinds + 1
        try:
            answer = call()
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
        if of_entry is not None:
            assert right(answer), name
            assert misses() > before, name
        elif misses() > before:
            assert right(answer), name
            before = misses()
            assert right(call()), name  # it was made anew, and stored
            assert misses() == before, name
    return kinds
