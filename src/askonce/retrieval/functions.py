"""The functions that decide what a client of a database finds: those that the application gave it.

They are to be read, as other code of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from askonce.keys.databases import bind_of
from askonce.keys.own.modules import is_installed
from askonce.keys.sql_engines import given, given_to_engine

_OF_DIALECT = tuple("do_connect do_execute do_executemany do_execute_no_params".split())
_OF_POOL = tuple("connect first_connect checkout checkin reset".split())
_OF_ENGINE = tuple(
    "before_execute before_cursor_execute begin engine_connect set_connection_execution_options"
    " set_engine_execution_options".split()
)


def functions_of(client: object) -> dict[str, Any]:
    """The functions and objects that decide what is found at a client's place, by names.

    Raises:
        Exception: they cannot be found.
    """
    for cls in type(client).__mro__:
        reader = _READERS.get((cls.__module__.partition(".")[0], cls.__name__.removeprefix("Async")))
        if reader is not None:
            return reader(client)
    return {}


def _of_engine(engine: Any) -> dict[str, Any]:
    engine = getattr(engine, "sync_engine", engine)
    listening = {f"on {event} {number}": one for number, (event, one) in enumerate(_listeners(engine))}
    return {**given_to_engine(engine).functions, **listening}


def _of_sessions(sessions: Any) -> dict[str, Any]:
    return functions_of(bind_of(sessions))


def _of_pool(pool: Any) -> dict[str, Any]:
    configure = getattr(pool, "_configure", None)
    functions = given(pool.kwargs or {}, "argument").functions
    return functions if configure is None else {**functions, "configure": configure}


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


_READERS: dict[tuple[str, str], Callable[[Any], dict[str, Any]]] = {
    ("sqlalchemy", "Engine"): _of_engine,
    ("sqlalchemy", "sessionmaker"): _of_sessions,
    ("sqlalchemy", "async_sessionmaker"): _of_sessions,
    ("sqlalchemy", "scoped_session"): _of_sessions,
    ("sqlalchemy", "async_scoped_session"): _of_sessions,
    ("langchain_postgres", "PGEngine"): lambda engine: functions_of(engine._pool),
    ("psycopg_pool", "ConnectionPool"): _of_pool,
}
