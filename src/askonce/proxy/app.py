"""The ASGI application. Nothing stands between the server and it: half of what a hit costs is the server's."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable

from askonce.cache import Cache
from askonce.concurrency.beside import LARGE_BYTES, beside, beside_if
from askonce.errors import ConfigError
from askonce.options import cache_options
from askonce.proxy.admin import TOKEN_VARIABLE, Admin
from askonce.proxy.answers import Answers
from askonce.proxy.browsers import foreign_in
from askonce.proxy.call import ClientLeft, Message, ProxyCall
from askonce.proxy.config import GRACE_SECONDS, ProxySettings
from askonce.proxy.embeddings import Embeddings
from askonce.proxy.own_paths import is_own
from askonce.proxy.reading import RequestReader
from askonce.proxy.relay import Relay, UpstreamTarget
from askonce.proxy.tenants import ProxyKey, read_keys, shown_key
from askonce.proxy.upstream import Upstreams
from askonce.wire.apis import api_of
from askonce.wire.directives import read_directives
from askonce.wire.headers import Forwarded
from askonce.wire.refusals import nothing_cached
from askonce.wire.requests import WireRequest, is_unreadable

SECRET_VARIABLE = "ASKONCE_PROXY_SECRET"
logger = logging.getLogger("askonce")


class ProxyApp:
    """The proxy as an ASGI application.

    Args:
        settings: of the proxy.

    Raises:
        ConfigError: a setting is wrong, or the store cannot be used.
    """

    def __init__(self, settings: ProxySettings) -> None:
        settings.check()
        self._settings = settings
        self._keys = None if settings.keys_file is None else read_keys(settings.keys_file)
        holds_key = any(one.key_env for one in settings.upstreams)
        self._is_open = holds_key and self._keys is None  # who reaches it spends the provider's key
        self._secret = hashlib.blake2b(os.environ.get(SECRET_VARIABLE, "").encode()).digest()
        self.cache = Cache(settings.store, **settings.cache)
        self._admin = Admin(self.cache, os.environ.get(TOKEN_VARIABLE, ""))

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] == "http":
            call = ProxyCall(scope, receive, send)
            try:
                await self._respond(call)
            except ClientLeft:
                pass
            except asyncio.CancelledError:  # by the server, which waits no longer; a response that has begun is cut
                if not call.begun:
                    await call.refuse(503, "the proxy stops", "proxy_stopping")
            except Exception:
                logger.exception("askonce: a request to the proxy failed")
                if not call.begun:
                    await call.refuse(502, "the request failed; the log of the proxy says why", "proxy_error")
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _live(
        self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        await receive()
        self._upstreams = Upstreams(self._settings)
        limits, namespaces = self.cache.engine.settings, self._settings.namespaces
        if namespaces is None and (limits.max_bytes is not None or limits.max_entries is not None):
            namespaces = ()  # each has a limit of its own
        self._reader = RequestReader(
            self._upstreams, share=self._settings.share, secret=self._secret, namespaces=namespaces
        )
        relay = Relay(self._upstreams)
        most = self._settings.max_body_bytes
        self._answers, self._relay = Answers(self.cache.engine, relay, most), relay
        self._embeddings = Embeddings(self.cache.engine, relay, most)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._answers.finish(GRACE_SECONDS)
        await self._upstreams.close()
        await self.cache.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _respond(self, call: ProxyCall) -> None:
        if (call.header("upgrade") or "").lower() == "websocket":
            await call.refuse(501, "WebSockets are not passed on", "not_supported")
            return
        if call.header("upgrade") and (call.header("content-length") or call.header("transfer-encoding")):
            # The server has taken the body for the other protocol.
            why = "the client offers to go on in another protocol (Upgrade); set it to HTTP/1.1"
            await call.refuse(400, why, "not_supported")
            return
        if is_own(call.path):
            await self._admin.respond(call)
            return
        if self._is_open and (foreign := foreign_in(call)) is not None:
            hint = f"a web page may not spend the provider's key ({foreign}): call 127.0.0.1, or give --keys-file"
            await call.refuse(403, hint, "forbidden")
            return
        key: ProxyKey | None = None
        if self._keys is not None and (key := self._keys.find(shown_key(call.headers))) is None:
            await call.refuse(401, "this key is not one of the proxy's", "invalid_api_key")
            return
        body = await call.body(self._settings.max_body_bytes) if self._reader.needs_body(call) else None
        try:
            is_large = body is not None and len(body) > LARGE_BYTES
            read = await beside_if(is_large, self._reader.read, call, body)
            is_refused = read.wire is None and read_directives(call.headers).only_if_cached
        except ConfigError as error:
            await call.refuse(400, str(error), "invalid_request_error")
            return
        models = " and ".join(map(repr, read.models)) or None
        if read.target is None:
            meant = (
                f"the model {models}" if models else "a request that names no model: give the upstreams prefixes"
            )
            await call.refuse(404, f"no upstream for {call.path} and {meant}", "no_upstream")
        elif key is not None and key.models and not (read.is_read and key.allows(read.models, read.others)):
            named = " and ".join(map(repr, dict.fromkeys((*read.models, *read.others))))
            why = f"this key is not for the model {named}"
            if not named or not read.is_read:
                why = "this key is for some models alone, and which one the request means cannot be read"
            await call.refuse(403, why, "model_not_allowed")
        elif is_refused:
            await call.say(nothing_cached("such a request is never cached"))
        elif key is None:
            await self._answer(call, read.target, read.wire, body)
        else:  # a tenant of a key is one of the cache: its answers are in a namespace of their own
            with cache_options(namespace=key.tenant):
                await self._answer(call, read.target, read.wire, body)

    async def _answer(
        self, call: ProxyCall, target: UpstreamTarget, wire: WireRequest | None, body: bytes | None
    ) -> None:
        if wire is None or body is None:
            await self._pass_on(call, target, body)
        elif wire.api == "embeddings":
            await self._embeddings.respond(call, wire, target, body)
        else:
            await self._answers.respond(call, wire, target, body)

    async def _pass_on(self, call: ProxyCall, target: UpstreamTarget, body: bytes | None) -> None:
        """Pass on what is not cached: it calls another API, or its body was not read."""
        is_known = api_of(call.method, call.path) is not None
        why: Forwarded | None = "bypass" if is_known else None
        if body is None:
            has_body = call.header("content-length") or call.header("transfer-encoding")
            if not has_body:
                await call.body(0)
            parts = call.parts() if has_body else None
            await self._relay.pass_on(call, target, parts, why, "too-large" if is_known else "")
        elif is_known and await beside(is_unreadable, call.headers, body):
            await call.refuse(400, "the body is no JSON object", "invalid_request_error")
        else:
            await self._relay.pass_on(call, target, body, why, "unreadable" if is_known else "")
