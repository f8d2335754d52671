"""A text is found in values of every type that stored data can hold."""

from __future__ import annotations

import datetime
import enum
import ipaddress
import pathlib
import subprocess
import sys
import uuid
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import bson
import msgspec
import numpy as np
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from askonce.entries.spelled import is_spelled_in
from askonce.entries.values import tagged


class Patient(enum.Enum):
    JANE = 4711


NUMBER = uuid.UUID("12345678-9abc-4def-8123-456789abcdef")
BORN = datetime.datetime(1988, 3, 4, 5, 6, 7, tzinfo=datetime.UTC)
VALUES: list[tuple[Any, str]] = [
    (4711, "4711"), (4711, " +4711 "), (-(2**70), str(-(2**70))), (47.11, "47.11"), (4711.0, "4711"),
    (1e22, "10000000000000000000000"), (Decimal("47.110"), "47.11"), (Fraction(4711, 3), "4711/3"),
    (4711j, "4711j"), (NUMBER, str(NUMBER)), (NUMBER, NUMBER.hex.upper()),
    (datetime.date(1988, 3, 4), "1988-03-04"), (BORN, "1988-03-04"), (BORN, "1988-03-04T05:06:07Z"),
    (BORN, "1988-03-04 05:06:07"), (BORN.time(), "05:06:07"), (datetime.timedelta(4711), "4711 days"),
    (ipaddress.ip_address("10.47.11.1"), "10.47.11.1"), (pathlib.PurePosixPath("/jane/doe"), "jane/doe"),
    (Patient.JANE, "4711"), (Patient.JANE, "jane"), (bson.ObjectId("65" * 12), "65" * 12), (b"\x12\x34", "1234"),
    (Decimal128("47.11"), "47.11"), (Int64(4711), "4711"), (np.float32(47.11), "47.11"), (np.int16(4711), "4711"),
    (np.array([[1.5, 47.11]], dtype=">f4"), "47.11"), (np.array(["Jane", "Doe"]), "jane"),
    (np.array(["a", Decimal("47.11")], dtype=object), "47.11"),
    (np.datetime64("1988-03-04T05:06:07.123456789"), "1988-03-04T05:06:07.123456789"),
]  # fmt: skip


def holds(value: Any, text: str) -> bool:
    """Whether written data holds a text, spelled or as it is."""
    data = msgspec.msgpack.encode(tagged(value))
    return is_spelled_in(text, data) or text.strip().encode() in data


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_text_is_found_in_a_value_wherever_it_is(value: Any, text: str) -> None:
    nested: list[Any] = [value, [value], (value,), {"a": value}, OrderedDict(b=[(1, (value,))])]
    if type(value).__hash__ is not None:
        nested += [{value}, frozenset([value]), {value: 1}]
    for one in nested:
        assert holds(one, text), one
        assert not holds(one, "0815")
        assert not holds(one, "no such text")


def test_a_number_is_no_part_of_another_one() -> None:
    assert not holds([24711, 0.4711, 47110, True, None], "4711")
    assert not holds(float("nan"), "nan")


def test_a_member_of_a_class_that_is_not_met_in_this_process_is_found() -> None:
    data = msgspec.msgpack.encode(tagged({(Patient.JANE, 4711): 1}))
    reader = f"from askonce.entries.spelled import *; print(is_spelled_in('4711', bytes.fromhex('{data.hex()}')))"
    assert subprocess.check_output([sys.executable, "-c", reader], text=True).strip() == "True"


@pytest.mark.parametrize("data", [b"", b"{}", b"\xc1", b"\xd4\x7f\x01", b"4711 is no MessagePack", b"\x91" * 5000])
def test_other_bytes_hold_no_value(data: bytes) -> None:
    assert not is_spelled_in("4711", data)
