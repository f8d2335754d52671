"""Values of everyday types as MessagePack, and back with the same types.

What MessagePack has (text, numbers of 64 bits, bytes, lists, maps with text keys) is written as it is. Of every
other type that is known here the parts are written, in an extension whose code names the type:

    tuples, sets, maps with other keys; date, time, datetime, timedelta; UUID, Decimal, Fraction, complex, large
    integers; paths, IP addresses; scalars and arrays of numpy; the values of MongoDB; members of enumerations

Stored data names no class, with one exception: a member of an enumeration is written with the name of its class,
and read only after a member of that class was written in this process. Until then it cannot be read.
"""

from __future__ import annotations

import collections
import datetime
import enum
import ipaddress
import pathlib
import re
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

_Ext = msgspec.msgpack.Ext
_encode = msgspec.msgpack.Encoder().encode


def tagged(value: Any, path: str = "value") -> Any:
    """A value as msgspec writes it; read with `revived` as ``ext_hook`` it is equal, and of the same types.

    Args:
        value: any value.
        path: what it is, for the error.

    Raises:
        TypeError: it is, or holds, something of a type that is not known here; the message says where.
        RecursionError: it is nested too deeply, or holds itself.
    """
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is bytes:
        return value
    if kind is str:
        return value if _is_writable(value) else _extension(_TEXT, value.encode(errors="surrogatepass"))
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _extension(_INTEGER, _integer_bytes(value))
    if kind is list:
        return [tagged(item, path) for item in value]
    if kind is dict and all(type(key) is str and _is_writable(key) for key in value):
        return {key: tagged(item, f"{path}[{key!r}]") for key, item in value.items()}
    code = _CODES.get(kind)
    if code is None:
        code = _code_of_another_package(value)
    if code is None:
        raise TypeError(f"{path} holds a {kind.__qualname__}")
    try:
        parts = _TYPES[code].parts(value)
    except TypeError as error:
        raise TypeError(f"{path} holds {error}") from error
    return _extension(code, tagged(parts, path))


def revived(code: int, data: memoryview) -> Any:
    """The value that `tagged` wrote as an extension; an ``ext_hook`` of msgspec.

    Raises:
        Exception: `tagged` wrote no such bytes, or an enumeration was not met in this process.
    """
    return _TYPES[code].made(_decode(data))


_decode = msgspec.msgpack.Decoder(ext_hook=revived).decode


def _extension(code: int, parts: Any) -> msgspec.msgpack.Ext:
    return _Ext(code, _encode(parts))


def _is_writable(text: str) -> bool:
    """Whether UTF-8 can hold a text: not with half of a surrogate pair in it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _pairs(value: dict[Any, Any]) -> list[Any]:
    return [[key, item] for key, item in value.items()]


# -- times -----------------------------------------------------------------------------------------------------


def _zone(value: datetime.time | datetime.datetime) -> Any:
    """``None``, the key of a zone, or an offset in microseconds with its name."""
    zone = value.tzinfo
    if zone is None:
        return None
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return zone.key
    offset = zone.utcoffset(None)
    if offset is None or offset != value.utcoffset():  # it depends on the time
        raise TypeError(f"a time in a zone of the class {type(zone).__qualname__}")
    plain, name = datetime.timezone(offset), zone.tzname(None)
    return [offset // datetime.timedelta(microseconds=1), None if name == plain.tzname(None) else name]


def _zone_of(parts: Any) -> datetime.tzinfo | None:
    if parts is None:
        return None
    if isinstance(parts, str):
        return zoneinfo.ZoneInfo(parts)
    offset = datetime.timedelta(microseconds=parts[0])
    return datetime.timezone(offset) if parts[1] is None else datetime.timezone(offset, parts[1])


def _time_parts(value: datetime.time | datetime.datetime) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, _zone(value), value.fold]


def _time(parts: Any) -> datetime.time:
    *numbers, zone, fold = parts
    return datetime.time(*numbers).replace(tzinfo=_zone_of(zone), fold=fold)


def _datetime_parts(value: datetime.datetime) -> list[Any]:
    return [value.year, value.month, value.day, *_time_parts(value)]


def _datetime(parts: Any) -> datetime.datetime:
    *numbers, zone, fold = parts
    return datetime.datetime(*numbers).replace(tzinfo=_zone_of(zone), fold=fold)


# -- enumerations ----------------------------------------------------------------------------------------------

_enumerations: dict[tuple[str, str], type[enum.Enum]] = {}
"""Those of which a member was written in this process, by module and name."""


def _member_parts(member: enum.Enum) -> list[Any]:
    cls = type(member)
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is not cls:
        raise TypeError(f"a member of {cls.__qualname__}, which cannot be imported")
    _enumerations[cls.__module__, cls.__qualname__] = cls
    named = cls.__members__.get(member.name or "") is member
    return [cls.__module__, cls.__qualname__, member.name if named else None, None if named else member.value]


def _member(parts: Any) -> enum.Enum:
    module, cls_name, name, value = parts
    cls = _enumerations[module, cls_name]
    return cls(value) if name is None else cls.__members__[name]  # several flags in one have no name


# -- numpy -----------------------------------------------------------------------------------------------------

_DTYPE = re.compile(r"[<>|=][biufcmMSU]\d+(\[\w+\])?")


def _array_parts(array: Any) -> list[Any]:
    dtype = array.dtype
    if dtype.kind == "O":
        return [None, list(array.shape), array.ravel().tolist()]
    if not _DTYPE.fullmatch(dtype.str) or dtype.type is not _scalar_type(dtype.str):
        raise TypeError(f"an array of {dtype}")
    return [dtype.str, list(array.shape), array.tobytes()]


def _array(parts: Any) -> Any:
    import numpy as np

    dtype, shape, items = parts
    if dtype is None:
        array = np.empty(len(items), dtype=object)
        for at, item in enumerate(items):  # at once, lists of one length would become a further dimension
            array[at] = item
        return array.reshape(shape)
    return np.frombuffer(items, dtype=_dtype(dtype)).reshape(shape).copy()


def _scalar_parts(scalar: Any) -> Any:
    if type(scalar).__name__ == "str_":
        return str(scalar)
    if type(scalar).__name__ == "bytes_":
        return bytes(scalar)
    dtype = scalar.dtype
    if not _DTYPE.fullmatch(dtype.str) or type(scalar) is not _scalar_type(dtype.str):
        raise TypeError(f"a {type(scalar).__qualname__}")
    return [dtype.str, scalar.tobytes()]


def _scalar(parts: Any) -> Any:
    import numpy as np

    if isinstance(parts, str):
        return np.str_(parts)
    if isinstance(parts, bytes):
        return np.bytes_(parts)
    return np.frombuffer(parts[1], dtype=_dtype(parts[0]))[0]


def _dtype(name: str) -> Any:
    import numpy as np

    if not _DTYPE.fullmatch(name):
        raise ValueError("no type of numbers")
    return np.dtype(name)


def _scalar_type(name: str) -> type[Any]:
    """What is read as that type: some types of C are two of numpy with one name."""
    scalar_type: type[Any] = _dtype(name).type
    return scalar_type


# -- the table -------------------------------------------------------------------------------------------------


class _Type(NamedTuple):
    """A type that is written in parts.

    Attributes:
        of: the type, or where it is in another package; that package is imported when one is read.
        parts: what is written of a value.
        made: a value of the parts.
    """

    of: type[Any] | str
    parts: Callable[[Any], Any]
    made: Callable[[Any], Any]


def _texts(of: type[Any]) -> _Type:
    return _Type(of, str, of)


def _mongodb(module: str, name: str, parts: Callable[[Any], Any]) -> _Type:
    def made(written: Any) -> Any:
        return getattr(import_module(module), name)(written)

    return _Type(f"{module}.{name}", parts, made)


# A code is a position here: new types come last.
_TYPES = (
    _Type("a text with half of a surrogate pair", str, lambda data: data.decode(errors="surrogatepass")),
    _Type("a large integer", int, lambda data: int.from_bytes(data, "little", signed=True)),
    _Type(dict, _pairs, dict),
    _Type(collections.OrderedDict, _pairs, collections.OrderedDict),
    _Type(tuple, list, tuple),
    _Type(set, list, set),
    _Type(frozenset, list, frozenset),
    _Type(bytearray, bytes, bytearray),
    _Type(complex, lambda number: [number.real, number.imag], lambda parts: complex(*parts)),
    _Type(datetime.date, lambda day: [day.year, day.month, day.day], lambda parts: datetime.date(*parts)),
    _Type(datetime.time, _time_parts, _time),
    _Type(datetime.datetime, _datetime_parts, _datetime),
    _Type(
        datetime.timedelta,
        lambda span: [span.days, span.seconds, span.microseconds],
        lambda parts: datetime.timedelta(*parts),
    ),
    _Type(uuid.UUID, lambda one: one.bytes, lambda data: uuid.UUID(bytes=data)),
    _texts(Decimal),
    _Type(Fraction, lambda one: [one.numerator, one.denominator], lambda parts: Fraction(*parts)),
    *map(_texts, (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath)),
    *map(_texts, (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)),
    _Type("a member of an enumeration", _member_parts, _member),
    _Type("a scalar of numpy", _scalar_parts, _scalar),
    _Type("numpy.ndarray", _array_parts, _array),
    _mongodb("bson.objectid", "ObjectId", lambda one: one.binary),
    _mongodb("bson.decimal128", "Decimal128", str),
    _mongodb("bson.int64", "Int64", int),
)
_CODES = {one.of: code for code, one in enumerate(_TYPES)}
_TEXT, _INTEGER = 0, 1
_MEMBER, _SCALAR = _CODES["a member of an enumeration"], _CODES["a scalar of numpy"]


def _code_of_another_package(value: Any) -> int | None:
    kind = type(value)
    if isinstance(value, enum.Enum):
        return _MEMBER
    if kind.__module__ == "numpy":
        numpy = sys.modules["numpy"]
        if isinstance(value, numpy.generic):
            return _SCALAR
    name = f"{kind.__module__}.{kind.__qualname__}"
    code = _CODES.get(name)
    return code if getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind else None
