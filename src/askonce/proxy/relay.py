"""Requests that are passed on as they are, and replies that are passed back as they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Coroutine
from typing import Any

import msgspec

from askonce.proxy.call import ClientLeft, ProxyCall
from askonce.proxy.config import UpstreamSettings
from askonce.proxy.upstream import UpstreamFailed, Upstreams
from askonce.wire.headers import Forwarded, of_forwarded

logger = logging.getLogger("askonce")


class UpstreamTarget(msgspec.Struct, frozen=True):
    """Where a request goes.

    Attributes:
        upstream: the provider.
        url: there, with the query.
    """

    upstream: UpstreamSettings
    url: str


class Relay:
    """Passes requests on."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams

    async def pass_on(
        self,
        call: ProxyCall,
        target: UpstreamTarget,
        body: bytes | AsyncIterable[bytes] | None,
        why: Forwarded | None = None,
        detail: str = "",
    ) -> None:
        """Pass a request on, and its reply back; if the client leaves, the call of the provider ends too.

        Args:
            call: the request.
            target: where it goes.
            body: of the request.
            why: what its reply says of the cache; ``None``: nothing.
            detail: a word more of that.
        """
        await while_there(call, self._passed(call, target, body, why, detail))

    async def _passed(
        self,
        call: ProxyCall,
        target: UpstreamTarget,
        body: bytes | AsyncIterable[bytes] | None,
        why: Forwarded | None,
        detail: str,
    ) -> None:
        try:
            reply = await self.upstreams.send(target.upstream, call.method, target.url, call.headers, body)
            try:
                about = [of_forwarded(why, status=reply.head.status, detail=detail)] if why else []
                raw = [(name.encode(), value.encode()) for name, value in about]
                await call.start(reply.head.status, [*reply.head.raw, *raw])
                async for part in reply.parts():
                    await call.write(part)
                await call.finish()
            finally:
                reply.close()
        except UpstreamFailed as error:
            await failed(call, error, *([of_forwarded(why, detail=detail)] if why else []))


async def while_there(call: ProxyCall, responding: Coroutine[Any, Any, None]) -> None:
    """Respond to a client; that ends when it leaves."""
    work = asyncio.create_task(responding)
    watch = asyncio.create_task(call.left())
    try:
        await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        await work
    except (asyncio.CancelledError, ClientLeft):
        if not work.done():  # it is this task that is to end
            work.cancel()
            raise
    finally:
        watch.cancel()


async def failed(call: ProxyCall, error: UpstreamFailed, *headers: tuple[str, str]) -> None:
    """Say that a provider failed; a response that has begun gets no end, so that the connection is closed."""
    if call.begun:
        logger.warning("askonce: %s in the middle of a response, which its client sees to be cut", error)
    else:
        await call.refuse(error.status, str(error), "upstream_error", *headers)
