"""Requests as tests write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from askonce.wire.requests import WireRequest, read_request

OPENAI = "https://api.openai.com/v1"
CALLER = (("authorization", "Bearer sk-caller"), ("content-type", "application/json"))
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}


def wire(
    body: Any = CHAT,
    url: str = f"{OPENAI}/chat/completions",
    headers: Iterable[tuple[str, str]] = (),
    *,
    share: bool = False,
) -> WireRequest:
    """A request of a caller, with further headers."""
    read = read_request("POST", url, [*CALLER, *headers], json.dumps(body).encode(), share=share)
    assert read is not None
    return read


def key(*args: Any, **kwargs: Any) -> bytes:
    """The digest of a request's normal form."""
    return wire(*args, **kwargs).form().digest()
