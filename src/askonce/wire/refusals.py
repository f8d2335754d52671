"""Responses of the cache's own: errors, in the form that OpenAI's and Anthropic's SDKs read."""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A response that says why there is no answer.

    Attributes:
        status: of HTTP.
        headers: without the length.
        body: JSON.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def refusal(status: int, message: str, kind: str, *headers: tuple[str, str]) -> Refusal:
    """An error.

    Args:
        status: of HTTP.
        message: what went wrong.
        kind: a word for programs.
        headers: beside the type of the content.
    """
    error = {"message": message, "type": kind, "code": kind}
    body = msgspec.json.encode({"type": "error", "error": error})
    return Refusal(status, [("content-type", "application/json"), *headers], body)


def nothing_cached(why: str = "no answer is cached") -> Refusal:
    """The response to a request that is to be answered from the cache, and is not."""
    return refusal(
        504,
        f"only-if-cached: {why}",
        "only_if_cached",
        ("cache-status", "askonce; detail=only-if-cached"),
        ("x-should-retry", "false"),
    )
