"""What form of answer a request requires: the schemas of its tools, and of its JSON output.

Read from the arguments of a call, in the shapes in which providers take them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from askonce.entries.json_schema import misfit

_TOOL_LISTS = ("tools", "functions", "toolConfig", "tool_config")
_OF_PARAMETERS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema", "parameter_definitions")
_OF_TEXT = (
    "response_format format output_format text text_format output_config response_json_schema response_schema"
    " guided_json output_schema generation_config"
).split()
_INSIDE = ("json_schema", "schema", "format", "response_json_schema", "response_schema", "output_format")
_JSON = frozenset({"json", "json_object", "application/json"})
_SCHEMA_WORDS = frozenset({"properties", "$ref", "anyOf", "oneOf", "allOf", "$defs"})
_FENCED = re.compile(r"```(?:json)?\s*\n?(.*?)\n?\s*```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Requested:
    """The form that the request requires.

    Attributes:
        tools: the JSON schema of each tool's arguments, as far as it is known.
        all_tools: there are no tools beside these.
        text: the JSON schema of the text, if it is to be JSON of one.
        is_json: the text is to be JSON.
        must_call: a tool is to be called.
    """

    tools: Mapping[str, Any] = field(default_factory=dict)
    all_tools: bool = False
    text: Any = None
    is_json: bool = False
    must_call: bool = False

    def misfit_of_call(self, name: str, arguments: Any) -> str | None:
        """What is wrong with a call of a tool; ``None`` if nothing is known to be."""
        if name not in self.tools:
            return f"there is no tool {name}" if self.all_tools and self.tools else None
        found = misfit(arguments, self.tools[name])
        return found and f"the call of {name} does not fit its schema: {found}"

    def misfit_of_text(self, text: str) -> str | None:
        """What is wrong with a text; ``None`` if nothing is known to be."""
        if self.must_call:
            return "it calls no tool, which the request demands"
        if self.text is None and not self.is_json:
            return None
        value = _as_json(text)
        if value is _NO_JSON:
            return "it is no JSON, which the request demands"
        found = None if self.text is None else misfit(value, self.text)
        return found and f"it does not fit the schema of the request: {found}"


def requested_by(*arguments: Mapping[str, Any]) -> Requested:
    """The form that the arguments of a call require; later ones count more."""
    tools: dict[str, Any] = {}
    unknown, text, is_json, must_call = False, None, False, False
    for given in arguments:
        for name in _TOOL_LISTS:
            for tool in _tools_in(given.get(name)):
                named = _named(tool)
                if named is None:
                    unknown = True
                else:
                    tools[named[0]] = named[1]
        for name in _OF_TEXT:
            value = given.get(name)
            if value is not None:
                text = _schema_in(value) or text
                is_json = is_json or _is_json(value)
        is_json = is_json or given.get("response_mime_type") in _JSON
        must_call = must_call or any(_must_call(given.get(name)) for name in ("tool_choice", "function_call"))
    return Requested(tools, not unknown, text, is_json, must_call and bool(tools))


def _tools_in(given: Any) -> Iterator[Any]:
    if isinstance(given, Mapping):
        given = given.get("tools") or given.get("function_declarations") or given.get("functionDeclarations")
    for tool in given if isinstance(given, (list, tuple)) else ():
        inner = None
        if isinstance(tool, Mapping):
            inner = tool.get("function_declarations") or tool.get("functionDeclarations")
        if isinstance(inner, (list, tuple)):
            yield from inner
        else:
            yield tool


def _named(tool: Any) -> tuple[str, Any] | None:
    """The name of a tool and the schema of its arguments; ``None`` if they cannot be read."""
    if isinstance(tool, type) and hasattr(tool, "model_json_schema"):
        return tool.__name__, tool.model_json_schema()
    if not isinstance(tool, Mapping):
        return None
    for inner in ("function", "toolSpec"):
        if isinstance(tool.get(inner), Mapping):
            tool = tool[inner]
    name = tool.get("name") or tool.get("title")
    if not isinstance(name, str):
        return None
    for place in _OF_PARAMETERS:
        schema = tool.get(place)
        if isinstance(schema, Mapping):
            return name, schema.get("json", schema)
    return None if "type" in tool and tool["type"] not in ("function", "custom") else (name, {})


def _schema_in(value: Any, depth: int = 0) -> Any:
    """The JSON schema in a response format."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    if not isinstance(value, Mapping) or depth > len(_INSIDE):
        return None
    if value.keys() & _SCHEMA_WORDS or value.get("type") == "object":
        return value
    return next((found for one in _INSIDE if (found := _schema_in(value.get(one), depth + 1)) is not None), None)


def _is_json(value: Any) -> bool:
    if isinstance(value, Mapping):
        inner = value.get("format")
        return value.get("type") in _JSON or value.get("response_mime_type") in _JSON or _is_json(inner)
    return isinstance(value, str) and value in _JSON


def _must_call(choice: Any) -> bool:
    if isinstance(choice, Mapping):
        return choice.get("type", "function") in ("function", "tool", "any", "required") and bool(choice)
    return choice is True or choice in ("any", "required")


_NO_JSON = object()


def _as_json(text: str) -> Any:
    fenced = _FENCED.search(text)
    for part in (text, fenced[1] if fenced else ""):
        try:
            return json.loads(part, strict=False)
        except (ValueError, RecursionError):
            continue
    return _NO_JSON
