"""What an application declares volatile: it is no part of the key.

Nothing is ignored by guess. What was ignored stands in the form's ``left_out``, and a form from which something was
ignored says so, so that it equals no other one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable, encode

logger = logging.getLogger("askonce")
_MOST_PATHS = 1000
_A_PATH = "model.endpoints[*].headers.x-session"
_PLACEHOLDER = "\0ignored\0"
_TEXT_FIELDS = ("messages", "prompt", "text", "question", "query")
"""The parts of a form that hold the text of a request; patterns are looked for in these alone."""
_STRUCTURE = frozenset({"role", "type", "name", "id", "answers", "status", "sha256", "mime"})
"""What of a message is no text of it."""
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\*)\]")


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the normal form, for ``ignore``.

    Args:
        path: as ``body`` shows it, names with dots between them, and positions: ``messages[0].content``,
            ``model.endpoints[*].headers.x-session``. ``*`` is any name, ``[*]`` any position.

    Raises:
        ConfigError: it is no such path.
    """

    path: str

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or "".join(self._written()) != self.path or self.path[:1] in ("", "."):
            raise ConfigError(f"a field is a path such as {_A_PATH!r}, got {self.path!r}")

    def _written(self) -> Iterator[str]:
        if isinstance(self.path, str):
            for step in _STEP.finditer(self.path):
                yield ("." if step[1] and step.start() else "") + step[0]

    @property
    def steps(self) -> list[str | int]:
        """Names, positions, and ``*``."""
        found = _STEP.finditer(self.path)
        return [step[1] or (int(step[2]) if step[2] != "*" else "*") for step in found]


Ignored = str | re.Pattern[str] | FormField | Callable[[NormalForm], NormalForm]
"""A pattern, whose matches in a request's text count as one; a field; or a function that gives another form."""


def checked(ignore: Ignored | Sequence[Ignored]) -> tuple[Ignored, ...]:
    """What an application declared, with its patterns compiled.

    Raises:
        ConfigError: something is none of what can be declared. The message says what to write.
    """
    if isinstance(ignore, (str, re.Pattern, FormField)) or callable(ignore):
        return (_checked(ignore),)
    if not isinstance(ignore, (list, tuple)):
        raise ConfigError(
            f"ignore is a pattern, a FormField, a function of a form, or a list of these; got {ignore!r}"
        )
    return tuple(_checked(one) for one in ignore)


def _checked(one: Any) -> Ignored:
    if isinstance(one, FormField):
        return one
    if isinstance(one, (str, re.Pattern)):
        try:
            pattern = re.compile(one)
        except re.error as error:
            raise ConfigError(f"ignore: {one!r} is no regular expression: {error}") from error
        if not isinstance(pattern.pattern, str) or pattern.search(""):
            raise ConfigError(f"ignore: {one!r} is to match a text, and not an empty one")
        return pattern
    if callable(one) and not isinstance(one, type):
        function: Ignored = one
        return function
    raise ConfigError(f"ignore: a pattern, a FormField or a function of a form, got {one!r}")


def without(form: NormalForm, ignored: Sequence[Ignored]) -> NormalForm:
    """A form without what is to be ignored.

    Args:
        form: any.
        ignored: from `checked`.

    Raises:
        Uncacheable: a function failed, or gave something else than a form.
    """
    body: dict[str, Any] = msgspec.json.decode(encode(form.body))
    form, known = msgspec.structs.replace(form, body=body), len(form.left_out)
    for one in ignored:
        left_out: list[str] = []
        if isinstance(one, re.Pattern):
            body = {
                name: _replaced(item, one, name, left_out) if name in _TEXT_FIELDS else item
                for name, item in form.body.items()
            }
            form = msgspec.structs.replace(form, body=body, left_out=(*form.left_out, *left_out))
        elif isinstance(one, FormField):
            rest = _without_field(form.body, one.steps, "", left_out)
            _record(one.path, is_found=bool(left_out))
            form = msgspec.structs.replace(form, body=rest, left_out=(*form.left_out, *left_out))
        elif callable(one):
            form = _by_function(form, one)
    return (
        form if len(form.left_out) == known else msgspec.structs.replace(form, body={**form.body, "ignored": True})
    )


_AT_FIRST = 10
_unfound: dict[str, int] = {}
"""By path, in how many forms nothing stood there; 0 once something did, or it was reported."""


def _record(path: str, *, is_found: bool) -> None:
    """Report once a path that is found in none of the first forms: it may be misspelt."""
    forms = _unfound.get(path, 1 if len(_unfound) < _MOST_PATHS else 0)
    if forms == 0:
        return
    _unfound[path] = 0 if is_found or forms == _AT_FIRST else forms + 1
    if not is_found and forms == _AT_FIRST:
        logger.warning(
            "askonce: ignore: nothing stood at %r in the first %d requests; the body of a form shows the paths",
            path,
            _AT_FIRST,
        )


def _replaced(value: Any, pattern: re.Pattern[str], path: str, left_out: list[str]) -> Any:
    if isinstance(value, str):
        text, times = pattern.subn(_PLACEHOLDER, value)
        if times:
            left_out.append(f"{path} (what matches {pattern.pattern!r})")
        return text
    if isinstance(value, list):
        return [_replaced(item, pattern, f"{path}[{at}]", left_out) for at, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            name: item if name in _STRUCTURE else _replaced(item, pattern, f"{path}.{name}", left_out)
            for name, item in value.items()
        }
    return value


def _without_field(value: Any, steps: Sequence[str | int], path: str, left_out: list[str]) -> Any:
    step, *others = steps
    if isinstance(value, Mapping):
        members = [(name, item, f"{path}.{name}" if path else name) for name, item in value.items()]
    elif isinstance(value, list):
        members = [(at, item, f"{path}[{at}]") for at, item in enumerate(value)]
    else:
        return value
    rest: list[tuple[Any, Any]] = []
    for name, item, where in members:
        if step not in (name, "*"):
            rest.append((name, item))
        elif others:
            rest.append((name, _without_field(item, others, where, left_out)))
        else:
            left_out.append(f"{where} (ignored)")
    return dict(rest) if isinstance(value, Mapping) else [item for _, item in rest]


def _by_function(form: NormalForm, function: Callable[[NormalForm], NormalForm]) -> NormalForm:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    before = encode(form.body)
    try:
        given = function(form)
    except Exception as error:
        raise Uncacheable(f"ignore: {name} failed: {type(error).__name__}") from error
    if not isinstance(given, NormalForm):
        raise Uncacheable(f"ignore: {name} gave a {type(given).__qualname__}; it is to give a NormalForm")
    return (
        given
        if encode(given.body) == before
        else msgspec.structs.replace(given, left_out=(*given.left_out, f"(by {name})"))
    )
