"""What an engine of SQLAlchemy is given beside its URL: whose rows it shows may depend on it.

That are the arguments of its connections (``connect_args``), its execution options (``schema_translate_map``), and
functions of the application's own: ``creator``, listeners of events. Nothing is connected to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from askonce.keys.normal_form import is_credential
from askonce.keys.own.modules import is_installed

_SQLALCHEMY = "sqlalchemy"
_OF_NO_ROWS = frozenset({"compiled_cache", "logging_token"})
_OF_DIALECT = tuple("do_connect do_execute do_executemany do_execute_no_params".split())
_OF_POOL = tuple("connect first_connect checkout checkin reset".split())
_OF_ENGINE = tuple(
    "before_execute before_cursor_execute begin engine_connect set_connection_execution_options"
    " set_engine_execution_options".split()
)
_SCALARS = (str, int, float, type(None))


class Given(NamedTuple):
    """What a client is given.

    Attributes:
        plain: names and values, without credentials.
        functions: by name, what is to be read: functions, and objects that are no plain values.
    """

    plain: list[list[Any]]
    functions: dict[str, Any]


def given(values: Mapping[Any, Any], what: str) -> Given:
    """The members of a map of arguments or options, by what they are."""
    found = Given([], {})
    for name, value in sorted(values.items(), key=lambda pair: repr(pair[0])):
        if isinstance(name, str) and is_credential(name):
            continue
        if _is_plain(value):
            found.plain.append([f"{what} {name!r}", _shown(value)])
        else:
            found.functions[f"{what} {name}"] = value
    return found


def given_to_engine(engine: Any) -> Given:
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
    for number, (event, listener) in enumerate(_listeners(engine)):
        functions[f"on {event} {number}"] = listener
    return Given([pair for part in parts for pair in part.plain], functions)


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


def _listeners(engine: Any) -> Iterator[tuple[str, Any]]:
    """The application's own, of events that come before rows are found."""
    for part, events in ((engine.dialect, _OF_DIALECT), (engine.pool, _OF_POOL), (engine, _OF_ENGINE)):
        for event in events:
            yield from ((event, one) for one in getattr(part.dispatch, event) if _is_own(one))


def _is_own(function: Any) -> bool:
    """Whether a function is the application's own, or SQLAlchemy's around one."""
    function = getattr(function, "func", function)
    function = getattr(function, "__func__", function)
    if not is_installed(getattr(function, "__module__", None) or type(function).__module__):
        return True
    return any(callable(one) and _is_own(one) for one in _enclosed(function))


def _enclosed(function: Any) -> Iterable[Any]:
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue


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
