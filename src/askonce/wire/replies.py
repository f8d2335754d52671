"""Which replies of an upstream are stored, and how a stored one is replayed.

An entry holds the upstream's own bytes, those of a whole reply or of a stream. A request of the same kind gets them
as they are; one of the other kind gets what they add up to, or is a miss if that would not be the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Incomplete
from askonce.storage.freshness import Freshness
from askonce.wire import chat, messages, responses
from askonce.wire.acceptance import Json
from askonce.wire.apis import ECHOED
from askonce.wire.events import ServerEvent, event_of, is_end, last_event, raw_events, written
from askonce.wire.headers import lasting
from askonce.wire.requests import WireRequest
from askonce.wire.scope import Headers

_ASSEMBLED = {"chat": chat.assembled, "messages": messages.assembled, "responses": responses.assembled}
_JUDGED = {"chat": chat.judged, "messages": messages.judged, "responses": responses.judged}
_JSON, _EVENTS = "application/json", "text/event-stream"


class StoredReply(msgspec.Struct, frozen=True, array_like=True):
    """A reply with status 200.

    Attributes:
        kind: whole, or a stream.
        headers: those that last, in their order.
        body: not compressed.
        echoed: what the reply repeats of its request, as `echoed` writes it.
        wants_usage: its request said that a stream is to end with the usage; some providers send it all the same.
    """

    kind: Literal["plain", "stream"]
    headers: list[tuple[str, str]]
    body: bytes
    echoed: bytes = b"{}"
    wants_usage: bool = True


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(StoredReply).decode


def request_to(engine: CacheEngine, wire: WireRequest) -> Request | None:
    """A request to a cache; ``None`` if it is not to be cached. Not for embeddings.

    The ``value`` of a hit is a `StoredReply` of the kind of the request.
    """

    def made(rules: Freshness | None) -> Request | None:
        request = engine.request(
            "answer",
            wire.form,
            digest=wire.digest,
            unpack=lambda data: replayed(wire, data),
            semantic=True,
            freshness=rules,
        )
        if request is not None and wire.is_large:
            request = msgspec.structs.replace(request, is_large=True)
        return request

    return wire.directives.applied(engine.settings, made, wire.longest_seconds)


def packed(wire: WireRequest, status: int, headers: Headers, body: bytes) -> Answer | None:
    """What is stored of a reply; ``None`` if it cannot be.

    Args:
        wire: the request.
        status: of the reply.
        headers: of the reply.
        body: all of it, not compressed.
    """
    headers = list(headers)
    kind: Literal["plain", "stream"] = "stream" if is_stream(headers) else "plain"
    if status != 200 or wire.api == "embeddings" or (kind == "stream") != wire.streams:
        return None
    whole = _whole(wire, body) if kind == "plain" else _whole_of_stream(wire, body)
    if whole is None:
        return None
    requested = wire.requested
    found = _JUDGED[wire.api](whole, requested)
    if wire.api == "chat" and not found.broken and len(whole["choices"]) != (wanted := wire.body.get("n") or 1):
        found.broken = f"it has {len(whole['choices'])} choices of {wanted}"
    model = whole.get("model")
    return Answer(
        _encode(StoredReply(kind, lasting(headers, shared=wire.is_shared), body, echoed(wire), wire.wants_usage)),
        usage=found.usage,
        model=model if isinstance(model, str) and model else wire.model,
        truncated=bool(found.broken),
        empty=not found.has_content,
        invalid=bool(found.invalid),
        detail=found.broken or found.invalid,
        answer_text=found.text or None,
        values=(whole,),
    )


def replayed(wire: WireRequest, data: bytes) -> StoredReply:
    """A stored reply as a request wants it.

    Args:
        wire: the request.
        data: the payload of `packed`.

    Raises:
        Incomplete: what is stored does not say all that a fresh reply would.
        Exception: it is no payload of `packed`.
    """
    return _of_caller(wire, _replayed(wire, _decode(data)))


def echoed(wire: WireRequest) -> bytes:
    """What a reply repeats of its request, and what is no part of the key: an object, as JSON."""
    if wire.api != "responses":
        return b"{}"
    return msgspec.json.encode({name: wire.body[name] for name in ECHOED if wire.body.get(name)})


def _of_caller(wire: WireRequest, stored: StoredReply) -> StoredReply:
    """A reply that repeats what this request says, and not what that one said for which it was made."""
    own = echoed(wire)
    if own == stored.echoed:
        return stored
    now, then = msgspec.json.decode(own), msgspec.json.decode(stored.echoed)
    changed = {name: now.get(name) for name in ECHOED if now.get(name) != then.get(name)}
    if "metadata" in changed:
        changed["metadata"] = now.get("metadata", {})
    if stored.kind == "plain":
        body = msgspec.json.encode(_changed(msgspec.json.decode(stored.body), changed))
    else:
        body = b"".join(_event_changed(event_of(raw), changed) for raw in raw_events(stored.body))
    return StoredReply(stored.kind, stored.headers, body, own)


def _event_changed(event: ServerEvent, changed: Json) -> bytes:
    if not isinstance(event.data, dict) or not isinstance(event.data.get("response"), dict):
        return event.raw
    return written([{**event.data, "response": _changed(event.data["response"], changed)}], named=True)


def _changed(response: Json, changed: Json) -> Json:
    return response | {name: value for name, value in changed.items() if name in response}


def _replayed(wire: WireRequest, stored: StoredReply) -> StoredReply:
    if stored.kind == "stream":
        if wire.streams and (wire.api != "chat" or not (wire.wants_usage or stored.wants_usage)):
            return stored
        if wire.streams:
            body = chat.with_usage_as_wanted(stored.body, wants_usage=wire.wants_usage)
            return stored if body is stored.body else StoredReply("stream", stored.headers, body, stored.echoed)
        whole, is_faithful = _assembled(wire, raw_events(stored.body))
        if whole is None or not is_faithful:
            raise Incomplete
        return _of_type(stored, "plain", msgspec.json.encode(whole), _JSON)
    if not wire.streams:
        return stored
    whole = msgspec.json.decode(stored.body)
    if wire.api == "chat":
        body = chat.as_stream(whole, wants_usage=wire.wants_usage)
    else:
        body = (messages if wire.api == "messages" else responses).as_stream(whole)
    return _of_type(stored, "stream", body, f"{_EVENTS}; charset=utf-8")


def is_stream(headers: Headers) -> bool:
    """Whether a reply is a stream of events."""
    return any(name.lower() == "content-type" and value.lower().startswith(_EVENTS) for name, value in headers)


def _of_type(stored: StoredReply, kind: Literal["plain", "stream"], body: bytes, content_type: str) -> StoredReply:
    others = [pair for pair in stored.headers if pair[0].lower() != "content-type"]
    return StoredReply(kind, [*others, ("content-type", content_type)], body, stored.echoed)


def _whole(wire: WireRequest, body: bytes) -> Json | None:
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return whole if isinstance(whole, dict) else None


def _whole_of_stream(wire: WireRequest, body: bytes) -> Json | None:
    raws = raw_events(body + b"\n\n")  # some servers end without the last line
    last = last_event(wire.api, raws)
    return _assembled(wire, raws)[0] if last is not None and is_end(wire.api, last) else None


def _assembled(wire: WireRequest, raws: Iterable[bytes]) -> tuple[Json | None, bool]:
    """What events add up to, and whether it is all that a whole reply would say; ``None``: it is not known."""
    try:
        return _ASSEMBLED[wire.api](_readable(raws))
    except _Unreadable:
        return None, False


class _Unreadable(Exception):
    """An event says what is not known."""


def _readable(raws: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Events, one after the other: all at once would take many times the memory of their bytes.

    Raises:
        _Unreadable: one cannot be read.
    """
    for raw in raws:
        event = event_of(raw)
        if event.is_unreadable:
            raise _Unreadable
        yield event
