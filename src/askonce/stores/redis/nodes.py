"""The nodes of a Redis cluster, under asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, TimeoutError, TryAgainError

from askonce.stores.redis.errors import CLOSED, REDIS_ERRORS
from askonce.stores.redis.plans import Command

_REDIRECTED = (MovedError, AskError, TryAgainError)
_LOST = (*CLOSED, TimeoutError)
_SEARCH_SECONDS = 0.5
"""How long the nodes that were found are not looked for again."""


class Nodes:
    """Sends each command to the node that holds its key, so that a node that is down fails only its own commands.

    After an error of any node redis-py's client looks for all nodes anew, as a part of one command for which all
    others wait. If that command is cut off, all connections are closed; and the search fails if the first node is
    the one that is down. Here the search is a task of its own.

    Args:
        client: a ``redis.asyncio.cluster.RedisCluster`` of the running event loop.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._ready = False
        self._search: asyncio.Task[None] | None = None
        self._searched_at = float("-inf")

    async def ready(self) -> None:
        """Wait until the nodes have been found.

        Raises:
            RedisError, RedisClusterException: they cannot be.
        """
        if not self._ready:
            await asyncio.shield(self._searching(self._open))

    async def execute_command(self, *command: Any) -> Any:
        """Send a command, once the nodes are `ready`.

        Raises:
            RedisError: as redis-py raises it.
        """
        node = self._node_of(command)
        if node is None:
            return await self._client.execute_command(*command)
        try:
            return await node.execute_command(*command)
        except _REDIRECTED:
            return await self._client.execute_command(*command)
        except BaseException as error:
            await self._failed(node, error)
            raise

    async def execute_commands(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands with keys, those of one node together; an error takes the place of a reply."""
        sent = [PipelineCommand(position, *command) for position, command in enumerate(commands)]
        parts: dict[str, tuple[ClusterNode, list[PipelineCommand]]] = {}
        for one in sent:
            node = self._node_of(one.args)
            parts.setdefault(node.name, (node, []))[1].append(one)
        await asyncio.gather(*(self._execute_on(*part) for part in parts.values()))
        for one in sent:
            if isinstance(one.result, _REDIRECTED):
                try:
                    one.result = await self._client.execute_command(*one.args)
                except REDIS_ERRORS as error:
                    one.result = error
        return [one.result for one in sent]

    async def _execute_on(self, node: ClusterNode, commands: list[PipelineCommand]) -> None:
        try:
            await node.execute_pipeline(commands)
        except REDIS_ERRORS as error:
            for one in commands:
                one.result = error
        except BaseException as error:
            await self._failed(node, error)
            raise
        for lost in [one.result for one in commands if isinstance(one.result, _LOST)][:1]:
            await self._failed(node, lost)

    def _node_of(self, command: Sequence[Any]) -> Any:
        """The node of a command's key; ``None`` for a command without one."""
        keys = command[3:] if command[0] in ("EVAL", "EVALSHA") else command[1:]
        return self._client.nodes_manager.get_node_from_slot(key_slot(keys[0])) if keys else None

    async def _failed(self, node: Any, error: BaseException) -> None:
        if isinstance(error, CLOSED):  # the other idle connections may be closed, too
            await getattr(node, "disconnect_free_connections", node.disconnect)()
        # A command that a time limit cancels may be at a node that is down, too.
        is_lost = isinstance(error, (*_LOST, asyncio.CancelledError))
        if is_lost and time.monotonic() - self._searched_at > _SEARCH_SECONDS:
            self._searching(self._client.nodes_manager.initialize)

    def _searching(self, search: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """The search that is under way, or a new one."""
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(search())
            self._search.add_done_callback(self._searched)
        return self._search

    def _searched(self, search: asyncio.Task[None]) -> None:
        self._searched_at = time.monotonic()
        if not search.cancelled():
            search.exception()  # is no news: the commands fail, too

    async def _open(self) -> None:
        tried: set[str] = set()
        while not self._ready:
            try:
                await self._client.initialize()
                self._ready = True
            except _LOST:
                # The nodes are found, but the first one, from which it reads the list of commands, does not answer.
                first = next(iter(self._client.get_primaries()), None)
                if first is None or first.name in tried:
                    raise
                tried.add(first.name)
                found = self._client.nodes_manager.nodes_cache
                found[first.name] = found.pop(first.name)  # the last one now

    async def aclose(self) -> None:
        """End a search that is under way."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)
