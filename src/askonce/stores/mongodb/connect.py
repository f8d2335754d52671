"""Clients for threads, event loops and forked processes, with their timeouts and errors."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, NoReturn, ParamSpec
from urllib.parse import unquote, urlsplit

import pymongo
from bson.errors import BSONError
from pymongo import AsyncMongoClient, MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
)
from pymongo.synchronous.database import Database
from pymongo.uri_parser import split_options

from askonce.errors import ConfigError, StoreError, StoreUnavailable
from askonce.stores.fork import fork_lock
from askonce.stores.mongodb.layout import Steps, T
from askonce.stores.shutdown import refuse_at_exit

P = ParamSpec("P")

CONNECT_SECONDS = 3.0
"""How long a connection may take to be made. It is made in the background, so no call waits longer."""

_AUTHENTICATION_FAILED, _UNAUTHORIZED, _ATLAS_ERROR = 18, 13, 8000
# What pymongo appends to the reason why it could not connect: timeouts, and descriptions of the servers.
_TOPOLOGY = re.compile(r"\s*\(|, Timeout: |, Topology Description: ")
# Clients of the parent process. They cannot be closed in the child, and must not be collected unclosed.
_abandoned: list[object] = []


class Clients:
    """The client of this process's threads, and one for each running event loop.

    Args:
        url: a MongoDB connection string.
        name: the store's URL without credentials, for messages.

    Attributes:
        name: that name.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self.name = name
        self._database = _database_in(url)
        self._check_options()
        self._lock = fork_lock()
        self._pid = os.getpid()
        self._client: MongoClient[dict[str, Any]] | None = None
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = (
            weakref.WeakKeyDictionary()
        )
        if url.startswith("mongodb+srv") and importlib.util.find_spec("dns") is None:
            raise ConfigError("a mongodb+srv:// store needs dnspython: pip install 'pymongo[srv]'")
        if not url.startswith("mongodb+srv"):  # whose name would be resolved at once
            self._client = self._open(MongoClient)

    def _check_options(self) -> None:
        """Refuse options that pymongo does not support or cannot read; it would warn and ignore them."""
        with self._usable_url():
            query = urlsplit(self._url).query
        for option in filter(None, query.split("&")):
            try:
                split_options(option, warn=False)
            except (ConfigurationError, ValueError, TypeError) as error:
                name = option.partition("=")[0]  # not the value, which may be a credential
                raise ConfigError(
                    f"invalid option {name!r} in the MongoDB URL; see pymongo's options ({type(error).__name__})"
                ) from None

    def _open(self, kind: Any) -> Any:
        with self._usable_url():
            return kind(
                self._url,
                connect=False,
                connectTimeoutMS=int(CONNECT_SECONDS * 1000),
                serverSelectionTimeoutMS=int(CONNECT_SECONDS * 1000),
                minPoolSize=1,  # made in the background, even if it takes longer than a call may
                driver=pymongo.driver_info.DriverInfo("askonce"),
            )

    @contextmanager
    def _usable_url(self) -> Iterator[None]:
        try:
            yield
        except (ConfigurationError, ValueError, TypeError, OSError) as error:
            if "@" in self._url:  # the message may quote a part of the password
                raise ConfigError(
                    "invalid MongoDB URL; user name and password must be percent-encoded "
                    f"(urllib.parse.quote_plus), and its options valid ({type(error).__name__})"
                ) from None
            raise ConfigError(f"invalid MongoDB URL {self.name}: {error}") from error

    def run(
        self,
        seconds: float,
        steps: Callable[Concatenate[Any, P], Steps[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation, whose first argument is the database, within that time."""
        with self.bounded(seconds):
            running = steps(self._of_threads(), *args, **kwargs)
            result = None
            while True:
                try:
                    result = running.send(result)
                except StopIteration as end:
                    value: T = end.value
                    return value

    async def arun(
        self,
        seconds: float,
        steps: Callable[Concatenate[Any, P], Steps[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `run`, on the running event loop."""
        with self.bounded(seconds):
            running = steps(await self._of_this_loop(), *args, **kwargs)
            result, error = None, None
            while True:
                try:
                    call = running.send(result) if error is None else running.throw(error)
                except StopIteration as end:
                    value: T = end.value
                    return value
                try:
                    result, error = await _apart(call), None
                except Exception as raised:
                    error = raised

    def _of_threads(self) -> Database[dict[str, Any]]:
        with self._lock:
            self._notice_fork()
            if self._client is None:
                self._client = self._open(MongoClient)
            return self._client[self._database]

    async def _of_this_loop(self) -> AsyncDatabase[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._notice_fork()
            held = self._by_loop.get(loop)
            if held is None:
                held = self._by_loop[loop] = _LoopClient(self._open(AsyncMongoClient))
        await held.bind()
        return held.client[self._database]

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            _abandoned.extend((self._client, *self._by_loop.values()))
            self._client = None
            self._by_loop = weakref.WeakKeyDictionary()
            self._pid = os.getpid()

    def close(self) -> None:
        """Close the threads' client."""
        with self._lock:
            self._notice_fork()
            client, self._client = self._client, None
        if client is not None:
            with pymongo.timeout(CONNECT_SECONDS):
                client.close()

    async def aclose(self) -> None:
        """Close the running event loop's client, and the threads' one."""
        with self._lock:
            self._notice_fork()
            held = self._by_loop.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held.close()
        await asyncio.to_thread(self.close)

    @contextmanager
    def bounded(self, seconds: float) -> Iterator[None]:
        """Limit the time of what is done inside, and raise its errors as the store's."""
        refuse_at_exit(self.name)
        try:
            with pymongo.timeout(seconds):
                yield
        except BulkWriteError as error:  # its text is a whole page
            raise StoreError(f"{self.name}: {first_write_error(error)}") from error
        except (PyMongoError, BSONError) as error:
            message = _TOPOLOGY.split(str(error))[0] if isinstance(error, ConnectionFailure) else str(error)
            text = f"{self.name}: {type(error).__name__}: {message[:200]}"
            down = isinstance(error, ConnectionFailure | ExecutionTimeout) or getattr(error, "timeout", False)
            raise (StoreUnavailable(text) if down else StoreError(text)) from error

    @property
    def rights(self) -> str:
        """What a user needs."""
        return f"the role readWrite on the database {self._database!r}"

    def refuse(self, error: StoreError) -> NoReturn:
        """Raise an error that persists with advice; others are raised as they are.

        Raises:
            ConfigError: password, privileges or server are unsuitable.
        """
        cause = error.__cause__
        if isinstance(error, StoreUnavailable):
            raise error
        if isinstance(cause, OperationFailure) and cause.code in (_AUTHENTICATION_FAILED, _ATLAS_ERROR):
            advice = "user name and password were refused; check also authSource in the URL"
        elif isinstance(cause, OperationFailure) and cause.code == _UNAUTHORIZED:
            advice = f"the user needs {self.rights}"
        elif isinstance(cause, ConfigurationError):
            advice = f"the client cannot use it: {cause}"
        else:
            advice = f"it lacks what is needed (MongoDB 4.2 or newer): {str(cause)[:200]}"
        raise ConfigError(f"{self.name}: {advice}") from cause


class _LoopClient:
    """A client that is closed with its event loop."""

    def __init__(self, client: AsyncMongoClient[dict[str, Any]]) -> None:
        self.client = client
        self._life = self._live()
        self._bound = False

    async def bind(self) -> None:
        if not self._bound:
            self._bound = True
            await anext(self._life)

    async def close(self) -> None:
        await self._life.aclose()

    async def _live(self) -> AsyncGenerator[None]:
        # The loop closes its unfinished asynchronous generators when it ends, as `asyncio.run` does.
        try:
            yield
        finally:
            await self.client.close()


def first_write_error(error: BulkWriteError) -> str:
    """The server's message on the first refused write of a batch."""
    details = error.details or {}
    errors = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return str(errors[0].get("errmsg", error))[:200] if errors else str(error)[:200]


def _database_in(url: str) -> str:
    name = unquote(urlsplit(url).path).strip("/") or "askonce"
    if len(name) > 63 or any(sign in ' ."$/\\\0' for sign in name):
        raise ConfigError(
            "the path of a MongoDB URL must be a database name, as in mongodb://host/askonce "
            '(at most 63 letters, none of them a space or one of ."$/\\), and a user name or password before it '
            "must be percent-encoded"
        )
    return name


_running: set[asyncio.Future[Any]] = set()  # a loop holds its tasks weakly


async def _apart(call: Awaitable[T]) -> T:
    """The result of a driver's call, which goes on by itself if its caller is cancelled.

    A call that is cancelled in PyMongo's connection pool can wait for a lock there for ever. Its time is limited.
    """
    task = asyncio.ensure_future(call)
    _running.add(task)
    task.add_done_callback(_ended)
    return await asyncio.shield(task)


def _ended(task: asyncio.Future[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # its caller has it, or is gone
