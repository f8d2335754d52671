"""Headers of replies: which are stored, and what a reply says of the cache (RFC 9211)."""

from __future__ import annotations

import re
from typing import Literal

from askonce.entries.entry import Hit
from askonce.wire.scope import Headers

_OF_ONE_REPLY = re.compile(
    r"connection|keep-alive|proxy-.*|te|trailers?|transfer-encoding|upgrade|via|alt-svc|content-length"
    r"|content-encoding|content-range|accept-ranges|set-cookie2?|date|age|expires|etag|last-modified|cache-control"
    r"|cache-status|pragma|vary|retry-after(-ms)?|x-should-retry|server-timing|nel|report-to|.*-organization(-id)?"
    r"|(.*-)?ratelimit-.*|(.*-)?rate-limit-.*|(x-)?(.*-)?(request|correlation|trace)-?id|traceparent|tracestate"
    r"|cf-.*|x-envoy-.*|x-amzn-.*|apim-.*|.*-processing-ms|x-served-by|x-timer|x-runtime"
)
"""Of one connection, one reply, one account or one moment."""


def lasting(headers: Headers) -> list[tuple[str, str]]:
    """The headers of a reply that are true of it whenever it is served, in their order."""
    return [(name, value) for name, value in headers if not _OF_ONE_REPLY.fullmatch(name.lower())]


def of_hit(hit: Hit, now: float) -> list[tuple[str, str]]:
    """What a reply from the cache says of it.

    Args:
        hit: what was found.
        now: seconds since the epoch.
    """
    status = "askonce; hit" if hit.kind != "coalesced" else "askonce; fwd=miss; collapsed"
    if hit.kind == "stale":
        status = "askonce; hit; fwd=stale"
    until = hit.entry.fresh_until
    if until is not None:
        status += f"; ttl={int(until - now)}"
    if hit.key:
        status += f'; key="{hit.key.hex()}"'
    if hit.kind == "semantic":
        status += "; detail=semantic"
    headers = [("age", str(int(hit.age_seconds))), ("cache-status", status)]
    if hit.entry.cost_usd is not None:
        headers.append(("askonce-saved-usd", f"{hit.entry.cost_usd:.6f}"))
    return headers


Forwarded = Literal["miss", "request", "bypass"]
"""Why the upstream was called: nothing was stored that can be used; the client demands it; it is never cached."""


def of_forwarded(why: Forwarded, stored: bool | None = None, status: int = 200) -> tuple[str, str]:
    """What a reply of the upstream says of the cache.

    Args:
        why: the upstream was called.
        stored: whether the reply was stored, where that is known before it is sent.
        status: of the upstream's reply.
    """
    detail = f"; fwd-status={status}" if status != 200 else "; stored" if stored else ""
    return "cache-status", f"askonce; fwd={why}{detail}"
