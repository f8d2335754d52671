"""Embeddings: one entry for each text, whether numbers or base64 are requested."""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import msgspec

from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Miss, Usage
from askonce.entries.vectors import are_mixed, oddity
from askonce.keys.normal_form import NormalForm, is_credential, plain, request_form
from askonce.storage.freshness import Freshness
from askonce.wire.acceptance import Json, mapping, number, objects
from askonce.wire.apis import OF_ONE_TEXT
from askonce.wire.headers import lasting
from askonce.wire.requests import WireRequest
from askonce.wire.scope import Headers

_ONE_ENTRY = (None, "float", "base64")
"""Encodings of the same numbers."""
_MANY_TEXTS = 128
_OF_A_REPLY = frozenset({"object", "data", "model", "usage"})


class StoredVector(msgspec.Struct, frozen=True, array_like=True):
    """What was replied for one text.

    Attributes:
        vector: the numbers as JSON has them, integers as such, or base64 of 32-bit floats, little-endian.
        model: of the reply.
        usage: the text's share in that of its request; ``None`` if nothing was reported.
        headers: of the reply, those that last.
        others: further members of the reply, such as its id.
    """

    vector: list[int | float] | str
    model: str | None
    usage: Json | None
    headers: list[tuple[str, str]]
    others: Json


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(StoredVector).decode


def texts_in(wire: WireRequest) -> list[Any] | None:
    """What is to be embedded, each as a text or a list of tokens; ``None`` if it cannot be read."""
    given = wire.body.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        return None
    if all(isinstance(one, str) for one in given) or all(isinstance(one, list) for one in given):
        return given
    return [given] if all(isinstance(one, int) for one in given) else None


def has_many_texts(wire: WireRequest) -> bool:
    """Whether it takes long to make `requests_to` it."""
    return wire.is_large or len(texts_in(wire) or ()) > _MANY_TEXTS


def is_one_entry(wire: WireRequest) -> bool:
    """Whether its vectors are numbers, which are one entry in whichever encoding."""
    return wire.body.get("encoding_format") in _ONE_ENTRY and "output_dtype" not in wire.body


def is_of_one_text(wire: WireRequest) -> bool:
    """Whether a vector depends on its text alone: on the texts beside it, too, with Jina's ``late_chunking``.

    A parameter that is not known may be of that kind. Voyage and Perplexity have models for it, with a name that
    says so.
    """
    if len(texts_in(wire) or ()) == 1:
        return True
    return "context" not in (wire.model or "") and all(
        value is None or name in OF_ONE_TEXT or (name == "late_chunking" and value is False) or is_credential(name)
        for name, value in wire.body.items()
    )


def text_form(wire: WireRequest, text: Any) -> NormalForm:
    """The normal form of a request for one text.

    Raises:
        Uncacheable: its answer must not be stored.
    """
    wire.check()
    left_out: list[str] = []
    parameters = wire.parameters(left_out, *(("encoding_format",) if is_one_entry(wire) else ()))
    return request_form("embedding", parameters, left_out, upstream=wire.upstream(), text=plain(text))


def requests_to(engine: CacheEngine, wire: WireRequest) -> dict[bytes, Request] | None:
    """A request to a cache for each text, by its name; ``None`` if they are not to be cached.

    The ``value`` of a hit is a `StoredVector`.
    """
    texts = texts_in(wire)
    if texts is None or not is_of_one_text(wire):
        return None
    by_name = {name_of(text): text for text in texts}

    def made(rules: Freshness | None) -> dict[bytes, Request] | None:
        requests: dict[bytes, Request] = {}
        for name, text in by_name.items():
            form = partial(text_form, wire, text)
            request = engine.request("embedding", form, unpack=unpacked, from_sources=False, freshness=rules)
            if request is None:
                return None
            requests[name] = request
        return requests

    return wire.directives.applied(engine.settings, made)


def name_of(text: Any) -> bytes:
    """Distinguishes the texts of one request."""
    return msgspec.json.encode(text)


def not_stored(texts: Sequence[Any], hits: Mapping[bytes, Hit]) -> list[Any]:
    """The texts to request: all as they are given if there is no hit, else those without one, each once."""
    if not hits:
        return list(texts)
    return [text for name, text in {name_of(one): one for one in texts}.items() if name not in hits]


def stale_instead(
    engine: CacheEngine, requests: Mapping[bytes, Request], found: Mapping[bytes, Hit | Miss], error: Exception
) -> dict[bytes, Hit] | None:
    """What was found for each text, stale where it must be, since the provider failed; ``None`` if not for each.

    Args:
        engine: the cache's.
        requests: of `requests_to`.
        found: for each of them.
        error: how the provider failed.
    """
    hits = {name: one for name, one in found.items() if isinstance(one, Hit)}
    missed = [(requests[name], one) for name, one in found.items() if isinstance(one, Miss)]
    stale = [one.stale for _, one in missed if one.stale is not None]
    if are_mixed(_lengths([*hits.values(), *stale])):
        return None
    instead = engine.instead_of_many(missed, error)
    if instead is None:
        return None
    return hits | dict(zip((name for name in found if name not in hits), instead, strict=True))


def oldest_of(hits: Collection[Hit]) -> Hit:
    """The one that a reply made of them speaks of: the oldest, of the stale ones if there are any."""
    return max(hits, key=lambda hit: (hit.kind == "stale", hit.age_seconds))


def body_for(wire: WireRequest, missing: Sequence[Any]) -> bytes:
    """The body of a request for some of the texts."""
    return msgspec.json.encode({**wire.body, "input": list(missing)})


def length_of(stored: StoredVector) -> int:
    """How many numbers a stored vector has."""
    vector = stored.vector
    return (len(vector) * 3 // 4 - vector.count("=")) // 4 if isinstance(vector, str) else len(vector)


def packed(
    wire: WireRequest, texts: Sequence[Any], headers: Headers, body: bytes, hits: Collection[Hit] = ()
) -> list[Answer] | None:
    """What is stored of a reply with status 200, for each text; ``None`` if it cannot be.

    Args:
        wire: the request.
        texts: those that were sent, in their order.
        headers: of the reply.
        body: all of it, not compressed.
        hits: what was found for the request's other texts.
    """
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    data = objects(mapping(reply).get("data"))
    if not all(isinstance(one.get("index", 0), int) for one in data):
        return None
    by_index = {one.get("index", at): one.get("embedding") for at, one in enumerate(data)}
    if by_index.keys() != set(range(len(texts))) or len(data) != len(texts):
        return None
    vectors: list[Any] = [by_index[at] for at in range(len(texts))]
    floats = [one for one in map(_floats, vectors) if one is not None]
    if len(floats) != len(vectors):
        return None
    model, usage = reply.get("model"), reply.get("usage")
    usages = _shared(usage, texts) if isinstance(usage, dict) else [None] * len(texts)
    others = {
        name: one for name, one in reply.items() if name not in _OF_A_REPLY and not isinstance(one, (dict, list))
    }
    lasting_headers = lasting(headers, shared=wire.is_shared)
    lengths = {*_lengths(hits), *(len(numbers) for numbers in floats)}
    name = model if isinstance(model, str) else None
    try:
        payloads = [
            _encode(StoredVector(vector, name, used, lasting_headers, others))
            for vector, used in zip(vectors, usages, strict=True)
        ]
    except OverflowError:  # a number of more than 64 bits
        return None
    answers: list[Answer] = []
    for payload, numbers, used in zip(payloads, floats, usages, strict=True):
        odd = oddity(numbers, lengths)
        answers.append(
            Answer(
                payload,
                usage=Usage(number(mapping(used).get("total_tokens"))),
                model=name or wire.model,
                empty=not numbers,
                invalid=bool(odd),
                detail=odd,
                values=(reply,),
                vector_length=len(numbers) if is_one_entry(wire) else 0,  # else packed, as bits or bytes
            )
        )
    return answers


def _lengths(hits: Collection[Hit]) -> set[int]:
    return {length_of(hit.value) for hit in hits}


def _shared(value: Any, texts: Sequence[Any]) -> list[Any]:
    """What each text has of a usage, or of a number in it: by its length, so that they add up."""
    if isinstance(value, dict):
        members = {name: _shared(one, texts) for name, one in value.items()}
        return [{name: each[at] for name, each in members.items()} for at in range(len(texts))]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return [value] * len(texts)
    lengths = [len(text) or 1 for text in texts]
    if isinstance(value, float):
        return [value * length / sum(lengths) for length in lengths]
    ends = [value * before // sum(lengths) for before in accumulate(lengths)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _sum_of(shares: Sequence[Any]) -> Any:
    """What was `_shared`; of what is no number, the first."""
    if isinstance(shares[0], dict):
        return {name: _sum_of([one[name] for one in map(mapping, shares) if name in one]) for name in shares[0]}
    if all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in shares):
        return sum(shares)
    return shares[0]


def reply_of_hits(wire: WireRequest, hits: Mapping[bytes, Hit]) -> bytes:
    """The body of a reply made of stored vectors, each by the name of its text."""
    return _reply_of(wire, {name: hit.value for name, hit in hits.items()})


def reply_of_both(wire: WireRequest, hits: Mapping[bytes, Hit], made: Mapping[bytes, Answer]) -> bytes | None:
    """The body of a reply made of stored vectors and of fresh ones, each by the name of its text.

    ``None`` if they are of different lengths: then all texts are to be requested.
    """
    fresh = {name: unpacked(answer.payload) for name, answer in made.items()}
    if are_mixed(_lengths(hits.values()), map(length_of, fresh.values())):
        return None
    return _reply_of(wire, {name: hit.value for name, hit in hits.items()} | fresh)


def bytes_of(hits: Collection[Hit], answers: Collection[Answer] = ()) -> int:
    """About how many bytes a reply takes that is made of them."""
    return sum(len(hit.entry.payload) for hit in hits) + sum(len(answer.payload) for answer in answers)


def _reply_of(wire: WireRequest, vectors: Mapping[bytes, StoredVector]) -> bytes:
    as_base64 = wire.body.get("encoding_format") == "base64"
    as_is = not is_one_entry(wire)
    stored = [vectors[name_of(text)] for text in texts_in(wire) or []]
    data = [
        {"object": "embedding", "index": at, "embedding": one.vector if as_is else _encoded(one.vector, as_base64)}
        for at, one in enumerate(stored)
    ]
    model = next((one.model for one in stored if one.model), None)
    reply: Json = {**stored[0].others, "object": "list", "data": data, "model": model}
    usages = [one.usage for one in stored]
    if None not in usages:
        reply["usage"] = _sum_of(usages)
    return msgspec.json.encode(reply)


def unpacked(payload: bytes) -> StoredVector:
    """What an answer of `packed` holds."""
    return _decode(payload)


def _encoded(vector: list[int | float] | str, as_base64: bool) -> list[int | float] | str:
    if isinstance(vector, str) == as_base64:
        return vector
    if isinstance(vector, str):
        return (_floats(vector) or array("f")).tolist()
    return base64.b64encode(array("f", vector).tobytes()).decode()


def _floats(vector: Any) -> array[float] | None:
    """The numbers of a vector; ``None`` if they cannot be read."""
    try:
        if isinstance(vector, str):
            numbers = array("f")
            numbers.frombytes(base64.b64decode(vector, validate=True))
            return numbers
        return array("f", vector)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        return None
