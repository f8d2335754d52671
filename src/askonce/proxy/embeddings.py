"""Cached embeddings: text by text."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, NamedTuple

from askonce.concurrency.beside import LARGE_BYTES, Prepared, beside_if
from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.proxy.answers import forwarded_since, say, status_of
from askonce.proxy.call import ProxyCall
from askonce.proxy.incoming import TooLarge
from askonce.proxy.relay import Relay, UpstreamTarget, while_there
from askonce.proxy.upstream import Refused, Reply, UpstreamFailed
from askonce.wire import embeddings, headers
from askonce.wire.refusals import nothing_cached
from askonce.wire.requests import WireRequest


class _Vectors(NamedTuple):
    """A provider's reply with status 200.

    Attributes:
        reply: of the provider.
        body: all of it, or what was read of one that is too large.
        rest: the parts of such a body that are still to be read.
    """

    reply: Reply
    body: bytes
    rest: AsyncIterator[bytes] | None = None


class Embeddings:
    """Answers to requests for embeddings.

    Args:
        engine: the cache's.
        relay: passes on what is not cached.
        max_bytes: a larger reply is passed on and not stored.
    """

    def __init__(self, engine: CacheEngine, relay: Relay, max_bytes: int) -> None:
        self._engine, self._relay, self._max_bytes = engine, relay, max_bytes

    async def respond(self, call: ProxyCall, wire: WireRequest, target: UpstreamTarget, body: bytes) -> None:
        """Respond to a request."""
        has_many = embeddings.has_many_texts(wire)
        requests = await beside_if(has_many, embeddings.requests_to, self._engine, wire)
        only_if_cached, why = wire.directives.only_if_cached, forwarded_since(wire)
        try:
            if requests is None:
                if only_if_cached:
                    await call.say(nothing_cached())
                else:
                    await self._relay.pass_on(call, target, body, "bypass", wire.barred)
            elif len(requests) == 1 and not only_if_cached:
                await self._one(call, wire, target, body, *requests.items())
            else:
                looked_up = await self._engine.alookup_many(list(requests.values()), embeddings.length_of)
                found = dict(zip(requests, looked_up, strict=True))
                hits = {name: one for name, one in found.items() if isinstance(one, Hit)}
                why = forwarded_since(wire, *looked_up)
                if len(hits) == len(requests):
                    await self._from_cache(call, wire, hits)
                elif only_if_cached:
                    await call.say(nothing_cached())
                else:
                    try:
                        await self._missing(call, wire, target, body, requests, hits, why)
                    except (Refused, UpstreamFailed) as error:
                        if call.begun:
                            raise
                        instead = embeddings.stale_instead(self._engine, requests, found, error)
                        if instead is None:
                            raise
                        await self._from_cache(call, wire, instead, error)
        except (Refused, UpstreamFailed) as error:
            await say(call, error, why)

    async def _one(
        self, call: ProxyCall, wire: WireRequest, target: UpstreamTarget, body: bytes, one: tuple[bytes, Request]
    ) -> None:
        """A single text, or one that is given several times: others wait while it is embedded."""
        name, request = one
        failure: Exception | None = None

        def packed(vectors: _Vectors) -> Answer | None:
            if vectors.rest is not None:
                raise TooLarge(f"more than {self._max_bytes:,} bytes")
            answers = _packed(wire, embeddings.texts_in(wire) or [], vectors)
            return answers[0] if answers else None

        packing = Prepared(packed)

        async def fetched() -> _Vectors:
            nonlocal failure
            try:
                vectors = await self._fetched(call, target, body)
            except (Refused, UpstreamFailed) as error:
                failure = error
                raise
            if len(vectors.body) > LARGE_BYTES:
                await packing.prepare(vectors)
            return vectors

        got = await self._engine.aanswer(request, fetched, packing.result)
        if isinstance(got, Hit):
            await self._from_cache(call, wire, {name: got}, failure)
        else:
            await self._fresh(call, forwarded_since(wire), got)

    async def _missing(
        self,
        call: ProxyCall,
        wire: WireRequest,
        target: UpstreamTarget,
        body: bytes,
        requests: dict[bytes, Request],
        hits: dict[bytes, Hit],
        why: headers.Forwarded,
    ) -> None:
        """Request the texts that are not stored; where some are, the reply is made of both."""
        texts = embeddings.texts_in(wire) or []
        missing = embeddings.not_stored(texts, hits)
        began = time.monotonic()
        vectors = await self._fetched(call, target, embeddings.body_for(wire, missing) if hits else body)
        is_large = len(vectors.body) > LARGE_BYTES
        answers = await beside_if(is_large, _packed, wire, missing, vectors, hits.values())
        if answers is None:
            if hits:
                vectors.reply.close()
                vectors = await self._fetched(call, target, body)
            await self._fresh(call, why, vectors)
            return
        made = dict(zip(map(embeddings.name_of, missing), answers, strict=True))
        await self._engine.astore_many(
            [requests[name] for name in made], list(made.values()), time.monotonic() - began
        )
        if not hits:
            await self._fresh(call, why, vectors)
            return
        is_large = embeddings.bytes_of(hits.values(), answers) > LARGE_BYTES
        both = await beside_if(is_large, embeddings.reply_of_both, wire, hits, made)
        if both is None:
            self._engine.not_served((requests[name], hit) for name, hit in hits.items())
            await self._missing(call, wire, target, body, requests, {}, why)
            return
        about = [*headers.lasting(vectors.reply.head.headers), headers.of_forwarded(why)]
        await call.respond(200, about, both)

    async def _fetched(self, call: ProxyCall, target: UpstreamTarget, body: bytes) -> _Vectors:
        """The provider's reply.

        Raises:
            UpstreamFailed: there is none.
            Refused: its status is not 200.
        """
        reply = await self._relay.upstreams.send(
            target.upstream, call.method, target.url, call.headers, body, decoded=True
        )
        parts, read, size = reply.parts(), list[bytes](), 0
        try:
            async for part in parts:
                read.append(part)
                size += len(part)
                if size > self._max_bytes and reply.head.status == 200:
                    return _Vectors(reply, b"".join(read), parts)
        except BaseException:
            reply.close()
            raise
        reply.close()
        if reply.head.status != 200:
            raise Refused(reply.head, b"".join(read))
        return _Vectors(reply, b"".join(read))

    async def _fresh(self, call: ProxyCall, why: headers.Forwarded, vectors: _Vectors) -> None:
        """Respond with what the provider replied."""
        sent = [pair for pair in vectors.reply.head.headers if pair[0].lower() != "content-length"]
        sent.append(headers.of_forwarded(why))
        if vectors.rest is None:
            await call.respond(200, sent, vectors.body)
            return

        async def responding(rest: AsyncIterator[bytes]) -> None:
            await call.start(200, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent])
            await call.write(vectors.body)
            async for part in rest:
                await call.write(part)
            await call.finish()

        try:
            await while_there(call, responding(vectors.rest))
        finally:
            vectors.reply.close()

    async def _from_cache(
        self, call: ProxyCall, wire: WireRequest, hits: dict[bytes, Hit], failure: Exception | None = None
    ) -> None:
        oldest = embeddings.oldest_of(hits.values())
        stored: embeddings.StoredVector = oldest.value
        is_large = embeddings.bytes_of(hits.values()) > LARGE_BYTES
        body = await beside_if(is_large, embeddings.reply_of_hits, wire, hits)
        about = headers.of_hit(oldest, self._engine.settings.clock(), status_of(failure))
        await call.respond(200, [*stored.headers, *about], body)


def _packed(
    wire: WireRequest, texts: Sequence[Any], vectors: _Vectors, hits: Collection[Hit] = ()
) -> list[Answer] | None:
    """See `embeddings.packed`; also ``None`` if the reply is encoded or too large."""
    if vectors.reply.is_encoded or vectors.rest is not None:
        return None
    return embeddings.packed(wire, texts, vectors.reply.head.headers, vectors.body, hits)
