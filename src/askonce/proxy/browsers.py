"""Pages of the web, which a browser on this machine may have send requests to a proxy that requires no key."""

from __future__ import annotations

from urllib.parse import urlsplit

from askonce.proxy.call import ProxyCall
from askonce.proxy.config import is_loopback


def foreign_in(call: ProxyCall) -> str | None:
    """By what a request shows that a page of another site sends it, or reached this machine by a name of its own.

    A page from this machine (``http://localhost:3000``) is no other site, and what is no browser shows none of it.
    """
    host, origin = call.header("host"), call.header("origin")
    if host and not _is_here(f"//{host}"):
        return f"its Host is {host!r}"
    if origin is not None:
        return None if _is_here(origin) else f"its Origin is {origin!r}"
    return "its Sec-Fetch-Site is cross-site" if call.header("sec-fetch-site") == "cross-site" else None


def _is_here(url: str) -> bool:
    try:
        name = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    return is_loopback(name) or name.endswith(".localhost")
