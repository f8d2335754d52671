"""For whom a request is made: the credentials of its caller, as a digest."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from askonce.keys.normal_form import is_credential_in_request

Headers = Iterable[tuple[str, str]]
"""Names and values, in their order; a name may come several times."""

_OF_A_NETWORK = re.compile(
    r"__cf_bm|_cfuvid|__cfruid|__cflb|__cfwaitingroom|cf_clearance|AWSALB(TG|APP)?(CORS)?(-\d+)?|GCLB|GAESA"
    r"|ARRAffinity(SameSite)?|ApplicationGatewayAffinity(CORS)?|x-ms-gateway-slice|stsservicecookie|fpc"
    r"|incap_ses_.*|visid_incap_.*|nlbi_.*|BIGipServer.*|TS01[0-9a-f]+|ak_bmsc|bm_sv|bm_sz|_abck|"
)
"""Cookies of load balancers and of protections against robots."""
_OF_A_FORM = re.compile("[cx]srf")
"""A token that a browser sends beside the credential: it is another one in each session."""
_SCHEMES = frozenset({"bearer", "basic", "token", "apikey", "api-key"})


def scope_of(headers: Headers, query: str = "", userinfo: str = "", secret: bytes = b"") -> str | None:
    """A digest of the credentials that a request shows, cookies apart; ``None`` if it shows none.

    Args:
        headers: of the request.
        query: of its URL.
        userinfo: the part of its URL before the host, ``name:password``.
        secret: at most 64 bytes; with it, a credential cannot be guessed from its digest.
    """
    shown = {(name.lower(), _bare(value)) for name, value in headers if is_credential_header(name)}
    if query:
        shown |= {(f"?{name}", value) for name, value in query_of(query) if is_credential_in_request(name)}
    if userinfo:
        shown.add(("@", userinfo))
    digest, found = hashlib.blake2b(digest_size=16, key=secret, person=b"askonce scope"), False
    for name, value in sorted(shown):
        if value:
            found = True
            digest.update(f"{len(name)} {len(value)} {name} {value}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest() if found else None


def query_of(query: str) -> list[tuple[str, str]]:
    """The names and values of a query, in their order; each byte is a letter, so that none is lost."""
    return parse_qsl(query, keep_blank_values=True, encoding="latin-1") if query else []


@functools.lru_cache(maxsize=1024)
def is_credential_header(name: str) -> bool:
    """Whether a header of that name holds a credential; cookies are none, see `has_cookie`."""
    return is_credential_in_request(name) and name.lower() != "cookie" and not _OF_A_FORM.search(name.lower())


def _bare(value: str) -> str:
    """A credential without surrounding spaces; empty if it is the name of a scheme alone."""
    value = value.strip()
    return "" if value.lower() in _SCHEMES else value


def has_cookie(headers: Headers) -> bool:
    """Whether a request shows a cookie that may say whose it is: one of a network's own says nothing.

    A client sends back what the network before an API sets: with each reply of OpenAI and Anthropic come
    Cloudflare's.
    """
    return any(
        not _OF_A_NETWORK.fullmatch(cookie.partition("=")[0].strip())
        for name, value in headers
        if name.lower() == "cookie"
        for cookie in value.split(";")
    )
