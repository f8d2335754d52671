"""What own code uses that is changed in place: clients and arrays are looked at again at each request."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from askonce.keys.databases import place_in_code
from askonce.keys.normal_form import encode, model_form
from askonce.keys.own.bytecode import ANY
from askonce.keys.own.changes import Path
from askonce.keys.own.objects import NOTHING, can_change, data_of
from askonce.keys.own.state import as_read, observe

_LARGEST = 100_000_000
"""An array of more bytes is read once: to compare it at each request would take longer than a request may."""
_ClientReader = Callable[[Any], dict[str, Any] | None]
_Look = Callable[[Any], tuple[object, object]]
_client_readers: list[tuple[_ClientReader, _Look | None]] = [(place_in_code, None)]


def read_clients_with(reader: _ClientReader, look: _Look) -> None:
    """From now on, what this says of a client that own code uses counts.

    Args:
        reader: gives it; ``None``: it knows no such client.
        look: gives what can be changed of a client, and what holds that.
    """
    _client_readers.append((reader, look))


def client_form(value: Any, place: Any = None, path: Path = ()) -> str | None:
    """Where a client sends what it is given, and what it adds, without credentials; ``None`` if it is not known.

    It is empty for a client that says nothing of that.

    Args:
        value: what may be a client.
        place: the class of the object that holds it, or the id of what holds the variable.
        path: where it stands there.

    Raises:
        Uncacheable: it may change requests on their way.
    """
    for reader, look in _client_readers:
        form = reader(value)
        if form is None:
            continue
        if look is None:
            observe(value)
            return _written(form)
        now = functools.partial(_Client, value, look)
        client = as_read(value, now, place, (*path, ".headers", ANY))
        client.form = client.form or _written(form)
        return str(client.form)
    return None


def _written(form: dict[str, Any]) -> str:
    read = model_form(form, [], "endpoint")
    return encode(read).decode() if read else ""


class _Client:
    """What a client is set up with; two are equal if that is.

    Attributes:
        form: in normal form, once it was read.
    """

    def __init__(self, client: Any, look: _Look) -> None:
        self.form: str | None = None
        found, self._held = look(client)
        self._shown = repr(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Client) and self._shown == other._shown

    def __hash__(self) -> int:
        return hash(self._shown)


def data_now(value: Any, place: Any = None, path: Path = ()) -> Any:
    """`data_of` an object, which is read again at each request if it can be changed in place.

    Args:
        value: the object.
        place: the class of the object that holds it, or the id of what holds the variable.
        path: where it stands there.
    """
    data = data_of(value)
    if data is NOTHING or not can_change(value) or getattr(value, "nbytes", 0) > _LARGEST:
        return data
    if any(isinstance(one, list) for one in data):  # an array of objects, which are compared by their ids
        held = data  # so that no other object gets one of the ids
        as_read(value, lambda: (len(held), *map(id, value.ravel().tolist())), place, path)
        return data
    return [*as_read(value, lambda: tuple(data_of(value)), place, path)]
