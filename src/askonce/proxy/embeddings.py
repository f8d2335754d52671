"""Cached embeddings: text by text."""

from __future__ import annotations

import time

import msgspec

from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.proxy.answers import forwarded_since, say, status_of
from askonce.proxy.call import ProxyCall
from askonce.proxy.relay import Relay, UpstreamTarget
from askonce.proxy.upstream import Head, Refused, UpstreamFailed
from askonce.wire import embeddings, headers
from askonce.wire.refusals import nothing_cached
from askonce.wire.requests import WireRequest


class _Vectors(msgspec.Struct, frozen=True):
    """A provider's reply with status 200."""

    head: Head
    body: bytes
    is_encoded: bool


class Embeddings:
    """Answers to requests for embeddings.

    Args:
        engine: the cache's.
        relay: passes on what is not cached.
    """

    def __init__(self, engine: CacheEngine, relay: Relay) -> None:
        self._engine, self._relay = engine, relay

    async def respond(self, call: ProxyCall, wire: WireRequest, target: UpstreamTarget, body: bytes) -> None:
        """Respond to a request."""
        requests, texts = embeddings.requests_to(self._engine, wire), embeddings.texts_in(wire)
        only_if_cached, why = wire.directives.only_if_cached, forwarded_since(wire)
        try:
            if requests is None or texts is None:
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

        def packed(reply: _Vectors) -> Answer | None:
            return None if reply.is_encoded else embeddings.packed_one(wire, reply.head.headers, reply.body)

        name, request = one
        failure: Exception | None = None

        async def fetched() -> _Vectors:
            nonlocal failure
            try:
                return await self._fetched(call, target, body)
            except (Refused, UpstreamFailed) as error:
                failure = error
                raise

        got = await self._engine.aanswer(request, fetched, packed)
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
        reply = await self._fetched(call, target, embeddings.body_for(wire, missing) if hits else body)
        answers = None
        if not reply.is_encoded:
            answers = embeddings.packed(wire, missing, reply.head.headers, reply.body, hits.values())
        if answers is None:
            await self._fresh(call, why, await self._fetched(call, target, body) if hits else reply)
            return
        made = dict(zip(map(embeddings.name_of, missing), answers, strict=True))
        await self._engine.astore_many(
            [requests[name] for name in made], list(made.values()), time.monotonic() - began
        )
        if not hits:
            await self._fresh(call, why, reply)
            return
        if embeddings.are_mixed_with(hits.values(), answers):
            self._engine.not_served((requests[name], hit) for name, hit in hits.items())
            await self._missing(call, wire, target, body, requests, {}, why)
            return
        about = [*headers.lasting(reply.head.headers), headers.of_forwarded(why)]
        await call.respond(200, about, embeddings.reply_of_both(wire, texts, hits, made))

    async def _fetched(self, call: ProxyCall, target: UpstreamTarget, body: bytes) -> _Vectors:
        """The provider's reply.

        Raises:
            UpstreamFailed: there is none.
            Refused: its status is not 200.
        """
        reply = await self._relay.upstreams.send(
            target.upstream, call.method, target.url, call.headers, body, decoded=True
        )
        try:
            whole = b"".join([part async for part in reply.parts()])
        finally:
            reply.close()
        if reply.head.status != 200:
            raise Refused(reply.head, whole)
        return _Vectors(reply.head, whole, reply.is_encoded)

    async def _fresh(self, call: ProxyCall, why: headers.Forwarded, reply: _Vectors) -> None:
        sent = [pair for pair in reply.head.headers if pair[0].lower() != "content-length"]
        await call.respond(200, [*sent, headers.of_forwarded(why)], reply.body)

    async def _from_cache(
        self, call: ProxyCall, wire: WireRequest, hits: dict[bytes, Hit], failure: Exception | None = None
    ) -> None:
        oldest = embeddings.oldest_of(hits.values())
        stored: embeddings.StoredVector = oldest.value
        body = embeddings.reply_of_both(wire, embeddings.texts_in(wire) or [], hits, {})
        about = headers.of_hit(oldest, self._engine.settings.clock(), status_of(failure))
        await call.respond(200, [*stored.headers, *about], body)
