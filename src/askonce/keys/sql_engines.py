"""What an engine of SQLAlchemy is given beside its URL: whose rows it shows may depend on it.

That are the arguments of its connections (``connect_args``), its execution options (``schema_translate_map``), and
its ``creator``. Nothing is connected to.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from askonce.keys.normal_form import is_credential

_SQLALCHEMY = "sqlalchemy"
_OF_NO_ROWS = frozenset({"compiled_cache", "logging_token"})
_SCALARS = (str, int, float, type(None))


class GivenValues(NamedTuple):
    """What a client is given.

    Attributes:
        plain: names and values, without credentials.
        functions: by name, what is to be read: functions, and objects that are no plain values.
    """

    plain: list[list[Any]]
    functions: dict[str, Any]


def given(values: Mapping[Any, Any], what: str) -> GivenValues:
    """The members of a map of arguments or options, by what they are."""
    found = GivenValues([], {})
    for name, value in sorted(values.items(), key=lambda pair: repr(pair[0])):
        if isinstance(name, str) and is_credential(name):
            continue
        if _is_plain(value):
            found.plain.append([f"{what} {name!r}", _shown(value)])
        else:
            found.functions[f"{what} {name}"] = value
    return found


def given_to_engine(engine: Any) -> GivenValues:
    """What an engine is given beside its URL.

    Raises:
        Exception: it is of another version of SQLAlchemy, which holds it elsewhere.
    """
    engine = getattr(engine, "sync_engine", engine)
    options = {name: one for name, one in engine.get_execution_options().items() if name not in _OF_NO_ROWS}
    parts = [given(options, "option"), given(_connect_args(engine), "argument")]
    functions = {name: one for part in parts for name, one in part.functions.items()}
    creator = engine.pool._creator
    if creator.__module__ != f"{_SQLALCHEMY}.engine.create":
        functions["creator"] = creator
    return GivenValues([pair for part in parts for pair in part.plain], functions)


def _connect_args(engine: Any) -> dict[str, Any]:
    """Those that are not from the URL."""
    creator = engine.pool._creator
    if creator.__module__ != f"{_SQLALCHEMY}.engine.create":
        return {}
    held = dict(zip(creator.__code__.co_freevars, creator.__closure__, strict=True))
    of_url = engine.dialect.create_connect_args(engine.url)[1]
    return {
        name: one
        for name, one in held["cparams"].cell_contents.items()
        if name not in of_url or not (of_url[name] is one or of_url[name] == one)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, itertools.chain(value, value.values())))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, _SCALARS)


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = [[repr(name), _shown(one)] for name, one in value.items() if not is_credential(str(name))]
        return sorted(pairs, key=lambda pair: str(pair[0]))
    if isinstance(value, (list, tuple)):
        return [_shown(one) for one in value]
    return value
