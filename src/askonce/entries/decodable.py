"""Structs that any thread may decode at any time.

msgspec prepares a struct's class when it is first decoded, and two threads that do so at once crash the process
(0.22; a field's type is read before it is there). So classes are prepared while their module is imported, which one
thread does.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

K = TypeVar("K", bound=type[msgspec.Struct])


def decodable(cls: K) -> K:
    """A class decorator: any thread may decode the struct. Structs in its fields are defined before it."""
    msgspec.msgpack.Decoder(cls)
    return cls
