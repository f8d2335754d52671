"""The proxy's own paths: health, readiness and statistics."""

from __future__ import annotations

import hmac

import msgspec

from askonce.cache import Cache
from askonce.errors import StoreError
from askonce.proxy.call import ProxyCall
from askonce.proxy.own_paths import OPENAPI, PATHS, description
from askonce.stats import Stats

TOKEN_VARIABLE = "ASKONCE_PROXY_ADMIN_TOKEN"


class Admin:
    """Responds on the proxy's own paths.

    Args:
        cache: the cache.
        token: of whoever may see statistics; empty: nobody may.
    """

    def __init__(self, cache: Cache, token: str) -> None:
        self._cache, self._token = cache, token

    async def respond(self, call: ProxyCall) -> None:
        """Respond to a request to a path of the proxy's own."""
        if call.path not in PATHS:
            await call.refuse(404, f"there is no {call.path}", "not_found")
        elif call.method not in ("GET", "HEAD"):
            await call.refuse(405, "use GET", "method_not_allowed", ("allow", "GET"))
        elif call.path == "/health":
            await _json(call, {"status": "ok"})
        elif call.path == OPENAPI:
            await _json(call, msgspec.Raw(description()))
        elif call.path == "/ready":
            # Without its store the proxy serves all the same, only uncached: it stays ready.
            state = self._cache.engine.breaker.health.state
            await _json(call, {"status": "ok", "store": "down" if state == "open" else "up"})
        elif not self._token:
            await call.refuse(403, f"set {TOKEN_VARIABLE} to see statistics", "forbidden")
        elif not self._is_shown(call.header("authorization") or ""):
            await call.refuse(401, "this is for the administrator", "unauthorized", ("www-authenticate", "Bearer"))
        else:
            await _json(call, await self._stats())

    async def _stats(self) -> Stats:
        """What is counted; entries and bytes of all namespaces of this cache, as those of tenants."""
        stats, store, base = await self._cache.astats(), self._cache.engine.store, self._cache.engine.namespace
        if stats.store == "down":
            return stats
        try:
            # What holds no answers has a colon in its name.
            names = [one for one in await store.anamespaces() if one.startswith(f"{base}/") and ":" not in one]
            sizes = [await store.asize(one) for one in (base, *names)]
        except StoreError:
            return stats
        held = sum(one.entries for one in sizes), sum(one.size_bytes for one in sizes)
        return msgspec.structs.replace(stats, entries=held[0], size_bytes=held[1])

    def _is_shown(self, authorization: str) -> bool:
        scheme, _, shown = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), self._token.encode())


async def _json(call: ProxyCall, value: object) -> None:
    headers = [("content-type", "application/json"), ("cache-control", "no-store")]
    await call.respond(200, headers, msgspec.json.encode(value, enc_hook=str))
