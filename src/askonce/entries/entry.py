"""What is kept, and what a look-up finds: plain values."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple

import msgspec

HitKind = Literal["exact", "coalesced", "stale", "semantic"]
"""``exact``: the same request was answered before. ``coalesced``: it was being answered just now, and this
caller waited for it. ``stale``: past its time to live, but allowed by ``stale_while_revalidate`` or
``stale_if_error``. ``semantic``: a question that means the same was answered before."""

MissReason = Literal["absent", "expired", "outdated", "corrupt", "refresh", "store down"]
"""``outdated``: documents that it was made from were changed."""


RequestKind = Literal["answer", "embedding", "retrieval", "tool", "node", "routing", "prefix"]
"""What a request asks for."""


class Place(NamedTuple):
    """Where an entry is stored.

    Attributes:
        namespace: its namespace.
        key: its 32-byte key there.
    """

    namespace: str
    key: bytes

    @property
    def bound_to(self) -> bytes:
        """What the entry's bytes are bound to, so that they count nowhere else."""
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
    """What tells whether an added document would have been found, too.

    Attributes:
        vector: the question's, of length one: 32-bit floats, little-endian.
        least: the cosine similarity from which on a document counts.
    """

    vector: bytes
    least: float


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Documents of one corpus that something was found in or made from.

    Attributes:
        corpus: the namespace of the corpus's change log.
        position: the position in that log as of which it is true.
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
        """The tags by which what was made from the documents is found."""
        return tuple(f"doc:{one}" for one in self.ids)


class Answer(msgspec.Struct, frozen=True):
    """A fresh answer as an adapter hands it over to be kept.

    Attributes:
        payload: the answer as bytes that the adapter can read back.
        usage: what it took.
        model: the name under which its provider sells the model, if known; for the price.
        truncated: it was cut off (length limit, content filter).
        empty: it says nothing.
        ttl_seconds: a time to live of its own, if shorter than that in force.
        sources: the documents that it was found in; `RequestFlow` adds those that it was made from.
        cost_usd: what it cost in dollars, where that is known better than by usage and price: several models
            were asked for it.
        said: all that it says, if that is one text; what a judge of two answers is shown.
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


class SemanticEntry(msgspec.Struct, frozen=True, array_like=True):
    """What an answered question is found by when it is asked in other words.

    Attributes:
        text: the question.
        partition: names all else about the request; see ``askonce.semantic.types.Question``.
        vector: the question's embedding, of unit length: float16, little-endian.
        embedder: names the model that made the vector.
        said: the answer, as a judge is shown it; empty if the entry is an alias.
        answer: the key of the entry that holds the answer, if this one is an alias of its question.
        digest: of what that answer said: an alias holds for no other one that may come in its place.
    """

    text: str
    partition: bytes
    vector: bytes
    embedder: str
    answer_text: str = ""
    answer: bytes = b""
    digest: bytes = b""


def digest_of(answer_text: str) -> bytes:
    """16 bytes that tell answers apart by what they say."""
    return hashlib.blake2b(answer_text.encode(errors="replace"), digest_size=16).digest()


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A stored answer.

    Attributes:
        payload: the adapter's bytes.
        created_at: when it was made, seconds since the epoch.
        fresh_until: the end of its time to live; ``None`` for never.
        cost_seconds: how long making it took.
        cost_usd: what making it cost; ``None`` when no price is known.
        usage: the tokens that it took.
        tags: names by which it can be invalidated.
        sources: the documents that it was found in or made from.
        meaning: what it is found by when it is asked in other words.
        kind: what was requested.
        model: the name of the model that made it, if known.
    """

    payload: bytes
    created_at: float
    fresh_until: float | None = None
    cost_seconds: float = 0.0
    cost_usd: float | None = None
    usage: Usage = Usage()
    tags: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    meaning: SemanticEntry | None = None
    kind: RequestKind = "answer"
    model: str | None = None


class Match(msgspec.Struct, frozen=True):
    """Why an answer to another question was served.

    Attributes:
        question: the other question.
        similarity: the cosine of the questions' embeddings.
        probability: of the answer being right, by estimate.
        id: 8 bytes by which the application can tell what it thinks of it.
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
        key: the entry under which the question that it answers is kept.
        match: of a semantic hit, why.
        value: what the request's ``unpack`` made of the payload.
    """

    entry: Entry
    kind: HitKind
    age_seconds: float
    key: bytes = b""
    match: Match | None = None
    value: Any = None

    def mark(self) -> dict[str, Any]:
        """What a response shows of the hit, under the name ``askonce``."""
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


class Miss(msgspec.Struct, frozen=True):
    """A lookup that found no fresh answer.

    Attributes:
        reason: why.
        stale: an answer past its time to live that may stand in.
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
