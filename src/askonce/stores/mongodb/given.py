"""A ready client of the application's: it is used, and never closed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeAlias

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from askonce.errors import ConfigError
from askonce.stores.mongodb.connect import Clients
from askonce.stores.mongodb.layout import Steps, T

MongoDBClient: TypeAlias = MongoClient[Any]

P = ParamSpec("P")

_THREADS = 8


class GivenClient(Clients):
    """`Clients` over one that the application opened. Event loops call it in threads of their own.

    Args:
        client: the client; with its default database, or ``askonce``.

    Raises:
        ConfigError: it is no ``MongoClient``.
    """

    def __init__(self, client: Any) -> None:
        if not isinstance(client, MongoClient):
            raise ConfigError(
                f"a {type(client).__name__} cannot be used as a store; give a pymongo.MongoClient, or a URL"
            )
        try:
            hosts = sorted(client.nodes or client.topology_description.server_descriptions())
            database = client.get_default_database("askonce")
        except PyMongoError as error:
            raise ConfigError(f"the MongoClient cannot be used: {error}") from error
        self.name = "mongodb://" + ",".join(f"{host}:{port}" for host, port in hosts) + f"/{database.name}"
        self._database, self._given = database.name, database
        self._threads: tuple[int, ThreadPoolExecutor | None] = (0, None)

    def _of_threads(self) -> Any:
        return self._given

    async def arun(
        self, seconds: float, steps: Callable[Concatenate[Any, P], Steps[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        pid, threads = self._threads
        if threads is None or pid != os.getpid():
            threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="askonce-mongodb")
            self._threads = os.getpid(), threads
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, lambda: self.run(seconds, steps, *args, **kwargs))

    def close(self) -> None:
        """End the threads. The client stays open."""
        (pid, threads), self._threads = self._threads, (0, None)
        if threads is not None and pid == os.getpid():
            threads.shutdown()

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)
