"""What is written of a value comes back equal, with the same types, all the way down."""

from __future__ import annotations

import contextlib
import datetime
import enum
import ipaddress
import math
import pathlib
import struct
import subprocess
import sys
import uuid
import zoneinfo
from collections import OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any

import bson
import msgspec
import numpy as np
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from askonce.entries.values import revived, tagged

written = msgspec.msgpack.Encoder().encode
read = msgspec.msgpack.Decoder(ext_hook=revived).decode


class Colour(enum.Enum):
    RED = "red"
    CRIMSON = "red"
    NOBODY = None


class Level(enum.IntEnum):
    LOW = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types: NaN is NaN, and the order of a map counts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and all(map(same, one.flat, other.flat))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return {(type(item), repr(item)) for item in one} == {(type(item), repr(item)) for item in other}
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, (datetime.datetime, datetime.time)):
        return repr(one) == repr(other) and one.fold == other.fold
    if isinstance(one, (complex, Decimal, np.generic)):
        return repr(one) == repr(other)
    return bool(one == other)


zones = st.none() | st.timezones() | st.builds(datetime.timezone, st.timedeltas(
    datetime.timedelta(hours=-23), datetime.timedelta(hours=23)
))  # fmt: skip
numbers = arrays.scalar_dtypes().filter(lambda dtype: dtype.kind in "biufcmMSU")
hashable = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(st.characters()), st.binary(),
    st.dates(), st.times(timezones=st.none() | st.just(datetime.UTC)), st.datetimes(timezones=zones),
    st.timedeltas(),
    st.uuids(), st.decimals(allow_nan=False), st.fractions(), st.ip_addresses(), st.sampled_from(Colour),
    st.sampled_from(Level), st.sampled_from([Right.READ, Right.READ | Right.WRITE, Right(0)]),
    st.text("ab/.").map(pathlib.PurePosixPath), st.text("ab/.").map(pathlib.Path),
    st.binary(min_size=12, max_size=12).map(bson.ObjectId), st.integers(-(2**63), 2**63 - 1).map(Int64),
)  # fmt: skip
leaves = st.one_of(
    hashable, st.floats(), st.complex_numbers(), st.decimals(), st.binary().map(bytearray),
    st.text().map(np.str_), st.binary().map(np.bytes_),
    arrays.arrays(numbers, arrays.array_shapes(min_dims=0, min_side=0)),
    numbers.flatmap(lambda dtype: arrays.arrays(dtype, ()).map(lambda array: array[()])),
    arrays.arrays(object, arrays.array_shapes(min_dims=0), elements=st.lists(st.integers(), max_size=2)),
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.dictionaries(hashable | st.tuples(hashable, hashable), inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4).map(OrderedDict)
        | st.sets(hashable, max_size=4)
        | st.frozensets(hashable, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_what_is_written_comes_back_equal_with_equal_types(value: Any) -> None:
    try:
        tag = tagged(value)
    except TypeError:  # such as numpy's second name for the integers of 64 bits
        return
    assert same(read(written(tag)), value)


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=-3), "home")),
        Decimal("1.10"),
        Decimal("sNaN"),
        Fraction(1, 3),
        uuid.UUID(int=7),
        {1: "one", (2, 3): {"two": {4}}, None: frozenset()},
        np.float32(0.5),
        np.datetime64("2026-01-02T03:04", "m"),
        np.array([[1.5, 2.5]], dtype=">f4"),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["a", None, (1,)], dtype=object),
        Decimal128("1.10"),
        ipaddress.ip_network("10.0.0.0/8"),
        [Colour.CRIMSON, Colour.NOBODY, Level.LOW, Right.READ | Right.WRITE],
        "half of a pair: \ud83d",
        -(2**200),
    ],
    ids=repr,
)
def test_everyday_values_are_written(value: Any) -> None:
    assert same(read(written(tagged(value))), value)


def test_a_zone_of_another_class_with_one_offset_comes_back_as_the_plain_one() -> None:
    from bson.tz_util import FixedOffset

    at = datetime.datetime(2026, 1, 2, tzinfo=FixedOffset(60, "UTC+01:00"))
    back = read(written(tagged(at)))
    assert back == at
    assert back.tzinfo == datetime.timezone(datetime.timedelta(hours=1))


class Daylight(datetime.tzinfo):
    """One hour in January, two otherwise, and it does not say so where there is no time."""

    def utcoffset(self, at: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1 if at is None or at.month == 1 else 2)


class Text(str):
    pass


class Numbers(np.ndarray):
    pass


Pair = namedtuple("Pair", "one other")


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Text("x"),
        Pair(1, 2),
        int,
        np.array([1.0]).view(Numbers),
        np.array([(1,)], dtype=[("a", "<i4")]),
        datetime.datetime(2026, 7, 1, tzinfo=Daylight()),
        enum.Enum("Hidden", "ONE")["ONE"],  # type: ignore[index]
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_would_come_back_as_another_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(TypeError, match=r"metadata\['a'\] holds"):
        tagged({"a": [value]}, "metadata")


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        tagged(value)


READ = """
import sys, msgspec
from askonce.entries.values import revived
try:
    print(msgspec.msgpack.Decoder(ext_hook=revived).decode(bytes.fromhex(sys.argv[1])))
except KeyError:
    print("unknown", "http" in sys.modules)
"""


def test_a_process_that_has_not_met_an_enumeration_imports_nothing_for_it() -> None:
    import http

    data = written(tagged(http.HTTPStatus.OK)).hex()
    done = subprocess.run([sys.executable, "-c", READ, data], capture_output=True, text=True, check=True)
    assert done.stdout == "unknown False\n"


@given(st.integers(0, 40), st.binary(max_size=40))
def test_damaged_bytes_give_a_value_or_an_exception_that_can_be_caught(code: int, data: bytes) -> None:
    with contextlib.suppress(Exception):
        read(written(msgspec.msgpack.Ext(code, data)))
