"""What the provider answered, as it comes back from the cache: in the form of the SDK's object that it was.

A program that works on a fresh answer works on a hit: methods and attributes are those of the SDK's object, which
is built anew where its class is loaded; and items can be read, as of a map.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from llama_index.core.bridge.pydantic import BaseModel

_SDKS = frozenset("openai anthropic google mistralai groq cohere ollama together fireworks".split())
"""Packages of whose classes objects are built; what a store says is no reason to make any other."""


class RawObject(dict[str, Any]):
    """A map that reads as the SDK's object did: by items, by attributes, and by the object's own methods."""

    _askonce_class: str = ""
    """Its path, and after ``-`` the fields that the provider did not give, of which `_built` makes none."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name == "_request_id":  # OpenAI's and Anthropic's SDKs: of a request that a hit has not made
            return None
        # Pydantic's own comparison looks up its names.
        built = None if name.startswith("__") and not name.startswith("__pydantic_") else self._built()
        if built is None:
            raise AttributeError(name)
        return getattr(built, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """For `isinstance`: the SDK's class, where it is loaded; it is a map all the same."""
        return _class_at(self._askonce_class) or RawObject

    def __eq__(self, other: object) -> bool:
        """Of the same content: as another one, a map, or the SDK's object."""
        if issubclass(type(other), BaseModel):
            return bool(self._built() == other)
        return dict.__eq__(self, other)

    __hash__ = None

    def __reduce__(self) -> Any:
        return _record, (dict(self), self._askonce_class)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """The plain data; options as of pydantic's method."""
        built = self._built()
        if built is not None:
            dumped: dict[str, Any] = built.model_dump(**options)
            return dumped
        return {
            name: _plain(value)
            for name, value in self.items()
            if not (options.get("exclude_none") and value is None)
            and name not in (options.get("exclude") or ())
            and name in (options.get("include") or self)
        }

    def model_dump_json(self, *, indent: int | None = None, **options: Any) -> str:
        """The plain data as JSON; options as of pydantic's method."""
        built = self._built()
        if built is not None:
            return str(built.model_dump_json(indent=indent, **options))
        separators = None if indent else (",", ":")
        return json.dumps(
            self.model_dump(**options), indent=indent, separators=separators, ensure_ascii=False, default=str
        )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
        """A copy, as pydantic's method makes it."""
        return _record({**_plain(self), **(update or {})}, self._askonce_class)

    def copy(self) -> Any:
        """A copy of the same kind."""
        return self.model_copy()

    def _built(self) -> Any:
        cls = _class_at(self._askonce_class)
        if cls is None:
            return None
        data = _given(self)
        try:
            is_lenient = hasattr(cls, "to_dict")  # as OpenAI's and Anthropic's are: it takes what servers say
            return cls.construct(**data) if is_lenient else cls.model_validate(data)
        except Exception:
            return None


def _record(data: dict[str, Any], path: str) -> RawObject:
    return records(data, {"": path} if path else {})  # type: ignore[no-any-return]


def _class_at(path: str) -> Any:
    module, _, name = path.partition("-")[0].partition(":")
    found: Any = sys.modules.get(module) if module.partition(".")[0] in _SDKS else None
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _given(value: Any) -> Any:
    """Plain data without the fields that the provider did not give."""
    if isinstance(value, dict):
        path: str = getattr(value, "_askonce_class", "") if issubclass(type(value), RawObject) else ""
        unset = frozenset(path.partition("-")[2].split(","))
        return {name: _given(item) for name, item in value.items() if item is not None or name not in unset}
    return [_given(item) for item in value] if isinstance(value, list) else value


def classes_in(value: Any, place: str = "") -> dict[str, str]:
    """By place, the classes of the SDK's objects in a value."""
    found = {}
    if isinstance(value, RawObject):
        found = {place: value._askonce_class} if value._askonce_class else {}
    elif isinstance(value, BaseModel):
        cls = type(value)
        if cls.__module__.partition(".")[0] in _SDKS and "[" not in cls.__qualname__:
            unset = sorted(cls.model_fields.keys() - value.__pydantic_fields_set__)
            found = {place: f"{cls.__module__}:{cls.__qualname__}" + ("-" + ",".join(unset) if unset else "")}
        value = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    if isinstance(value, Mapping):
        parts: Any = value.items()
    else:
        parts = enumerate(value) if isinstance(value, (list, tuple)) else ()
    for name, item in parts:
        if isinstance(item, (Mapping, BaseModel, list, tuple)):
            found |= classes_in(item, f"{place}/{name}")
    return found


def records(value: Any, classes: Mapping[str, str], place: str = "") -> Any:
    """Plain data as `RawObject` objects and lists of them."""
    if isinstance(value, dict):
        record = RawObject((name, records(item, classes, f"{place}/{name}")) for name, item in value.items())
        if place in classes:
            record._askonce_class = classes[place]
        return record
    if isinstance(value, list):
        return [records(item, classes, f"{place}/{at}") for at, item in enumerate(value)]
    return value


# -- of a stream, and not of one -----------------------------------------------------------------------------------

_WHOLE, _CHUNK = "chat.completion", "chat.completion.chunk"
_CLASSES = {
    _WHOLE: "openai.types.chat.chat_completion:ChatCompletion",
    _CHUNK: "openai.types.chat.chat_completion_chunk:ChatCompletionChunk",
}


def as_requested(
    raw: Any, *, streamed: bool, message: Mapping[str, Any], ended: str | None
) -> tuple[Any, str | None]:
    """OpenAI's chat completion as a stream's last chunk, or the other way round; all else as it is.

    Args:
        raw: what was stored.
        streamed: the caller streams.
        message: role, content and tool calls of the answer, in OpenAI's words.
        ended: why it ended, if known.

    Returns:
        it, and the path of its class where that is another one than before.
    """
    kind = raw.get("object") if isinstance(raw, dict) else None
    wanted = _CHUNK if streamed else _WHOLE
    if kind not in _CLASSES or kind == wanted or (streamed and "choices" not in raw):
        return raw, None
    choice: dict[str, Any] = {"index": 0, "finish_reason": ended, "logprobs": None}
    choice["delta" if streamed else "message"] = {} if streamed else dict(message)
    return {**raw, "object": wanted, "choices": [choice]}, _CLASSES[wanted]
