"""The ``llm_string`` by which LangChain describes a model and a call to a cache, read back into plain data.

It is either ``<the model's constructor as JSON>---<repr of the call's parameters>``, or only the repr of all
parameters. Both are parsed, so that parameters that cannot change the answer can be left out of the key.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from askonce.keys.normal_form import Uncacheable, actor_is_named
from askonce.langchain.keys.model import Parameters, parameters_from

_LONGEST_REMEMBERED = 65_536
_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
# What a repr holds that is no Python: the texts, which are passed over; classes; members of enumerations.
_TOKEN = re.compile(
    rf"(?:{_TEXT})|<class '(?P<path>[\w.<>]+)'>|<[A-Za-z_][\w.]*: (?P<member>{_TEXT}|-?\d+(?:\.\d+)?)>"
)
_CLASS_CALL = "askonce_class"


def parameters_of(llm_string: str) -> Parameters:
    """The parameters that an ``llm_string`` describes.

    Raises:
        Uncacheable: it shows only the address or the name of something that can change the answer.
    """
    if len(llm_string) > _LONGEST_REMEMBERED or "<class " in llm_string:
        return _read(llm_string)
    return _remembered(llm_string, actor_is_named.get())


def given_in(llm_string: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The arguments of the model's constructor and of the call, as far as an ``llm_string`` shows them.

    Raises:
        Uncacheable: as `parameters_of`.
    """
    constructor, call = _split(llm_string)
    given, arguments = constructor.get("kwargs"), _call_parameters(call)
    return given if isinstance(given, Mapping) else {}, arguments if isinstance(arguments, Mapping) else {}


@lru_cache(maxsize=256)
def _remembered(llm_string: str, in_a_namespace: bool) -> Parameters:
    return _read(llm_string)


def _read(llm_string: str) -> Parameters:
    constructor, call = _split(llm_string)
    return parameters_from(constructor, _call_parameters(call), lasting="<class " not in call)


def _split(llm_string: str) -> tuple[dict[str, Any], str]:
    """The constructor and the call; the seam may also stand in a text of either."""
    at = llm_string.find("}---[") if llm_string.startswith("{") else -1
    while at >= 0:
        try:
            return msgspec.json.decode(llm_string[: at + 1], type=dict[str, Any]), llm_string[at + 4 :]
        except msgspec.DecodeError:
            at = llm_string.find("}---[", at + 1)
    return {}, llm_string


def _call_parameters(shown: str) -> Mapping[str, Any] | str:
    """Read ``[('name', value), …]``; anything else stays as it is."""
    source = _TOKEN.sub(_as_python, shown) if "<" in shown else shown
    try:
        pairs = _value(ast.parse(source, mode="eval").body)
        return {str(name): value for name, value in pairs}
    except Uncacheable:
        raise
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        # Object reprs in the middle. Without an address or a class in it, equal texts mean equal parameters.
        if " at 0x" in shown or "<class " in shown:
            raise Uncacheable("the call's parameters show an object only by its address or class") from error
        return shown


def _as_python(token: re.Match[str]) -> str:
    if token["path"]:
        return f"{_CLASS_CALL}({token['path']!r})"
    return token["member"] or token[0]


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Set(elts=items):
            return {_value(item) for item in items}
        case ast.Dict(keys=names, values=values):
            return {_value(name): _value(value) for name, value in zip(names, values, strict=True) if name}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(path))]) if name == _CLASS_CALL:
            return schema_named(path)
        case ast.Call(func=func, args=positional, keywords=named):
            given = {item.arg or "**": _value(item.value) for item in named}
            return {"call": _value(func), "args": [_value(item) for item in positional], **given}
        case ast.Name(id=name):
            return float(name) if name in ("nan", "inf") else {"name": name}
        case ast.Attribute(value=owner, attr=name):
            return {"attribute": name, "of": _value(owner)}
    raise ValueError(f"{type(node).__name__} in a repr")


def schema_named(path: str) -> Any:
    """The JSON schema of the class of the running program that shows itself by that path.

    Raises:
        Uncacheable: there is none, it has no schema, or another class of that name with another schema lives too.
    """
    module, names = _module_of(path)
    found: Any = module
    for name in names:
        found = getattr(found, name, None)
    if isinstance(found, type) and f"{found.__module__}.{found.__qualname__}" == path:
        bases: tuple[type[Any], ...] = found.__bases__
        twins = [one for base in bases for one in base.__subclasses__() if repr(one) == repr(found)]
        schema = getattr(found, "model_json_schema", None)
        if callable(schema) and len({str(one.model_json_schema()) for one in twins}) == 1:
            return schema()  # of one class, or of several in the same words: a cell of a notebook that ran again
        if module is sys.modules["builtins"]:
            return path
    raise Uncacheable(
        f"the class {path} is shown by its name alone; askonce.langchain.cached sees the class itself"
    )


def _module_of(path: str) -> tuple[Any, list[str]]:
    parts = path.split(".")
    for at in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:at]))
        if module is not None:
            return module, parts[at:]
    return sys.modules["builtins"], parts
