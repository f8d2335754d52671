"""For whom a request is made: the credentials of its caller, as a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from urllib.parse import parse_qsl

from askonce.keys.normal_form import is_credential_in_request

Headers = Iterable[tuple[str, str]]
"""Names and values, in their order; a name may come several times."""

_SCHEMES = frozenset({"bearer", "basic", "token", "apikey", "api-key"})


def scope_of(headers: Headers, query: str = "", userinfo: str = "", secret: bytes = b"") -> str | None:
    """A digest of the credentials that a request shows; ``None`` if it shows none.

    Args:
        headers: of the request.
        query: of its URL.
        userinfo: the part of its URL before the host, ``name:password``.
        secret: at most 64 bytes; with it, a credential cannot be guessed from its digest.
    """
    shown = {(name.lower(), _bare(value)) for name, value in headers if is_credential_in_request(name)}
    shown |= {(f"?{name}", value) for name, value in parse_qsl(query) if is_credential_in_request(name)}
    if userinfo:
        shown.add(("@", userinfo))
    digest, found = hashlib.blake2b(digest_size=16, key=secret, person=b"askonce scope"), False
    for name, value in sorted(shown):
        if value:
            found = True
            digest.update(f"{len(name)} {len(value)} {name} {value}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest() if found else None


def _bare(value: str) -> str:
    """A credential without surrounding spaces; empty if it is the name of a scheme alone."""
    value = value.strip()
    return "" if value.lower() in _SCHEMES else value


def has_cookie(headers: Headers) -> bool:
    """Whether a request shows a cookie, by which it may mean another account each time."""
    return any(name.lower() == "cookie" for name, _ in headers)
