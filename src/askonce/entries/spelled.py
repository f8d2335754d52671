"""How the values in stored data are spelled as texts, so that a text is found in them too."""

from __future__ import annotations

import datetime
import enum
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from askonce.entries.values import revived
from askonce.keys.request_texts import folded_text, number_of

_LONGEST_BYTES = 32
"""Longer ones are no ids."""


def is_spelled_in(text: str, data: bytes) -> bool:
    """Whether a value in MessagePack, of those that `askonce.entries.values.tagged` writes, is spelled like a text.

    Plain texts are left out: they stand in the bytes as they are.

    Args:
        text: a number that equals such a value, or a part of one of its usual spellings: ISO 8601 of dates and
            times, hexadecimal of short bytes, ``str``.
        data: any bytes; those that are no MessagePack hold no value.
    """
    try:
        value = decoded(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    part, number = folded_text(text), number_of(text)
    for spelled in _spellings(value):
        if isinstance(spelled, str):
            if part and part in folded_text(spelled):
                return True
        elif number is not None and number_of(spelled) == number:
            return True
    return False


def _read(code: int, data: memoryview) -> Any:
    """The value of an extension, or its parts where this process cannot make it."""
    parts = decoded(data)
    try:
        return revived(code, data) if code >= 0 else parts
    except Exception:
        return parts


decoded = msgspec.msgpack.Decoder(ext_hook=_read).decode
"""MessagePack as values; of a type that this process cannot make, its parts."""


def _spellings(value: Any) -> Iterator[str | int | float | Decimal]:
    """The spellings and the numbers of all values within a value."""
    if isinstance(value, enum.Enum):
        yield from (str(value.name), str(value.value))
        yield from _spellings(value.value)
    elif value is None or isinstance(value, (bool, str)):
        return
    elif isinstance(value, (int, float, Decimal)):
        yield value
    elif isinstance(value, Fraction):
        yield from (value.numerator, value.denominator)
        yield f"{Decimal(value.numerator)}/{Decimal(value.denominator)}"  # as `str`, which refuses long ones
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _spellings(name)
            yield from _spellings(one)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _spellings(one)
    elif isinstance(value, (bytes, bytearray)):
        if len(value) <= _LONGEST_BYTES:
            yield value.hex()
    elif isinstance(value, (datetime.datetime, datetime.time)):
        yield from (value.isoformat(), str(value), value.isoformat().replace("+00:00", "Z"))
    elif isinstance(value, uuid.UUID):
        yield from (value.urn, value.hex)
    elif hasattr(value, "tolist"):  # of numpy
        yield from _spellings_of_array(value)
    else:
        yield str(value)


def _spellings_of_array(array: Any) -> Iterator[str | int | float | Decimal]:
    kind = array.dtype.kind
    if kind in "OSbiuc":
        yield from _spellings(array.tolist())
        return
    for text in array.astype(str).ravel().tolist():  # numbers with as few digits as their type has
        yield float(text) if kind == "f" else text
