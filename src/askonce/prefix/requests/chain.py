"""A request as the chain of segments that its provider hashes, each with a running hash and a length.

    payload --wire.blocks_of--> blocks --chain_of--> Chain of Segments

Two requests share a prefix of the provider's cache exactly as far as their running digests are equal. A mark
(``cache_control`` and the like) changes no digest; any byte that the model sees does, since providers compare
bytes: the order of tools and of keys in their JSON, white space, ids. A text and a list of it alone are the same.

Automatic caches match within a segment too. So the chain has *steps*: a running digest at each multiple of
``step_tokens`` tokens, where tokens can be counted, and otherwise at equal numbers of characters.

Tokens are counted as follows (and estimated as if they were): a tool counts its compact JSON as sent, without
marks; a block of an Anthropic, Bedrock or Gemini system prompt its text; a message 4, attributed to its first part,
and for each part: a text its tokens, a tool call its name and its arguments, a tool result its text, an image 85.
Ids count nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Any

from askonce.prefix.requests.rules import Level, ProviderRule, rule_for
from askonce.prefix.requests.tokens import CharacterCounter, Counter, features_of
from askonce.prefix.requests.wire import Block, PromptRequest, request_of

DIGEST_BYTES, STEP_BYTES, PIECE_BYTES = 16, 8, 4
MESSAGE_TOKENS, IMAGE_TOKENS = 4, 85
_SMALLEST_STEP_TOKENS = 64
"""Where the provider reads by the single token, it is looked at so many at a time."""
_CHARACTERS_PER_STEP_TOKEN = 4
_PIECE_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Segment:
    """One tool, one block of the system prompt, or one part of a message.

    Attributes:
        level: where it stands.
        label: for people: ``tool search``, ``system prompt``, ``system, block 2``, ``message 3 (user), part 1``.
        kind: ``tool``, ``text``, ``call``, ``result``, ``image``, ``empty`` or ``other``.
        digest: of this segment alone.
        running: of the whole prompt up to its end, with the parameters that count there.
        content: the same without parameters: what finds the prompt again under another model or key.
        characters: of its texts.
        tokens: counted, or estimated.
        mark: the lifetime that a breakpoint here sets, ``""`` for the default one; ``None`` for no breakpoint.
        ending: a provider that places breakpoints itself may place one here.
        pieces: digests of 4 bytes of its pieces, some 64 characters each, cut at line and sentence ends: how much
            of it is still there when it was changed.
        text: present only on request.
    """

    level: Level
    label: str
    kind: str
    digest: bytes
    running: bytes
    content: bytes
    characters: int
    tokens: int
    mark: str | None = None
    ending: bool = False
    pieces: bytes = b""
    text: str | None = None


@dataclass(frozen=True)
class Chain:
    """A request, as its provider's cache sees it.

    Attributes:
        provider: as in `askonce.prefix.requests.rules.ProviderRule`.
        model: as the request names it.
        cache_key: the digest of ``prompt_cache_key``, which may name a user; empty where there is none.
        retention: the lifetime that the request as a whole sets, or ``None``.
        implicit: the provider may place breakpoints of its own.
        parameters: for each level the digests of the parameters that count there, by name.
        segments: in the order in which the provider hashes them.
        route: the digest by which the request is routed to a machine.
        steps: running digests at each step.
        step_tokens: the tokens up to each step.
        exact: tokens were counted, not estimated.
        features: what the tokens depend on, summed; empty if they were counted.
    """

    provider: str
    model: str
    cache_key: str
    retention: str | None
    implicit: bool
    parameters: Mapping[str, Mapping[str, bytes]]
    segments: tuple[Segment, ...]
    route: bytes
    steps: tuple[bytes, ...]
    step_tokens: tuple[int, ...]
    exact: bool
    features: tuple[float, ...] = ()

    @cached_property
    def tokens(self) -> int:
        """Tokens of the whole prompt."""
        return sum(segment.tokens for segment in self.segments)

    @cached_property
    def scope(self) -> bytes:
        """What separates caches altogether: provider, model and cache key."""
        return scope_of(self.provider, self.model, self.cache_key)

    @cached_property
    def marks(self) -> list[int]:
        """The segments that end at a breakpoint, by their index."""
        return [index for index, segment in enumerate(self.segments) if segment.mark is not None]

    @cached_property
    def ends(self) -> list[int]:
        """The tokens up to the end of each segment."""
        return list(accumulate(segment.tokens for segment in self.segments))

    def scaled(self, tokens: int) -> Chain:
        """The same chain when its whole length became known, its estimates scaled to it."""
        if self.exact or tokens <= 0 or not self.tokens or tokens == self.tokens:
            return self
        factor = tokens / self.tokens
        segments = tuple(replace(one, tokens=round(one.tokens * factor)) for one in self.segments)
        steps = tuple(round(at * factor) for at in self.step_tokens)
        return replace(self, segments=segments, step_tokens=steps)

    @cached_property
    def family(self) -> str:
        """What requests of one kind have in common: provider, model and the labels of tools and system prompt.

        Their texts do not count, since a family is what shows which of them change.
        """
        head = [one for one in self.segments if one.level != "messages"]
        tools = sorted(one.label.removeprefix("tool ") for one in head if one.level == "tools")
        named = f"{len(tools)} tools ({', '.join(tools[:2])}{', …' if len(tools) > 2 else ''})" if tools else ""
        system = "system prompt" if any(one.level == "system" for one in head) else ""
        return f"{self.model}: {' + '.join(filter(None, (named, system))) or 'messages only'}"


def chain_of(
    payload: Mapping[str, Any] | PromptRequest,
    provider: str,
    *,
    counter: Counter | None = None,
    rule: ProviderRule | None = None,
    keep_text: bool = False,
) -> Chain:
    """The chain of a request.

    Args:
        payload: the body of the request as it goes over the wire: OpenAI's chat completions or responses (also
            for those that speak like it), Anthropic's messages, Gemini's ``generateContent``, Bedrock's Converse;
            or what `askonce.prefix.requests.wire.request_of` made of it.
        provider: as in `askonce.prefix.requests.rules.ProviderRule`.
        counter: counts tokens, or estimates them; by default 4 characters are one.
        rule: the provider's rule, if not the one that `rule_for` knows.
        keep_text: keep the texts of the segments.
    """
    request = payload if isinstance(payload, PromptRequest) else request_of(payload, provider)
    rule = rule or rule_for(provider, request.model)
    counter = counter or CharacterCounter()
    parameters = {
        level: {
            name: _digest(repr_of.encode()) for name in names if (repr_of := request.parameter(name)) is not None
        }
        for level, names in (rule.parameters if rule else {}).items()
    }
    seeds = tuple(_seeds(request.blocks, parameters, rule))
    segments = tuple(_segments(request, seeds, counter, keep_text))
    parts = tuple(zip(request.blocks, seeds, segments, strict=True))
    steps, step_tokens = _steps(parts, rule, counter)
    return Chain(
        provider=provider,
        model=request.model,
        cache_key=_digest(request.cache_key.encode(errors="surrogatepass"), STEP_BYTES).hex()
        if request.cache_key
        else "",
        retention=request.retention,
        implicit=request.implicit,
        parameters=parameters,
        segments=segments,
        route=_route(parts, rule, counter),
        steps=steps,
        step_tokens=step_tokens,
        exact=counter.exact,
        features=() if counter.exact else tuple(map(sum, zip(*map(features_of, request.blocks), strict=True))),
    )


@lru_cache(maxsize=4096)
def scope_of(provider: str, model: str, cache_key: str) -> bytes:
    """The digest that separates caches altogether."""
    return _digest(f"{provider}\0{model}\0{cache_key}".encode(), STEP_BYTES)


def _digest(data: bytes, size: int = DIGEST_BYTES) -> bytes:
    return blake2b(data, digest_size=size).digest()


# -- segments ------------------------------------------------------------------------------------------------


def _segments(
    request: PromptRequest, seeds: Sequence[bytes], counter: Counter, keep_text: bool
) -> Iterator[Segment]:
    running = content = b""
    for block, seed in zip(request.blocks, seeds, strict=True):
        running = _seeded(running, seed)
        digest = _digest(_header(block) + b"\0".join(one.encode(errors="surrogatepass") for one in block.texts))
        running, content = _digest(running + digest), _digest(content + digest)
        yield Segment(
            level=block.level,
            label=block.label,
            kind=block.kind,
            digest=digest,
            running=running,
            content=content,
            characters=sum(map(len, block.texts)),
            tokens=_known_tokens(block, digest, counter),
            mark=block.mark,
            ending=block.ending,
            pieces=_pieces(digest, block.texts),
            text="".join(block.texts) if keep_text else None,
        )


def _seeds(
    blocks: Iterable[Block], parameters: Mapping[str, Mapping[str, bytes]], rule: ProviderRule | None
) -> Iterator[bytes]:
    """What is hashed before each block: the parameters of the levels that begin with it."""
    levels = rule.order if rule else ("tools", "system", "messages")
    entered = 0
    for block in blocks:
        seed = b""
        while entered <= (levels.index(block.level) if block.level in levels else -1):
            seed += b"".join(
                name.encode() + b"=" + one for name, one in parameters.get(levels[entered], {}).items()
            )
            entered += 1
        yield seed


def _seeded(running: bytes, seed: bytes) -> bytes:
    return _digest(running + seed) if seed else running


def _header(block: Block) -> bytes:
    return f"{block.level}\0{block.kind}\0{block.opens}\0{block.rest}\0".encode(errors="surrogatepass")


def _overhead(block: Block) -> int:
    return MESSAGE_TOKENS * (block.opens is not None) + IMAGE_TOKENS * block.images


def _known_tokens(block: Block, digest: bytes, counter: Counter) -> int:
    if not counter.exact:
        return counter.estimate(block)
    known = counter.known.get(digest)
    if known is None:
        known = counter.known[digest] = _overhead(block) + sum(map(counter.count, block.texts))
    return known


_pieces_known: dict[bytes, bytes] = {}


def _pieces(digest: bytes, texts: Iterable[str]) -> bytes:
    known = _pieces_known.get(digest)
    if known is None:
        if len(_pieces_known) > 5_000:
            _pieces_known.clear()
        known = b"".join(
            _digest(piece.encode(errors="surrogatepass"), PIECE_BYTES) for text in texts for piece in cut(text)
        )
        _pieces_known[digest] = known
    return known


def cut(text: str) -> Iterator[str]:
    """Pieces of a text of at least 64 characters, cut where it may be cut again after a change before."""
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARACTERS
        ends = [at for mark in ("\n", ". ", ", ") if (at := text.find(mark, end - 1, end + _PIECE_CHARACTERS)) >= 0]
        end = min(ends) + 1 if ends else end + _PIECE_CHARACTERS
        yield text[start:end]
        start = end


# -- steps ---------------------------------------------------------------------------------------------------


_Parts = Sequence[tuple[Block, bytes, Segment]]
"""Each block with what is hashed before it and its segment."""


def _steps(parts: _Parts, rule: ProviderRule | None, counter: Counter) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    if rule is None or rule.marking != "automatic":
        return (), ()
    unit = rule.step_tokens if rule.step_tokens > 1 else _SMALLEST_STEP_TOKENS
    found = list(_boundaries(parts, unit, counter))
    return tuple(digest for digest, _ in found), tuple(tokens for _, tokens in found)


def _route(parts: _Parts, rule: ProviderRule | None, counter: Counter) -> bytes:
    if rule is None or rule.routed_tokens is None or not parts:
        return b""
    first = next(_boundaries(parts, rule.routed_tokens, counter), None)
    return first[0] if first else parts[-1][2].running[:STEP_BYTES]


def _boundaries(parts: _Parts, unit: int, counter: Counter) -> Iterator[tuple[bytes, int]]:
    """Running digest and tokens at each multiple of ``unit`` tokens, or of so many characters."""
    before, position, tokens = b"", 0, 0
    for block, seed, segment in parts:
        before = _seeded(before, seed)
        if counter.exact:
            name = (segment.running, position % unit, unit)
            known = counter.boundaries.get(name)
            if known is None:
                known = counter.boundaries[name] = _cut_tokens(block, segment, before, position, unit, counter)
            for digest, at in known:
                yield digest, position + at
            position += segment.tokens
        else:
            each = unit * _CHARACTERS_PER_STEP_TOKEN
            for digest, at in _cut_characters(block, segment, before, position, each):
                yield digest, tokens + segment.tokens * at // max(segment.characters, 1)
            position += segment.characters
            tokens += segment.tokens
        before = segment.running


def _cut_tokens(
    block: Block, segment: Segment, before: bytes, position: int, unit: int, counter: Counter
) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    hashed = blake2b(before + _header(block), digest_size=STEP_BYTES)
    opening = MESSAGE_TOKENS * (block.opens is not None)
    at = _overhead(block)
    for boundary in range(unit - position % unit, at + 1, unit):
        if boundary <= opening:  # of a message only its head stands before
            digest = _digest(before + f"{block.level}\0{block.opens}".encode(errors="surrogatepass"), STEP_BYTES)
        else:
            digest = segment.running[:STEP_BYTES]
        found.append((digest, boundary))
    for text in block.texts:
        start = 0
        target = unit * ((position + at) // unit + 1) - position
        for end, counted in counter.cuts(text, target - at, unit):
            hashed.update(text[start:end].encode(errors="surrogatepass"))
            found.append((hashed.copy().digest(), at + counted))
            start = end
        hashed.update(text[start:].encode(errors="surrogatepass") + b"\0")
        at += counter.count(text)
    return found


def _cut_characters(
    block: Block, segment: Segment, before: bytes, position: int, each: int
) -> Iterator[tuple[bytes, int]]:
    hashed, at = blake2b(before + _header(block), digest_size=STEP_BYTES), 0
    for text in block.texts:
        start = 0
        for end in range(each - (position + at) % each, len(text) + 1, each):
            hashed.update(text[start:end].encode(errors="surrogatepass"))
            yield hashed.copy().digest(), at + end
            start = end
        hashed.update(text[start:].encode(errors="surrogatepass") + b"\0")
        at += len(text)
