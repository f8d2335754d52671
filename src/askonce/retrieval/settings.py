"""What a vector store holds beside its documents and its place: how it searches, and for whom."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from askonce.keys.databases import credential_form
from askonce.keys.normal_form import Uncacheable, is_credential
from askonce.keys.own.modules import file_of, is_installed
from askonce.keys.own.objects import NOTHING, says_nothing
from askonce.retrieval.clients import place_of, sent_by
from askonce.retrieval.functions import functions_of
from askonce.retrieval.held import attributes_of
from askonce.retrieval.parts import code_of, data_in, own_bases, state_of
from askonce.retrieval.places import Reading, Setting
from askonce.retrieval.versions import is_container, is_content

_DEEPEST = 4
_MOST_PARTS = 200
"""Of an object of a package's, such as a model that weighs terms; what is further inside follows from the rest."""
_MOST_ITEMS = 1000
_SCALARS = (str, bytes, int, float, type(None))
_MODELS = frozenset({"torch", "tensorflow", "keras", "jax", "jaxlib"})
_CONTAINERS = (list, tuple, set, frozenset, Mapping)


class SettingReader:
    """Reads the objects and functions of a store, for the reader of a framework's parts.

    Args:
        read: reads any part.
    """

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read
        self._depth = self._parts = 0

    def of(self, part: Any, *, strict: bool) -> Any:
        """A function, a class, or an object of no framework's, in normal form.

        Args:
            part: which.
            strict: the application's own code holds it, so that all of it counts.

        Raises:
            Uncacheable: it cannot be read.
        """
        if isinstance(part, functools.partial):
            return {"partial": [self._read(part.func), self.data([*part.args]), self.data(part.keywords)]}
        if isinstance(part, type):
            return self._class(part)
        if isinstance(part, ModuleType):
            if file_of(part.__name__) is not None:
                raise Uncacheable(f"the module {part.__name__}, whose code may be another")
            return {"module": part.__name__}
        if isinstance(part, FunctionType):
            return self._function(part)
        data = data_in(part)
        if data is not NOTHING:
            return {"class": _name(type(part)), "data": self.data(data)}
        is_own = bool(own_bases(type(part)))
        sent = sent_by(part)
        if sent is not None:
            form = {**self._class(type(part)), "sends": self.data(sent)}
            return {**form, "has": self._held(state_of(part))} if is_own else form
        if says_nothing(part) and not is_own:
            return _name(type(part))
        if strict or is_own:
            return {**self._class(type(part)), "has": self._held(state_of(part))}
        return self._of_package(part)

    def data(self, value: Any) -> Any:
        """Lists and maps that were made here, with what is in them."""
        if isinstance(value, list):
            return [self.data(one) for one in value]
        if isinstance(value, dict):
            return {name: self.data(one) for name, one in value.items()}
        return self._read(value)

    def _held(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: credential_form(one) if is_credential(name) and isinstance(one, (str, bytes)) else self._read(one)
            for name, one in sorted(attributes.items())
        }

    def _class(self, cls: type) -> Any:
        code = code_of(cls).digest
        return {"class": _name(cls)} if code is None else {"class": _name(cls), "code": code}

    def _function(self, function: FunctionType) -> Any:
        name = f"{function.__module__}.{function.__qualname__}"
        code = code_of(function).digest
        if code is not None:
            cells = [self._read(_content(cell)) for cell in function.__closure__ or ()]
            given = [self.data([*(function.__defaults__ or ())]), self.data(function.__kwdefaults__ or {})]
            return {"function": name, "code": code, "with": cells, "given": given}
        cells = [self._tolerant(_content(cell)) for cell in function.__closure__ or ()]
        return {"function": name, "with": cells} if cells else name

    def _of_package(self, part: Any) -> Any:
        """An object of a package's class: all that can be read of it. Its own parts say which it is."""
        form: dict[str, Any] = {"class": _name(type(part))}
        if self._depth >= _DEEPEST or self._parts >= _MOST_PARTS:
            return form
        place = place_of(part)
        if place is not None:
            functions = {name: self._read(one) for name, one in functions_of(part).items()}
            return {**form, "place": self._read(place), **functions}
        is_model = any(one.__module__.partition(".")[0] in _MODELS for one in type(part).__mro__)
        held = attributes_of(part) or state_of(part)
        self._depth += 1
        try:
            for name, value in sorted(held.items()):
                if not is_credential(name) and (isinstance(value, _SCALARS) or not is_model):
                    form[name] = self._tolerant(value)
        finally:
            self._depth -= 1
            self._parts = self._parts if self._depth else 0
        if is_model:
            form["model"] = str(getattr(part, "name_or_path", ""))
        return form

    def _tolerant(self, value: Any) -> Any:
        """A part of a package's object, as far as it can be read; the application's own, only as a whole."""
        self._parts += 1
        if isinstance(value, _CONTAINERS):
            if len(value) > _MOST_ITEMS or self._parts > _MOST_PARTS:
                return [_name(type(value)), len(value)]
            if isinstance(value, Mapping):
                return [[self._tolerant(name), self._tolerant(one)] for name, one in value.items()]
            items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
            return [self._tolerant(one) for one in items]
        try:
            return self._read(value)
        except Uncacheable:
            if _is_own(value):
                raise
            return _name(type(value))


def settings_in(reading: Reading, *, known: bool, counted: bool) -> Iterator[Setting]:
    """The settings of a store that are no plain ones, without its documents.

    Args:
        reading: of its attributes.
        known: its documents are in memory, and of its base class it is known where.
        counted: all its lists and maps are part of its version.
    """
    for one in reading.rest:
        if is_content(one.value):
            is_unknown = not one.is_own and not reading.is_placed
            if not is_unknown and not (counted and (not reading.is_placed or is_container(one.value))):
                yield one
        elif one.is_own or not known or inspect.isroutine(one.value):  # else what finds the documents
            yield one


def _is_own(value: Any) -> bool:
    """Whether a value is the application's own, or holds a function of its own."""
    inner: Iterable[Any] = (value, getattr(value, "func", None), getattr(value, "__func__", None))
    functions = [one for one in inner if isinstance(one, FunctionType)]
    return any(not is_installed(one.__module__ or "") for one in functions) or bool(own_bases(type(value)))


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
