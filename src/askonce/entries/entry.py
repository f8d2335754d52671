"""Stored answers, and the results of a lookup: plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec

from askonce.entries.decodable import decodable

HitKind = Literal["exact", "coalesced", "stale", "semantic"]
"""``exact``: the same request was answered before. ``coalesced``: an identical request was in progress, and this
caller waited for it. ``stale``: past its time to live, but allowed by ``stale_while_revalidate`` or
``stale_if_error``. ``semantic``: a question of the same meaning was answered before."""

MissReason = Literal[
    "absent", "expired", "outdated", "corrupt", "incomplete", "other length", "refresh", "store down"
]
"""``outdated``: documents that it was made from were changed. ``incomplete``: a fresh answer would have more than
the stored one, such as the usage. ``other length``: the stored vector and others of its batch differ in length."""

NotStoredReason = Literal[
    "empty", "truncated", "invalid", "not parsed", "cache_if", "deleted", "not storable", "too large", "store down"
]
"""``truncated``: it did not come to its proper end. ``invalid``: it is not what the request requires: tool calls
that cannot be read, JSON that does not fit the schema, vectors that hold no numbers. ``not parsed``: its caller
could not parse it. ``cache_if``: the application's predicate refused it. ``deleted``: while it was made, entries
were deleted of which it would have been one. ``not storable``: it holds what is no plain data. ``too large``: it
has more bytes than the limit of the namespace, or than any store takes."""

_DOCUMENT = "doc:"


RequestKind = Literal["answer", "embedding", "retrieval", "node", "routing", "prefix"]
"""The kind of a request."""

EntryKind = RequestKind | Literal["chunk"]
"""The kind of an entry: what was requested, or a part of payloads that is stored once for all of them."""


class Place(NamedTuple):
    """Where an entry is stored.

    Attributes:
        namespace: its namespace.
        key: its 32-byte key there; of a chunk, 16 bytes.
    """

    namespace: str
    key: bytes

    @property
    def bound_to(self) -> bytes:
        """What the entry's bytes are bound to, so that they are valid nowhere else."""
        return self.key + self.namespace.encode()


def place_of(namespace: str, digest: bytes) -> Place:
    """The place of the request whose normal form has that digest: the key is the SHA-256 of both."""
    return Place(namespace, hashlib.sha256(digest + namespace.encode()).digest())


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Tokens that one answer took, as its provider reported them.

    Attributes:
        input_tokens: all tokens of the prompt, those read from or written to the provider's cache included.
        output_tokens: all tokens of the answer, reasoning included.
        cache_read_tokens: the part of ``input_tokens`` that the provider read from its prompt cache.
        cache_write_tokens: the part of ``input_tokens`` that it wrote there.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


NO_USAGE = Usage()


class Near(msgspec.Struct, frozen=True, array_like=True):
    """Decides whether a retrieval would have found an added document too.

    Attributes:
        vector: the question's, of length one: 32-bit floats, little-endian.
        least: the least cosine similarity of a document that counts.
    """

    vector: bytes
    least: float


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Documents of one corpus that something was found in or made from.

    Attributes:
        corpus: the namespace of the corpus's change log.
        position: the position in that log up to which it is valid.
        ids: the documents.
        whole: it depends on the whole corpus, so that an addition may change it: a retrieval. Otherwise only on
            these documents: an answer.
        any_change: a change of documents that are not among ``ids`` may change it too: a retrieval that weighs
            more documents than it returns, or returns some that have no id.
        near: with ``whole``, which additions may change it; ``None``: any.
    """

    corpus: str
    position: int
    ids: tuple[str, ...]
    whole: bool = False
    any_change: bool = False
    near: Near | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of what was made from the documents."""
        return tags_of(self.ids)


def tags_of(ids: Iterable[str]) -> tuple[str, ...]:
    """The tags of what holds documents, or was made from them."""
    return tuple(_DOCUMENT + one for one in ids)


def names_a_document(tag: str) -> bool:
    """Whether a tag is one of `tags_of`."""
    return tag.startswith(_DOCUMENT)


class Slice(msgspec.Struct, frozen=True):
    """A part of an answer's payload that other answers may hold as well: it is stored once, as a chunk.

    Attributes:
        begin: where it begins in the payload.
        end: where it ends.
        ids: the documents in it.
    """

    begin: int
    end: int
    ids: tuple[str, ...]


@decodable
class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A reference of an entry to a part of its payload, which is an entry of its own.

    Attributes:
        digest: of its bytes: the key of the other entry.
        at: where it belongs in what the entry holds of the payload.
        version: of the other entry. One of another version was stored after this one was deleted.
    """

    digest: bytes
    at: int
    version: bytes


class Answer(msgspec.Struct, frozen=True):
    """A fresh answer, as an adapter passes it to be stored.

    Attributes:
        payload: the answer as bytes that the adapter can read back.
        usage: the tokens that it took.
        model: the name under which its provider sells the model, if known; for the price.
        truncated: it did not come to its proper end (length limit, content filter, refusal, an end that is not
            known).
        empty: it has no content.
        invalid: it is not what the request requires.
        detail: what is wrong with it, for the log.
        values: the framework's answers, for ``cache_if``.
        ttl_seconds: a time to live of its own, if shorter than the one in effect.
        sources: the documents that it was found in; `RequestFlow` adds those that it was made from.
        cost_usd: what it cost in dollars, where usage and price do not give it: several models were called
            for it.
        answer_text: all of it, if that is one text; given to judges.
        slices: parts of the payload that are stored once for all answers, in their order.
        vector_length: how many numbers it has, if it is a vector.
    """

    payload: bytes
    usage: Usage = NO_USAGE
    model: str | None = None
    truncated: bool = False
    empty: bool = False
    ttl_seconds: float | None = None
    sources: tuple[Source, ...] = ()
    cost_usd: float | None = None
    answer_text: str | None = None
    invalid: bool = False
    detail: str = ""
    values: tuple[Any, ...] = ()
    slices: tuple[Slice, ...] = ()
    vector_length: int = 0


class SemanticEntry(msgspec.Struct, frozen=True, array_like=True):
    """The part of an entry by which a differently worded question finds it.

    Attributes:
        text: the question.
        partition: digest of the rest of the request; see ``askonce.semantic.types.Question``.
        vector: the question's embedding, of unit length: float16, little-endian.
        embedder: identity of the model that made the vector.
        answer_text: the answer, as given to judges; empty if the entry is an alias.
        answer: the key of the entry that holds the answer, if this one is an alias of its question.
        digest: of that answer's text: the alias is not valid for one that replaces it.
    """

    text: str
    partition: bytes
    vector: bytes
    embedder: str
    answer_text: str = ""
    answer: bytes = b""
    digest: bytes = b""


def digest_of(answer_text: str) -> bytes:
    """16 bytes that distinguish answers by their text."""
    return hashlib.blake2b(answer_text.encode(errors="replace"), digest_size=16).digest()


@decodable
class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A stored answer.

    Attributes:
        payload: the adapter's bytes, without those of the chunks.
        created_at: when it was made, seconds since the epoch.
        fresh_until: the end of its time to live; ``None`` for never.
        cost_seconds: how long making it took.
        cost_usd: what making it cost; ``None`` when no price is known.
        usage: the tokens that it took.
        tags: names by which it can be invalidated.
        sources: the documents that it was found in or made from.
        semantic: how a differently worded question finds it.
        kind: what was requested.
        model: the name of the model that made it, if known.
        texts: digests of the texts of its request, see `askonce.keys.request_texts`.
        form: its request's normal form as JSON, if requests are stored; else empty.
        chunks: the parts of the payload that are stored apart, in their order.
    """

    payload: bytes
    created_at: float
    fresh_until: float | None = None
    cost_seconds: float = 0.0
    cost_usd: float | None = None
    usage: Usage = Usage()
    tags: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    semantic: SemanticEntry | None = None
    kind: EntryKind = "answer"
    model: str | None = None
    texts: bytes = b""
    form: bytes = b""
    chunks: tuple[Chunk, ...] = ()


class Match(msgspec.Struct, frozen=True):
    """Why an answer to another question was served.

    Attributes:
        question: the other question.
        similarity: the cosine of the questions' embeddings.
        probability: of the answer being right, by estimate.
        id: 8 bytes by which the application can give feedback.
    """

    question: str
    similarity: float
    probability: float
    id: bytes


class Hit(msgspec.Struct, frozen=True):
    """A lookup that found an answer.

    Attributes:
        entry: the answer.
        kind: how it was found.
        age_seconds: how old it is.
        key: of the entry of the question that it answers.
        match: of a semantic hit, why.
        value: the payload, unpacked by the request's ``unpack``.
    """

    entry: Entry
    kind: HitKind
    age_seconds: float
    key: bytes = b""
    match: Match | None = None
    value: Any = None

    def mark(self) -> dict[str, Any]:
        """The hit as a response shows it, under the name ``askonce``."""
        mark: dict[str, Any] = {
            "hit": self.kind,
            "age_seconds": round(self.age_seconds, 3),
            "saved_seconds": round(self.entry.cost_seconds, 3),
            "saved_usd": self.entry.cost_usd,
        }
        if self.key:
            mark["entry"] = self.key.hex()
        if self.match is not None:
            mark["question"] = self.match.question
            mark["similarity"] = round(self.match.similarity, 4)
            mark["probability"] = round(self.match.probability, 4)
            mark["match"] = self.match.id.hex()
        if self.entry.sources:
            mark["sources"] = list(dict.fromkeys(one for source in self.entry.sources for one in source.ids))
        return mark


class Incomplete(Exception):
    """A stored answer lacks what a fresh one would give this caller; raised by a request's ``unpack``."""


class Miss(msgspec.Struct, frozen=True):
    """A lookup that found no fresh answer.

    Attributes:
        reason: why.
        stale: an answer past its time to live that may be served instead.
        late_seconds: by how much it is past.
    """

    reason: MissReason
    stale: Hit | None = None
    late_seconds: float = 0.0


def mark_of(response: object) -> dict[str, Any]:
    """The mark that a response of either framework carries if it was a hit; empty if it carries none."""
    if isinstance(response, dict):
        return response
    for holder in (response, getattr(response, "message", None), getattr(response, "raw", None)):
        for name in ("response_metadata", "additional_kwargs"):
            mark = (getattr(holder, name, None) or {}).get("askonce")
            if isinstance(mark, dict):
                return mark
    return {}
