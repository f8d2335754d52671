"""Headers of replies: which are stored, and what a reply says of the cache (RFC 9211)."""

from __future__ import annotations

import functools
import math
import re
from typing import Literal

from askonce.entries.entry import Hit
from askonce.wire.scope import Headers

_OF_ONE_REPLY = re.compile(
    r"connection|keep-alive|proxy-.*|te|trailers?|transfer-encoding|upgrade|via|alt-svc|content-(length|encoding|range)"
    r"|accept-ranges|set-cookie2?|date|age|expires|etag|last-modified|pragma|vary|warning|location|refresh|link"
    r"|clear-site-data|.*-authenticate|nel|report-to|reporting-endpoints|x-served-by|x-timer|x-runtime"
    r"|(cf|x-envoy|x-amzn?|x-amz-cf|apim|x-goog|x-akamai|x-vercel|fly|helicone)-.*"
    r"|.*(request|trace|account|ratelimit)-?(id|parent|state)?s?"
)
"""Of one connection, one reply, or one network on the way."""
_OF_ONE_CALL = frozenset(
    "account accounts attempt attempts auth authentication authorization balance billing budget cache call cookie"
    " correlation cost costs credit credits customer duration elapsed group guid id ids identity invocation key"
    " keys latency limit limits ms org organisation organization owner price principal project quota ratelimit"
    " rate remaining request requests reset retries retry session span spend spent subscription subscriptions team"
    " tenant time timing token tokens trace traceparent tracestate transaction uid usage user userid users uuid"
    " workspace".split()
)
"""Words in the names of headers that are of one call, its costs, or the account that made it."""
_OF_THE_CONTENT = re.compile(
    r"content-.*|x-content-.*|access-control-.*|cross-origin-.*|x-frame-options|referrer-policy|permissions-policy"
    r"|strict-transport-security|server|([a-z0-9]+-)*(version|model|provider)"
)
"""Headers that say something of the content alone, and of what made it."""


def lasting(headers: Headers, *, shared: bool = False) -> list[tuple[str, str]]:
    """The headers of a reply that are true of it whenever it is served, in their order.

    Args:
        headers: of the reply.
        shared: it is served to others than its caller too: then only those that are known to tell nothing of him.
    """
    return [(name, value) for name, value in headers if _lasts(name.lower(), shared)]


@functools.lru_cache(maxsize=1024)
def _lasts(name: str, shared: bool) -> bool:
    if _OF_ONE_REPLY.fullmatch(name) or not _OF_ONE_CALL.isdisjoint(re.split("[-_]", name)):
        return False
    return not shared or _OF_THE_CONTENT.fullmatch(name) is not None


def of_hit(hit: Hit, now: float, failed: int | None = None) -> list[tuple[str, str]]:
    """What a reply from the cache says of it.

    Args:
        hit: what was found.
        now: seconds since the epoch.
        failed: the status of the upstream's reply for which a stale answer stands in, 0 if there was none;
            ``None``: the upstream was not called.
    """
    status, until = "askonce; hit", hit.entry.fresh_until
    if hit.kind == "coalesced":
        status = "askonce; fwd=miss; collapsed"
    elif hit.kind == "stale":
        if failed is not None:
            status = f"askonce; fwd=stale{f'; fwd-status={failed}' if failed else ''}"
        if until is not None and until > now:  # it is too old for this request alone
            until = None
    if until is not None:
        status += f"; ttl={math.floor(until - now)}"
    if hit.key:
        status += f'; key="{hit.key.hex()}"'
    if hit.kind == "semantic":
        status += "; detail=semantic"
    headers = [("age", str(int(hit.age_seconds))), ("cache-status", status)]
    if hit.entry.cost_usd is not None:
        headers.append(("askonce-saved-usd", f"{hit.entry.cost_usd:.6f}"))
    return headers


Forwarded = Literal["miss", "stale", "request", "bypass"]
"""Why the upstream was called: nothing is stored; what is stored is too old; the client demands it; it is never
cached."""


def of_forwarded(
    why: Forwarded, *, status: int = 200, collapsed: bool = False, detail: str = ""
) -> tuple[str, str]:
    """What a reply of the upstream says of the cache.

    Args:
        why: the upstream was called.
        status: of the upstream's reply.
        collapsed: the call was made for another request.
        detail: a word more.
    """
    value = f"askonce; fwd={why}"
    if status != 200:
        value += f"; fwd-status={status}"
    if collapsed:
        value += "; collapsed"
    return "cache-status", f"{value}; detail={detail}" if detail else value
