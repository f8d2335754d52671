"""Whether a JSON value fits a JSON schema, as far as a parser would mind.

Lenient where pydantic is: numbers and truth values may be written as texts. Keywords that are not known count for
nothing.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_DEEPEST = 64
_FORMATS: dict[str, Callable[[str], Any]] = {
    "date": datetime.date.fromisoformat,
    "date-time": datetime.datetime.fromisoformat,
    "uuid": uuid.UUID,
}
_TRUTH = frozenset({"true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"})


def misfit(value: Any, schema: Any) -> str | None:
    """The first thing in which a value does not fit a schema; ``None`` if it fits."""
    return next(_misfits(value, schema, schema, "", 0), None)


def _misfits(value: Any, schema: Any, root: Any, path: str, depth: int) -> Iterator[str]:
    if schema is False:
        yield f"{path or 'the value'} is not allowed"
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    if value is None and schema.get("nullable") is True:
        return
    if isinstance(schema.get("$ref"), str):
        yield from _misfits(value, _referenced(schema["$ref"], root), root, path, depth + 1)
    for part in _list(schema.get("allOf")):
        yield from _misfits(value, part, root, path, depth + 1)
    for choice in ("anyOf", "oneOf"):
        parts = _list(schema.get(choice))
        if parts and not any(next(_misfits(value, one, root, path, depth + 1), None) is None for one in parts):
            yield f"{path or 'the value'} fits none of {choice}"
    types = schema.get("type")
    names = [types] if isinstance(types, str) else _list(types)
    if names and not any(_is_of(value, str(name).lower()) for name in names):
        yield f"{path or 'the value'} is no {' or '.join(map(str, names))}"
        return
    if isinstance(schema.get("enum"), list) and not _is_among(value, schema["enum"]):
        yield f"{path or 'the value'} is none of {schema['enum']}"
    if "const" in schema and not _is_among(value, [schema["const"]]):
        yield f"{path or 'the value'} is not {schema['const']!r}"
    if isinstance(value, Mapping):
        yield from _of_map(value, schema, root, path, depth)
    elif isinstance(value, list):
        yield from _of_list(value, schema, root, path, depth)
    elif isinstance(value, str) and (not names or "string" in map(str.lower, map(str, names))):
        yield from _of_text(value, schema, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _of_number(value, schema, path)


def _of_map(value: Mapping[str, Any], schema: Mapping[str, Any], root: Any, path: str, depth: int) -> Iterator[str]:
    for name in _list(schema.get("required")):
        if name not in value:
            yield f"{path}.{name} is missing".lstrip(".")
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    for name, item in value.items():
        inner = f"{path}.{name}".lstrip(".")
        if name in properties:
            yield from _misfits(item, properties[name], root, inner, depth + 1)
        elif isinstance(schema.get("additionalProperties"), Mapping):
            yield from _misfits(item, schema["additionalProperties"], root, inner, depth + 1)


def _of_list(value: list[Any], schema: Mapping[str, Any], root: Any, path: str, depth: int) -> Iterator[str]:
    first = _list(schema.get("prefixItems"))
    for at, item in enumerate(value):
        part = first[at] if at < len(first) else schema.get("items")
        yield from _misfits(item, part, root, f"{path}[{at}]", depth + 1)
    yield from _outside(len(value), schema.get("minItems"), schema.get("maxItems"), f"the length of {path}")


def _of_text(value: str, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _outside(len(value), schema.get("minLength"), schema.get("maxLength"), f"the length of {path}")
    pattern, form = schema.get("pattern"), _FORMATS.get(str(schema.get("format")))
    try:
        if isinstance(pattern, str) and re.search(pattern, value) is None:
            yield f"{path} does not match {pattern!r}"
    except re.error:
        pass  # written for another engine
    try:
        if form is not None and not value.lstrip("-").isdigit():  # pydantic reads seconds as a time
            form(value)
    except ValueError:
        yield f"{path} is no {schema['format']}"


def _of_number(value: float, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _outside(value, schema.get("minimum"), schema.get("maximum"), path)
    low: Any = schema.get("exclusiveMinimum")
    high: Any = schema.get("exclusiveMaximum")
    if (_is_number(low) and value <= low) or (_is_number(high) and value >= high):
        yield f"{path} is out of range"


def _outside(value: float, low: Any, high: Any, what: str) -> Iterator[str]:
    if (_is_number(low) and value < low) or (_is_number(high) and value > high):
        yield f"{what} is out of range"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_of(value: Any, name: str) -> bool:
    match name:
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool) or str(value).lower() in _TRUTH
        case "number":
            return _as_number(value) is not None
        case "integer":
            number = _as_number(value)
            return number is not None and (not math.isfinite(number) or number == int(number))
    return True


def _as_number(value: Any) -> float | None:
    if not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _is_among(value: Any, known: list[Any]) -> bool:
    return any(value == one or (isinstance(value, str) and str(one) == value) for one in known)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _referenced(reference: str, root: Any) -> Any:
    found = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) and name else found
    return found
